//! Names below a domain that no object has to itself.

use super::{Name, RecordType};

/// What Landfall's own labels begin with.
pub const OWN: &str = "_landfall-";
/// The label below a domain at which its organization proves it.
pub const CHALLENGE: &str = "_landfall-challenge";
/// The label below a name at which a CA has it proved (RFC 8555, 8.4).
pub const ACME_CHALLENGE: &str = "_acme-challenge";

/// The labels at and below which names are proved.
pub const CHALLENGES: [&str; 2] = [ACME_CHALLENGE, CHALLENGE];

/// Whether the set of this name and type is shared by all who prove something there at once.
pub fn is_shared(owner: &Name, kind: RecordType) -> bool {
    let first = owner.labels().next();
    kind == RecordType::Txt && first.is_some_and(|label| CHALLENGES.contains(&label))
}
