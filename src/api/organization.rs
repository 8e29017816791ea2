//! The tenant.

/// A tenant: the Namespace label's value, or a namespace by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Organization(pub String);

impl Organization {
    /// The key in every table.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Organization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
