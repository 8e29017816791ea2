//! A secret that must stand nowhere, and the search for it in every form in which it could.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::Value;

/// A secret value and its forms, in lower case: the search does not look at case.
pub struct Canary {
    /// The value itself.
    pub value: &'static str,
    forms: Vec<(String, String)>,
}

impl Canary {
    /// Each spelling of the value, and each of them plain, in hex, and as base64 of a text in which it stands anywhere.
    pub fn new(value: &'static str) -> Self {
        let escaped = |text: &str| Value::from(text).to_string().trim_matches('"').to_owned();
        let json = escaped(value);
        let form: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
        let mut spellings = vec![
            ("raw", value.to_owned()),
            ("JSON in JSON", escaped(&json)),
            ("JSON for HTML", json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")),
            ("HCL", json.replace("${", "$${").replace("%{", "%%{")),
            ("JSON", json),
            ("URL", form.replace('+', "%20")),
            ("form", form),
        ];
        spellings.extend(value.lines().filter(|line| line.len() >= 8).map(|line| ("a line of it", line.to_owned())));
        let mut forms = Vec::new();
        for (name, text) in spellings {
            forms.push((name.to_owned(), text.to_lowercase()));
            forms.push((format!("{name} in hex"), hex::encode(&text)));
            for shift in 0..3 {
                let padded = [&vec![0; shift], text.as_bytes()].concat();
                for (engine, alphabet) in [(STANDARD, "base64"), (URL_SAFE, "base64url")] {
                    // The first characters hold bits of what stands before, the last ones of what follows.
                    let whole = engine.encode(&padded);
                    let inner = whole.get(shift * 4 / 3 + usize::from(shift > 0)..padded.len() * 4 / 3).unwrap();
                    forms.push((format!("{name} in {alphabet}, {shift} bytes off"), inner.to_lowercase()));
                }
            }
        }
        Self { value, forms }
    }

    /// The forms in which the value stands in these bytes, or in what they encode as a dump of Postgres.
    pub fn found_in(&self, bytes: &[u8]) -> Vec<&str> {
        let text = String::from_utf8_lossy(bytes);
        let copied = text.replace("\\n", "\n").replace("\\t", "\t").replace("\\\\", "\\");
        let decoded = String::from_utf8_lossy(&binary(&text)).to_lowercase();
        let texts = [text.to_lowercase(), copied.to_lowercase(), decoded];
        let stands = |form: &str| texts.iter().any(|text| text.contains(form));
        self.forms.iter().filter(|(_, form)| stands(form)).map(|(name, _)| name.as_str()).collect()
    }
}

/// What the columns of type bytea hold, one after the other.
fn binary(dump: &str) -> Vec<u8> {
    let hex = |text: &str| text.bytes().take_while(u8::is_ascii_hexdigit).count() / 2 * 2;
    let columns = dump.split("\\x").skip(1).filter_map(|rest| hex::decode(rest.get(..hex(rest))?).ok());
    columns.collect::<Vec<_>>().join(&b'\n')
}
