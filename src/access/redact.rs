//! Secret values, taken out of whatever is shown.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

const MARK: &str = "«redacted»";
/// Shorter values are words that any text has; to replace them would garble it and hide nothing.
const SHORTEST: usize = 4;

/// Replaces secret values, in the forms in which an engine or provider shows them.
#[derive(Clone, Default)]
pub struct Redactor {
    needles: Vec<Zeroizing<String>>,
}

impl Redactor {
    /// Knows these values.
    pub fn new<S: AsRef<[u8]>>(secrets: impl IntoIterator<Item = S>) -> Self {
        let mut needles: Vec<Zeroizing<String>> = secrets.into_iter().flat_map(|s| forms(s.as_ref())).collect();
        needles.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        needles.dedup();
        Self { needles }
    }

    /// The text without them.
    pub fn clean(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        // Longest first, so that no part of a longer secret is left standing around a shorter one.
        for needle in self.needles.iter().filter(|n| n.len() >= SHORTEST) {
            if clean.contains(needle.as_str()) {
                clean = clean.replace(needle.as_str(), MARK);
            }
        }
        clean
    }
}

/// The forms in which a value is shown: as it is, escaped as JSON, as HCL and in a URL, in hex, in base64 of it and of a
/// text that it is a part of, and line by line.
fn forms(secret: &[u8]) -> Vec<Zeroizing<String>> {
    if secret.trim_ascii().len() < SHORTEST {
        return Vec::new();
    }
    let hex = hex::encode(secret);
    let mut forms = vec![hex.to_uppercase(), hex, STANDARD_NO_PAD.encode(secret), URL_SAFE_NO_PAD.encode(secret)];
    forms.extend((0..3).flat_map(|before| [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD].map(|e| inside(e, secret, before))));
    if let Ok(text) = std::str::from_utf8(secret) {
        forms.extend(text_forms(text));
    }
    forms.into_iter().map(Zeroizing::new).collect()
}

fn text_forms(secret: &str) -> Vec<String> {
    let json = serde_json::to_string(secret).unwrap_or_default();
    let json = json.trim_start_matches('"').strip_suffix('"').unwrap_or_default().to_owned();
    let html = json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    let hcl = json.replace("${", "$${").replace("%{", "%%{");
    let mut forms = vec![secret.to_owned(), secret.trim().to_owned(), json, html, hcl];
    forms.extend([in_url(secret, "+"), in_url(secret, "%20")]);
    // A plain-text message is read line by line. Short lines are too common to hide.
    forms.extend(secret.lines().map(str::trim).filter(|line| line.len() >= 8).map(str::to_owned));
    forms
}

/// Escaped as the engine's `urlencode` and Go's URLs have it.
fn in_url(secret: &str, space: &str) -> String {
    let escaped = |byte: u8| match byte {
        b' ' => space.to_owned(),
        b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    secret.bytes().map(escaped).collect()
}

/// What base64 of a longer text has of the secret alone, with so many bytes modulo 3 before it: `user:password`, say.
fn inside(engine: &impl base64::Engine, secret: &[u8], before: usize) -> String {
    let padded = [&vec![0; before], secret].concat();
    let (start, end) = ((before * 4).div_ceil(3), padded.len() * 4 / 3);
    let part = engine.encode(&padded).get(start..end).unwrap_or_default().to_owned();
    // Eight characters of base64 come by chance as rarely as six bytes.
    if part.len() < 8 { String::new() } else { part }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CANARY: &str = "ca\"na${ry}\nlïne two of it";

    fn redactor() -> Redactor {
        Redactor::new([Zeroizing::new(CANARY.to_owned())])
    }

    #[test]
    fn a_secret_is_gone_in_every_form_in_which_it_is_shown() {
        let json = serde_json::to_string(CANARY).unwrap();
        for shown in [CANARY.to_owned(), json, hex::encode(CANARY), STANDARD_NO_PAD.encode(CANARY)] {
            let clean = redactor().clean(&format!("before {shown} after"));
            assert!(clean.contains(MARK) && !clean.contains("na$") && !clean.contains("two of"), "{clean}");
        }
        for before in ["a", "ab", "abc"] {
            let clean = redactor().clean(&STANDARD_NO_PAD.encode(format!("{before}{CANARY} after")));
            assert!(clean.contains(MARK) && clean.len() < MARK.len() + 20, "{clean}");
        }
        let shown = "https://x/?q=ca%22na%24%7Bry%7D%0Al%C3%AFne+two+of+it&n=1";
        assert_eq!(redactor().clean(shown), format!("https://x/?q={MARK}&n=1"));
        assert_eq!(redactor().clean(&shown.replace('+', "%20")), format!("https://x/?q={MARK}&n=1"));
        assert_eq!(redactor().clean("│ lïne two of it"), format!("│ {MARK}"));
    }

    #[test]
    fn short_values_do_not_garble_the_text() {
        assert_eq!(Redactor::new([Zeroizing::new("2".to_owned())]).clean("on line 2"), "on line 2");
    }

    proptest! {
        #[test]
        fn no_text_shows_a_secret(secret in "\\PC{4,40}", before in "[a-z ]{0,9}", after in "[a-z ]{0,9}") {
            let redactor = Redactor::new([Zeroizing::new(secret.clone())]);
            let clean = redactor.clean(&format!("{before}{secret}{after}"));
            prop_assert!(MARK.contains(&secret) || !clean.contains(&secret));
        }
    }
}
