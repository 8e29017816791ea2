//! Domain names in one form: lower-case A-labels without a dot behind. Two names are the same when their text is.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv4Addr;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use super::{Invalid, quoted};

/// Octets of a label.
const LABEL_LIMIT: usize = 63;
/// Octets of a name without the dot behind it.
const NAME_LIMIT: usize = 253;
/// The zones of addresses, where labels may hold a slash (RFC 2317).
const REVERSE: [&str; 2] = ["in-addr.arpa", "ip6.arpa"];
/// How Route 53 writes `*.`, in octal.
const ROUTE53_WILDCARD: &str = r"\052.";

/// A fully qualified domain name: lower-case A-labels, no dot behind; the root is empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// The root, which as a target means "none".
    pub const fn root() -> Self {
        Self(String::new())
    }

    /// An absolute name as people write it: Unicode or A-labels, any case, with or without a dot behind.
    ///
    /// # Errors
    /// Names the rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let ascii = Uts46::new()
            .to_ascii(text.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow, DnsLength::Ignore)
            .map_err(|_| Invalid::new(format!("{} is no name by UTS 46", quoted(text))))?;
        let name = ascii.strip_suffix('.').unwrap_or(&ascii);
        check(name, text, Manner::Strict)?;
        Ok(Self(name.to_owned()))
    }

    /// A name below `domain`, written relative to it: `www`, `*`, `*.dev`; `@` is the domain itself.
    ///
    /// # Errors
    /// Names the rule that it breaks.
    pub fn relative(text: &str, domain: &Self) -> Result<Self, Invalid> {
        if text == "@" {
            return Ok(domain.clone());
        }
        if text.is_empty() {
            return Err(Invalid::new("is empty; write \"@\" for the domain itself"));
        }
        if text.ends_with('.') {
            return Err(Invalid::new(format!(
                "{} is relative to {domain}; leave the dot at its end out",
                quoted(text)
            )));
        }
        let name = Self::parse(&format!("{text}.{}", domain.0))?;
        let left = name.left_of(domain).unwrap_or_default();
        let repeated = Self(left.to_owned()).is_within(domain);
        if repeated && domain.labels().count() > 1 {
            return Err(Invalid::new(format!("{} repeats {domain}; leave the domain out", quoted(text))));
        }
        Ok(name)
    }

    /// The name in a value of a spec: absolute, with the dot behind it. A single dot is the root.
    ///
    /// # Errors
    /// Names the rule that it breaks.
    pub fn target(text: &str) -> Result<Self, Invalid> {
        if text == "." {
            return Ok(Self::root());
        }
        let Some(bare) = text.strip_suffix('.') else {
            return Err(Invalid::new(format!("{} is not absolute; end it with a dot", quoted(text))));
        };
        if bare.parse::<Ipv4Addr>().is_ok() {
            return Err(Invalid::new(format!("{} is an address, where a name is wanted", quoted(text))));
        }
        let name = Self::parse(text)?;
        if name.is_wildcard() {
            return Err(Invalid::new(format!("{} is a wildcard, which nothing can lead to", quoted(text))));
        }
        Ok(name)
    }

    /// A name in a provider's spelling: any case, escapes, U-labels, dots missing or left over at its end. Escapes are
    /// decimal, but for a first label of `\052`, which is how Route 53 writes `*`; as a decimal it would be a 4, and nobody
    /// escapes that.
    ///
    /// # Errors
    /// Where it is a name of DNS that is held by no record set of ours, such as one with a blank in a label.
    pub fn presented(text: &str) -> Result<Self, Invalid> {
        let text = text.trim().trim_end_matches('.');
        if text.is_empty() {
            return Ok(Self::root());
        }
        let plain = match text.strip_prefix(ROUTE53_WILDCARD) {
            Some(rest) => Cow::Owned(format!("*.{}", unescaped(rest)?)),
            None => unescaped(text)?,
        };
        if !plain.is_ascii() {
            return Self::parse(&plain);
        }
        let name = plain.to_ascii_lowercase();
        check(&name, text, Manner::Lenient)?;
        Ok(Self(name))
    }

    /// Without a dot behind it; empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// With the dot behind it: `example.com.`, and `.` for the root.
    pub fn absolute(&self) -> String {
        format!("{}.", self.0)
    }

    /// For people: with U-labels.
    pub fn unicode(&self) -> Cow<'_, str> {
        let (text, valid) = Uts46::new().to_unicode(self.0.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow);
        if valid.is_ok() { text } else { Cow::Borrowed(&self.0) }
    }

    /// The labels from the left; none for the root.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.0.split('.').filter(|label| !label.is_empty())
    }

    /// The name without its leftmost label; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        Some(self.0.split_once('.').map_or_else(Self::root, |(_, rest)| Self(rest.to_owned())))
    }

    /// Whether it is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether its leftmost label is `*`.
    pub fn is_wildcard(&self) -> bool {
        self.labels().next() == Some("*")
    }

    /// Whether a machine may have it: letters, digits and hyphens alone.
    pub fn is_host(&self) -> bool {
        self.0.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
    }

    /// Whether it is `domain` or lies below it, by whole labels.
    pub fn is_within(&self, domain: &Self) -> bool {
        self.left_of(domain).is_some()
    }

    /// Its form relative to `domain`: `@` for the domain itself; `None` where it does not lie within.
    pub fn relative_to(&self, domain: &Self) -> Option<&str> {
        self.left_of(domain).map(|left| if left.is_empty() { "@" } else { left })
    }

    /// What stands left of `domain`, without the dot between.
    fn left_of(&self, domain: &Self) -> Option<&str> {
        if domain.is_root() {
            return Some(&self.0);
        }
        match self.0.strip_suffix(domain.as_str())? {
            "" => Some(""),
            left => left.strip_suffix('.'),
        }
    }

    /// Octets on the wire.
    pub(super) fn wire_len(&self) -> usize {
        if self.is_root() { 1 } else { self.0.len() + 2 }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_root() { "." } else { &self.0 })
    }
}

