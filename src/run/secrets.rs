//! What of a run's inputs must not be shown.

use zeroize::Zeroizing;

use super::protocol::RunSpec;
use crate::access::Redactor;

/// Parts of names in a credential's environment whose values are no secrets.
const PUBLIC: [&str; 5] = ["REGION", "URL", "ENDPOINT", "SERVER", "PROFILE"];

/// Knows the sensitive variables and the credential of a run.
pub fn redactor(spec: &RunSpec) -> Redactor {
    let sensitive = spec.variables.iter().filter(|(name, _)| spec.sensitive.contains(*name));
    let variables = sensitive.flat_map(|(_, json)| strings(json.expose()));
    let environment = spec.environment.iter().filter(|(name, _)| !PUBLIC.iter().any(|p| name.contains(p)));
    let environment = environment.map(|(_, value)| Zeroizing::new(value.expose().to_owned()));
    Redactor::new(variables.chain(environment).map(|text| Zeroizing::new(text.as_bytes().to_vec())))
}

/// All strings inside a JSON value, and the text itself where it is no JSON.
fn strings(json: &str) -> Vec<Zeroizing<String>> {
    fn walk(value: &serde_json::Value, into: &mut Vec<Zeroizing<String>>) {
        match value {
            serde_json::Value::String(s) => into.push(Zeroizing::new(s.clone())),
            serde_json::Value::Number(n) => into.push(Zeroizing::new(n.to_string())),
            serde_json::Value::Array(items) => items.iter().for_each(|v| walk(v, into)),
            serde_json::Value::Object(members) => members.values().for_each(|v| walk(v, into)),
            serde_json::Value::Null | serde_json::Value::Bool(_) => {}
        }
    }
    let mut found = Vec::new();
    match serde_json::from_str(json) {
        Ok(value) => walk(&value, &mut found),
        Err(_) => found.push(Zeroizing::new(json.to_owned())),
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structured_values_are_taken_apart() {
        let found = strings(r#"{"a": ["deep-secret", {"b": "other-secret"}], "c": true}"#);
        let found: Vec<&str> = found.iter().map(|text| text.as_str()).collect();
        assert_eq!(found, ["deep-secret", "other-secret"]);
    }
}
