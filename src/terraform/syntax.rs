//! What a configuration file declares, in both syntaxes. Only top-level blocks count, as they do for the engine.

use std::fmt;

use hcl_edit::structure::Body;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::source::FORBIDDEN;

/// What was found in one file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The first forbidden block.
    pub(super) forbidden: Option<&'static str>,
    /// Variables, and whether each has a default.
    pub(super) variables: Vec<(String, bool)>,
    /// Outputs.
    pub(super) outputs: Vec<String>,
    /// The file cannot be read here; the engine will say why, or knows better.
    pub(super) partial: bool,
}

/// Reads native syntax. What cannot be parsed is left to the engine's own words, unless it speaks of a forbidden block.
pub(super) fn native(text: &str) -> Result<Found, String> {
    match hcl_edit::parser::parse_body(text) {
        Ok(body) => Ok(blocks(&body)),
        Err(error) if speaks_of_forbidden(text) => {
            let (line, message) = (error.location().line(), error.message());
            Err(format!("syntax error on line {line}: {message}"))
        }
        Err(_) => Ok(Found { partial: true, ..Found::default() }),
    }
}

fn blocks(body: &Body) -> Found {
    let mut found = Found::default();
    for block in body.blocks() {
        match block.ident.as_str() {
            "terraform" => {
                // An attribute of the name is an error to the engine; refusing it here too costs nothing.
                let names = block.body.blocks().map(|b| b.ident.as_str().to_owned());
                let names = names.chain(block.body.attributes().map(|a| a.key.as_str().to_owned()));
                found.forbidden = found.forbidden.or_else(|| names.filter_map(|n| forbidden(&n)).next());
            }
            "variable" => {
                if let [label] = block.labels.as_slice() {
                    found.variables.push((label.as_str().to_owned(), block.body.has_attribute("default")));
                }
            }
            "output" => found.outputs.extend(block.labels.first().map(|label| label.as_str().to_owned())),
            _ => {}
        }
    }
    found
}

fn forbidden(name: &str) -> Option<&'static str> {
    FORBIDDEN.into_iter().find(|f| *f == name)
}

/// Whether a forbidden block's name stands anywhere in the text as a word.
fn speaks_of_forbidden(text: &str) -> bool {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).any(|word| forbidden(word).is_some())
}

/// Reads JSON syntax. It is read with repeated keys kept, since the engine takes all of them.
pub(super) fn json(text: &str) -> Result<Found, String> {
    match serde_json::from_str::<Json>(text) {
        Ok(root) => {
            let mut found = Found::default();
            for (key, value) in root.members() {
                match key {
                    "terraform" => {
                        let mut names = value.members().into_iter().map(|(name, _)| name);
                        found.forbidden = found.forbidden.or_else(|| names.find_map(forbidden));
                    }
                    "variable" => found.variables.extend(value.members().into_iter().map(|(name, body)| {
                        (name.to_owned(), body.members().into_iter().any(|(attribute, _)| attribute == "default"))
                    })),
                    "output" => found.outputs.extend(value.members().into_iter().map(|(name, _)| name.to_owned())),
                    _ => {}
                }
            }
            Ok(found)
        }
        // Escapes could spell a forbidden word, so nothing can be said about text that is no JSON; neither engine reads it.
        Err(error) => Err(format!("not valid JSON: {error}")),
    }
}

/// JSON with every member of an object, also those whose key comes again.
enum Json {
    Object(Vec<(String, Json)>),
    Array(Vec<Json>),
    Scalar,
}

impl Json {
    /// Members of this object, or of every object in this array: the syntax permits a list wherever it permits a block.
    fn members(&self) -> Vec<(&str, &Json)> {
        match self {
            Self::Object(members) => members.iter().map(|(k, v)| (k.as_str(), v)).collect(),
            Self::Array(items) => items.iter().flat_map(Self::members).collect(),
            Self::Scalar => Vec::new(),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Json::Object(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Json, E> {
        Ok(Json::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Json, E> {
        Ok(Json::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Scalar)
    }
}
