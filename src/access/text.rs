//! Text of others, made fit to be shown: by a terminal, a condition, an Event.

/// What moves a cursor, rings, or turns the order of reading around is spelled out, as in `\u{202e}`. Newlines and tabs stay.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.replace("\r\n", "\n").chars() {
        if is_unseen(c) { plain.extend(c.escape_unicode()) } else { plain.push(c) }
    }
    plain
}

/// The same in one line of at most `limit` bytes.
pub fn line(text: &str, limit: usize) -> String {
    cap(&plain(text).replace(['\n', '\t'], " "), limit)
}

/// Cuts at a character, so that the text has at most `limit` bytes.
pub fn cap(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(limit.saturating_sub('…'.len_utf8()));
    format!("{}…", text.get(..end).unwrap_or_default())
}

fn is_unseen(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    turns || c.is_control() && !matches!(c, '\n' | '\t')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_moves_the_cursor_or_turns_the_text_around() {
        assert_eq!(plain("a\u{1b}[2Jb\u{202e}c\u{0}\u{7}"), "a\\u{1b}[2Jb\\u{202e}c\\u{0}\\u{7}");
        assert_eq!(plain("größe\tשלום\r\nzwei"), "größe\tשלום\nzwei");
        assert_eq!(line("one\ntwo\u{9b}", 40), "one two\\u{9b}");
    }

    proptest! {
        #[test]
        fn what_is_plain_stays_as_it_is(text in any::<String>()) {
            let once = plain(&text);
            prop_assert!(!once.chars().any(is_unseen));
            prop_assert_eq!(plain(&once), once);
        }

        #[test]
        fn a_cap_is_kept_and_cuts_between_characters(text in any::<String>(), limit in 3usize..64) {
            let capped = cap(&text, limit);
            prop_assert!(capped.len() <= limit);
            prop_assert!(text.len() > limit || capped == text);
        }
    }
}
