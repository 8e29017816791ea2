//! Secret bytes: read when they are used, wiped when dropped, never shown.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::Api;
use zeroize::{Zeroize, Zeroizing};

use super::Redactor;
use crate::api::Reason;
use crate::{Error, Result};

/// The data of one Secret. It can be neither printed nor serialised:
///
/// ```compile_fail
/// fn show(secret: landfall::access::SecretBytes) { println!("{secret:?}"); }
/// ```
/// ```compile_fail
/// fn save(secret: landfall::access::SecretBytes) -> String { serde_json::to_string(&secret).unwrap() }
/// ```
pub struct SecretBytes {
    /// Name of the Secret.
    pub name: String,
    /// resourceVersion of the Secret.
    pub resource_version: String,
    data: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

/// One text out of a Secret, or made of one.
///
/// ```compile_fail
/// fn show(secret: landfall::access::SecretText) { println!("{secret:?}"); }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes the text in.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for the one place that uses it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl SecretBytes {
    /// Data that was read elsewhere.
    pub fn new(name: &str, resource_version: &str, data: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let data = data.into_iter().map(|(key, value)| (key, Zeroizing::new(value))).collect();
        Self { name: name.into(), resource_version: resource_version.into(), data }
    }

    /// The value of a key as it stands.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.data.get(key).map(|value| value.as_slice())
    }

    /// All keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.data.keys().map(String::as_str)
    }

    /// The value of a key as text without line ends behind it, which editors and `echo` leave.
    ///
    /// # Errors
    /// `SecretKeyMissing` where the key is absent, empty or not UTF-8.
    pub fn text(&self, key: &str) -> Result<SecretText> {
        let problem = |what: &str| {
            let present: Vec<_> = self.keys().take(20).collect();
            let message = format!("Secret {:?}: key {key:?} {what}; it has {present:?}", self.name);
            Error::condition(Reason::SecretKeyMissing, message)
        };
        let value = self.get(key).ok_or_else(|| problem("is missing"))?;
        let text = std::str::from_utf8(value).map_err(|_| problem("is not UTF-8"))?.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(problem("is empty"));
        }
        Ok(SecretText::new(text))
    }

    /// The same, `None` where the key is absent or empty.
    ///
    /// # Errors
    /// `SecretKeyMissing` where the value is not UTF-8.
    pub fn optional_text(&self, key: &str) -> Result<Option<SecretText>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) if value.iter().all(|b| matches!(b, b'\r' | b'\n')) => Ok(None),
            Some(_) => self.text(key).map(Some),
        }
    }

    /// All data in one unambiguous form, for a keyed digest.
    pub fn canonical(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::new());
        for (key, value) in &self.data {
            for part in [key.as_bytes(), value.as_slice()] {
                bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
                bytes.extend_from_slice(part);
            }
        }
        bytes
    }

    /// The text with the values of these keys struck out. For words that others go by: another value of the Secret may be
    /// the account's very number.
    pub fn redact_keys(&self, keys: &[&str], text: &str) -> String {
        let secret = self.data.iter().filter(|(key, _)| keys.contains(&key.as_str()));
        Redactor::new(secret.map(|(_, value)| value.as_slice())).clean(text)
    }

    /// The text with every value of this Secret struck out, in every form in which it may show up.
    pub fn redact(&self, text: &str) -> String {
        Redactor::new(self.data.values().map(|value| value.as_slice())).clean(text)
    }
}

/// Reads a Secret now.
///
/// # Errors
/// `SecretNotFound`, or the API server's.
pub async fn secret(client: &kube::Client, namespace: &str, name: &str) -> Result<SecretBytes> {
    let found = Api::<Secret>::namespaced(client.clone(), namespace).get_opt(name).await?;
    let Some(mut found) = found else {
        let message = format!("there is no Secret {name:?} in namespace {namespace:?}; create it");
        return Err(Error::condition(Reason::SecretNotFound, message));
    };
    let version = found.metadata.resource_version.take().unwrap_or_default();
    // kubectl apply keeps a second copy of the values here.
    if let Some(annotations) = &mut found.metadata.annotations {
        annotations.values_mut().for_each(Zeroize::zeroize);
    }
    let data = found.data.take().unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
    Ok(SecretBytes::new(name, &version, data))
}

/// The data of one ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigMapData {
    /// resourceVersion of the ConfigMap.
    pub resource_version: String,
    /// Both `data` and `binaryData`.
    pub data: BTreeMap<String, Vec<u8>>,
}

/// Reads a ConfigMap now; `None` where there is none.
///
/// # Errors
/// The API server's.
pub async fn config_map(client: &kube::Client, namespace: &str, name: &str) -> Result<Option<ConfigMapData>> {
    let found = Api::<ConfigMap>::namespaced(client.clone(), namespace).get_opt(name).await?;
    Ok(found.map(|found| {
        let text = found.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
        let binary = found.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
        ConfigMapData {
            resource_version: found.metadata.resource_version.unwrap_or_default(),
            data: text.chain(binary).collect(),
        }
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn secret(pairs: &[(&str, &str)]) -> SecretBytes {
        SecretBytes::new("s", "1", pairs.iter().map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec())))
    }

    #[test]
    fn a_line_end_behind_a_value_does_not_count() {
        let secret = secret(&[("key", "abc\r\n"), ("none", "\n"), ("mid", "a\nb")]);
        assert_eq!(secret.text("key").unwrap().expose(), "abc");
        assert_eq!(secret.text("mid").unwrap().expose(), "a\nb");
        assert!(secret.optional_text("none").unwrap().is_none());
        assert!(secret.optional_text("absent").unwrap().is_none());
        for key in ["none", "absent"] {
            assert_eq!(secret.text(key).err().unwrap().reason(), Reason::SecretKeyMissing, "{key}");
        }
    }

    #[test]
    fn values_are_struck_out_also_where_they_are_no_text() {
        let secret = secret(&[("key", "p\"ss ${x}"), ("short", "e")]);
        assert_eq!(secret.redact("key p\"ss ${x} refused"), "key «redacted» refused");
        let bytes = SecretBytes::new("s", "1", [("key".to_owned(), vec![0xff, 0xfe, 0xfd, 0xfc])]);
        assert_eq!(bytes.redact("key fffefdfc refused"), "key «redacted» refused");
    }

    #[test]
    fn moving_a_byte_between_keys_changes_the_canonical_form() {
        let forms = [secret(&[("a", "bc")]), secret(&[("ab", "c")]), secret(&[("a", "b"), ("c", "")])];
        let forms: std::collections::BTreeSet<_> = forms.iter().map(|s| s.canonical().to_vec()).collect();
        assert_eq!(forms.len(), 3);
    }
}
