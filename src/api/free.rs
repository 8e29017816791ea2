//! Free JSON. The API server takes it 10,000 levels deep, our parser 128, and one field that cannot be parsed would end the
//! watch of everybody's objects. So it is read value by value, and what is nested too deep is known by its name alone.

use std::collections::{BTreeMap, BTreeSet};

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// Values of variables, any JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variables {
    /// JSON by name.
    pub values: BTreeMap<String, Value>,
    /// Names of values that are nested too deep to be read.
    pub too_deep: BTreeSet<String>,
}

impl Variables {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.too_deep.is_empty()
    }
}

impl<'de> Deserialize<'de> for Variables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut read = Self::default();
        for (name, raw) in BTreeMap::<String, Box<RawValue>>::deserialize(deserializer)? {
            match serde_json::from_str(raw.get()) {
                Ok(value) => drop(read.values.insert(name, value)),
                Err(_) => drop(read.too_deep.insert(name)),
            }
        }
        Ok(read)
    }
}

impl Serialize for Variables {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.values.len() + self.too_deep.len()))?;
        for (name, value) in &self.values {
            map.serialize_entry(name, value)?;
        }
        for name in &self.too_deep {
            map.serialize_entry(name, "nested too deep to be read")?;
        }
        map.end()
    }
}

/// What can be read of a map of free JSON; the rest is as if it were not there.
pub(super) fn readable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Value>, D::Error> {
    Variables::deserialize(deserializer).map(|read| read.values)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_nested_too_deep_is_named_and_the_rest_is_read() {
        let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let text = format!(r#"{{"a": {}, "b": {}, "c": {{"n": 18446744073709551615}}}}"#, deep(120), deep(9000));
        let read: Variables = serde_json::from_str(&text).unwrap();
        assert_eq!(read.values.keys().collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(read.too_deep, ["b".to_owned()].into());
        let again = serde_json::to_value(&read).unwrap();
        assert_eq!(again.pointer("/b").unwrap(), "nested too deep to be read");
        assert_eq!(serde_json::from_value::<Variables>(again).unwrap().values.len(), 3);
    }
}