/// Who wrote a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// A user.
    Strict,
    /// A provider, whose zones have what others put there.
    Lenient,
}

/// Checks lengths and characters of a name in lower case. `text` is how it was written.
fn check(name: &str, text: &str, manner: Manner) -> Result<(), Invalid> {
    let refuse = |rule: String| Err(Invalid::new(format!("{} {rule}", quoted(text))));
    if name.len() > NAME_LIMIT {
        return refuse(format!("has {} octets as A-labels; a name has at most {NAME_LIMIT}", name.len()));
    }
    let reverse = REVERSE.iter().any(|zone| name.ends_with(&format!(".{zone}")));
    for (place, label) in name.split('.').enumerate() {
        if label.is_empty() {
            return refuse("has an empty label".into());
        }
        if label.len() > LABEL_LIMIT {
            return refuse(format!("has a label of {} octets; one has at most {LABEL_LIMIT}", label.len()));
        }
        if label == "*" && place == 0 {
            continue;
        }
        if label.contains('*') {
            return refuse("has a \"*\" that is not the whole leftmost label".into());
        }
        let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_') || (c == '/' && reverse);
        if let Some(odd) = label.chars().find(|c| !is_fit(*c)) {
            return refuse(format!("has {odd:?}; a label holds letters, digits, \"-\" and \"_\""));
        }
        if manner == Manner::Strict && (label.starts_with('-') || label.ends_with('-')) {
            return refuse("has a label that begins or ends with a hyphen".into());
        }
    }
    Ok(())
}

/// The text with its escapes undone. A dot or a byte beyond ASCII that was escaped is part of a label and cannot be held.
fn unescaped(text: &str) -> Result<Cow<'_, str>, Invalid> {
    if !text.contains('\\') {
        return Ok(Cow::Borrowed(text));
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('\\') {
        plain.push_str(before);
        let (byte, after) = super::text::escape(behind)?;
        if byte == b'.' || !byte.is_ascii() {
            return Err(Invalid::new(format!("{} has an escaped byte that no label of ours holds", quoted(text))));
        }
        plain.push(char::from(byte));
        rest = after;
    }
    plain.push_str(rest);
    Ok(Cow::Owned(plain))
}

#[cfg(test)]
#[path = "name_tests.rs"]
mod tests;
