//! Objects made from the schemas by a seed: mostly of the right form, with odd values strewn in.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

/// splitmix64: the same seed makes the same objects everywhere.
pub struct Dice(u64);

impl Dice {
    /// Dice that fall the same way for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// An object of `kind` (as in `landfall::api::definitions`) with name `name`.
pub fn any(kind: &str, name: &str, dice: &mut Dice) -> Value {
    // Made once: a debug build takes a while for the schemas.
    static DEFINITIONS: LazyLock<Value> = LazyLock::new(|| json!(landfall::api::definitions()));
    let all = DEFINITIONS.as_array().unwrap();
    let definition = all.iter().find(|d| d["spec"]["names"]["kind"] == kind).expect("a kind of ours");
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let spec = value(&schema["properties"]["spec"], dice);
    json!({"apiVersion": "landfall.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn value(schema: &Value, dice: &mut Dice) -> Value {
    if dice.chance(2) {
        return odd(dice);
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return dice.pick(&[json!(0), json!(3), json!("10%"), json!("100%"), json!(-1), json!("x")]).clone();
    }
    if let Some(values) = schema["enum"].as_array() {
        return dice.pick(values).clone();
    }
    match schema["type"].as_str() {
        Some("object") => object(schema, dice),
        Some("array") => (0..dice.below(4)).map(|_| value(&schema["items"], dice)).collect(),
        Some("string") if schema["x-kubernetes-validations"].to_string().contains("two labels") => {
            json!(*dice.pick(&["example.com", "Bücher.example.", "a.b", "xn--a-ecp.co.uk", "a..b", "example"]))
        }
        Some("string") => string(schema["pattern"].as_str().unwrap_or_default(), dice),
        Some("boolean") => json!(dice.chance(50)),
        Some("integer") => json!(dice.below(102)),
        _ => free(dice, 0),
    }
}

fn object(schema: &Value, dice: &mut Dice) -> Value {
    let mut fields = Map::new();
    let required = |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|r| r == name));
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        if dice.chance(if required(name) { 99 } else { 35 }) {
            fields.insert(name.clone(), value(below, dice));
        }
    }
    if schema["additionalProperties"].is_object() {
        for _ in 0..=dice.below(3) {
            let name = dice.pick(&["main.tf", "a/b.tf", "x", "größe", "_1", "variables.tf.json", "../x", "a b", ""]);
            fields.insert((*name).to_owned(), value(&schema["additionalProperties"], dice));
        }
    }
    Value::Object(fields)
}

/// Text that fits the pattern, by a mark of the pattern.
fn string(pattern: &str, dice: &mut Dice) -> Value {
    let fitting: &[&str] = match pattern {
        p if p.contains("hms") => &["10m", "1h30m", "99999h99999h99999h", "1s", "0s"],
        p if p.contains("https?") => &["https://a.example", "http://[::1]:1/x", "http://x:99999"],
        p if p.contains("{8}(-") => &["0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"],
        p if p.contains(r"\p{L}") => &["größe", "_", "a-b", "ﬁ", "e\u{301}"],
        p if p.starts_with("^[0-9]+") => &["1", "1.12", "99999999999999999999.0.1-x.y"],
        p if p.contains("feff") => &["", "text", "\u{202e}\u{10ffff}", "a b\t.\r\n", "größe"],
        p if p.contains("x00") => {
            &["", "text", "\u{202e}\u{feff}\u{10ffff}", "${path.module}\r\n\t%{if}", "resource {"]
        }
        _ => &["a", "a-b", "x1", "default"],
    };
    json!(*dice.pick(fitting))
}

/// JSON of any form, now and then deep.
fn free(dice: &mut Dice, depth: usize) -> Value {
    if depth == 0 && dice.chance(5) {
        return (0..*dice.pick(&[60, 110]))
            .fold(json!(1), |inner, n| if n % 2 == 0 { json!([inner]) } else { json!({"k": inner}) });
    }
    match dice.below(if depth < 4 { 8 } else { 6 }) {
        0 => Value::Null,
        1 => json!(dice.chance(50)),
        2 => json!(dice.next()),
        3 => json!(*dice.pick(&[1.5, -0.0, 1e300, 5e-324])),
        4 => json!(*dice.pick(&["", "text", "a\u{0}b", "e\u{301}", "\u{10ffff}", "${x}", "\"\\\n"])),
        5 => odd(dice),
        6 => (0..dice.below(4)).map(|_| free(dice, depth + 1)).collect(),
        _ => (0..dice.below(4)).map(|n| (format!("k{n}"), free(dice, depth + 1))).collect(),
    }
}

fn odd(dice: &mut Dice) -> Value {
    let values = [
        Value::Null,
        json!(""),
        json!("\u{0}"),
        json!({}),
        json!([]),
        json!(-1),
        json!(u64::MAX),
        json!(1.8446744073709552e19),
        json!(i64::MIN),
        json!(1e300),
        json!("a".repeat(5000)),
        json!([[[[[[[[{}]]]]]]]]),
    ];
    dice.pick(&values).clone()
}
