#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use proptest::prelude::*;

use super::*;

#[test]
fn each_spelling_of_the_same_bytes_is_read_alike() {
    for (text, bytes) in [
        (r#""""#, &b""[..]),
        (r#""a""#, b"a"),
        ("a", b"a"),
        (r#""a" "b""#, b"ab"),
        (r#""a""b""#, b"ab"),
        (r#""a"  "b"	"c""#, b"abc"),
        (r#"a "b c" d"#, b"ab cd"),
        (r#" "a" "#, b"a"),
        (r#""a b""#, b"a b"),
        (r#""\"\\""#, b"\"\\"),
        (r#""\097""#, b"a"),
        (r#""\a\;""#, b"a;"),
        ("v=spf1", b"v=spf1"),
        ("a;b", b"a;b"),
        (r#""\195\164""#, "ä".as_bytes()),
        (r#""ä""#, "ä".as_bytes()),
        (r#""\000\255""#, &[0, 255]),
        (r#""" """#, b""),
        ("\"a\nb\"", b"a\nb"),
    ] {
        assert_eq!(parse(text).unwrap(), bytes, "{text}");
    }
}

#[test]
fn what_is_no_presentation_form_is_refused() {
    for text in
        ["", "  ", "\"", "\"a", r#""a" ""#, r#""a\"#, r#""a\""#, r"\25", r"\256", r"\2x5", r#""\9""#, r"\é", r"\"]
    {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn strings_are_as_long_as_may_be() {
    for (length, cuts) in [
        (0, vec![0]),
        (1, vec![1]),
        (255, vec![255]),
        (256, vec![255, 1]),
        (510, vec![255, 255]),
        (511, vec![255, 255, 1]),
    ] {
        let bytes = vec![b'x'; length];
        assert_eq!(strings(&bytes).map(<[u8]>::len).collect::<Vec<_>>(), cuts, "{length}");
    }
}

/// The quoted strings of a printed form, each as it stands between its quotes.
fn printed_strings(text: &str) -> Vec<String> {
    text.strip_prefix('"').unwrap().strip_suffix('"').unwrap().split("\" \"").map(str::to_owned).collect()
}

proptest! {
    #[test]
    fn what_is_printed_is_read_as_it_was(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let text = print(&bytes);
        prop_assert!(text.is_ascii() && !text.contains(char::is_control));
        prop_assert_eq!(parse(&text).unwrap(), bytes.clone());
        prop_assert_eq!(print(&parse(&text).unwrap()), text);
        prop_assert_eq!(parse(&print_one(&bytes)).unwrap(), bytes);
    }

    #[test]
    fn no_escape_is_cut(bytes in proptest::collection::vec(prop_oneof![Just(b'\\'), Just(b'\n'), Just(b'a')], 0..600)) {
        let mut whole = Vec::new();
        for string in printed_strings(&print(&bytes)) {
            let part = parse(&format!("\"{string}\"")).unwrap();
            prop_assert!(part.len() <= 255);
            whole.extend(part);
        }
        prop_assert_eq!(whole, bytes);
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        if let Ok(bytes) = parse(&text) {
            prop_assert_eq!(parse(&print(&bytes)).unwrap(), bytes);
        }
    }
}
