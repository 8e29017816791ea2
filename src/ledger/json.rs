//! JSON that both JCS and jsonb can hold without loss.

use serde_json::{Map, Value};

/// The largest integer that JCS (RFC 8785) keeps exact: numbers there are IEEE doubles.
const EXACT: u64 = 1 << 53;
/// Deeper JSON is kept as text: parsers, ours among them, stop at 128.
const DEPTH: usize = 100;

/// A value made storable.
#[derive(Clone, Debug, PartialEq)]
pub struct Storable {
    /// The value.
    pub value: Value,
    /// Something had to be rewritten: U+0000, which jsonb refuses, is kept as the six characters `\u0000`, and what is
    /// nested too deep as text.
    pub escaped: bool,
}

/// For events: integers beyond 2^53 become strings, what is nested too deep becomes text, U+0000 is escaped.
pub fn jcs_safe(value: Value) -> Value {
    Walk { integers: true, escaped: false }.value(value, 0)
}

/// For mirror rows, which are not hashed: integers stay as they are, and a flag tells of the rest.
pub fn storable(value: Value) -> Storable {
    let mut walk = Walk { integers: false, escaped: false };
    let value = walk.value(value, 0);
    Storable { value, escaped: walk.escaped }
}

/// Text that Postgres can hold, and whether it had to be rewritten.
pub fn storable_text(text: &str) -> (String, bool) {
    if text.contains('\0') { (text.replace('\0', "\\u0000"), true) } else { (text.to_owned(), false) }
}

struct Walk {
    integers: bool,
    escaped: bool,
}

impl Walk {
    fn value(&mut self, value: Value, depth: usize) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Number(number) if self.integers && !exact(&number) => Value::String(number.to_string()),
            Value::Array(_) | Value::Object(_) if depth >= DEPTH => {
                self.escaped = true;
                let text = value.to_string();
                Value::String(self.text(text))
            }
            Value::Array(items) => Value::Array(items.into_iter().map(|item| self.value(item, depth + 1)).collect()),
            Value::Object(fields) => {
                let mut out = Map::new();
                for (name, field) in fields {
                    out.insert(self.text(name), self.value(field, depth + 1));
                }
                Value::Object(out)
            }
            other => other,
        }
    }

    fn text(&mut self, text: String) -> String {
        let (text, escaped) = storable_text(&text);
        self.escaped |= escaped;
        text
    }
}

fn exact(number: &serde_json::Number) -> bool {
    match (number.as_u64(), number.as_i64()) {
        (Some(n), _) => n <= EXACT,
        (None, Some(n)) => n.unsigned_abs() <= EXACT,
        (None, None) => true,
    }
}
