//! Conditions in a stable order: the same facts are always the same bytes, or the status would be written for ever.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::Class;
use crate::access::text;
use crate::api::{Condition, Reason};

/// The order of conditions in every kind's status; others follow by name.
pub const ORDER: &[&str] = &[
    "Ready",
    "Issuing",
    "Valid",
    "Verified",
    "Planned",
    "Applied",
    "Accepted",
    "Programmed",
    "Propagated",
    "Drifted",
    "ActionRequired",
    "InUse",
    "Reconciling",
    "Stalled",
];

/// What a condition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// `True`.
    True,
    /// `False`.
    False,
    /// `Unknown`.
    Unknown,
}

impl Truth {
    /// The word in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// Longest message that the API server's schema of conditions takes, bytes.
const MESSAGE_LIMIT: usize = 32_768;

/// Times of looks at the world move this often in a status where nothing else does: an idle object is not written.
pub const HOURLY: SignedDuration = SignedDuration::from_hours(1);

/// Sets one condition. Its `lastTransitionTime`, in whole seconds, moves only when `status` does.
pub fn set(
    conditions: &mut Vec<Condition>,
    kind: &str,
    status: impl Into<Truth>,
    reason: Reason,
    message: impl Into<String>,
    generation: Option<i64>,
    now: Timestamp,
) {
    let status = status.into().as_str();
    let since = conditions
        .iter()
        .find(|c| c.type_ == kind && c.status == status)
        .map_or_else(|| Time(whole_seconds(now)), |c| c.last_transition_time.clone());
    let condition = Condition {
        type_: kind.into(),
        status: status.into(),
        reason: reason.as_str().into(),
        message: text::cap(&text::plain(&message.into()), MESSAGE_LIMIT),
        observed_generation: generation,
        last_transition_time: since,
    };
    conditions.retain(|c| c.type_ != kind);
    conditions.push(condition);
    conditions.sort_by(|a, b| rank(&a.type_).cmp(&rank(&b.type_)));
}

/// Sets `Reconciling` and `Stalled`, as kstatus and Argo CD read them, by what `Ready` says: False for a reason that passes by
/// itself, or for one that only another spec mends. Both are gone otherwise.
pub fn follow_ready(conditions: &mut Vec<Condition>, now: Timestamp) {
    let unready = get(conditions, "Ready").filter(|ready| ready.status == "False").cloned();
    let reason = unready.as_ref().and_then(|ready| Reason::ALL.iter().copied().find(|r| r.as_str() == ready.reason));
    for (kind, class) in [("Reconciling", Class::Transient), ("Stalled", Class::Terminal)] {
        match (&unready, reason) {
            (Some(ready), Some(reason)) if reason.class() == class => {
                set(conditions, kind, true, reason, &*ready.message, ready.observed_generation, now);
            }
            _ => clear(conditions, kind),
        }
    }
}

/// Takes one condition away.
pub fn clear(conditions: &mut Vec<Condition>, kind: &str) {
    conditions.retain(|c| c.type_ != kind);
}

/// The condition of that type.
pub fn get<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == kind)
}

/// The time without its fraction, as the API server keeps it.
pub fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn rank(kind: &str) -> (usize, &str) {
    (ORDER.iter().position(|k| *k == kind).unwrap_or(ORDER.len()), kind)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_passes_by_itself_is_reconciling_and_what_a_spec_must_mend_is_stalled() {
        let mut conditions = Vec::new();
        let mut turn = |ready: bool, reason: Reason| {
            set(&mut conditions, "Ready", ready, reason, "words", Some(3), at(1));
            follow_ready(&mut conditions, at(1));
            let kinds = conditions.iter().map(|c| format!("{}={} {}", c.type_, c.status, c.message));
            kinds.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(turn(false, Reason::Issuing), "Ready=False words, Reconciling=True words");
        assert_eq!(turn(false, Reason::DomainInvalid), "Ready=False words, Stalled=True words");
        assert_eq!(turn(false, Reason::NotOwned), "Ready=False words", "a person is asked");
        assert_eq!(turn(true, Reason::ResolverUnavailable), "Ready=True words");
    }

    #[test]
    fn the_order_does_not_depend_on_who_came_first() {
        let build = |order: [&str; 3]| {
            let mut conditions = Vec::new();
            for kind in order {
                set(&mut conditions, kind, true, Reason::Valid, "", Some(1), at(5));
            }
            conditions
        };
        let expected = build(["Ready", "Valid", "InUse"]);
        assert_eq!(build(["InUse", "Valid", "Ready"]), expected);
        assert_eq!(build(["Valid", "Ready", "InUse"]), expected);
        assert_eq!(expected.iter().map(|c| c.type_.as_str()).collect::<Vec<_>>(), ["Ready", "Valid", "InUse"]);
    }

    #[test]
    fn the_transition_time_moves_with_the_status_only() {
        let mut conditions = Vec::new();
        set(&mut conditions, "Ready", false, Reason::NotProbed, "a", Some(1), at(5));
        set(&mut conditions, "Ready", false, Reason::Expired, "b", Some(2), at(6));
        assert_eq!((conditions[0].last_transition_time.0, conditions[0].reason.as_str()), (at(5), "Expired"));
        set(&mut conditions, "Ready", true, Reason::Valid, "c", Some(2), at(7));
        assert_eq!(conditions[0].last_transition_time.0, at(7));
    }

    #[test]
    fn a_message_of_others_neither_turns_the_text_around_nor_grows_without_end() {
        let mut conditions = Vec::new();
        set(&mut conditions, "Ready", false, Reason::PlanFailed, "a\u{202e}b", Some(1), at(5));
        assert_eq!(conditions[0].message, "a\\u{202e}b");
        set(&mut conditions, "Ready", false, Reason::PlanFailed, "ä".repeat(MESSAGE_LIMIT), Some(1), at(5));
        assert!(conditions[0].message.len() <= MESSAGE_LIMIT);
    }

    #[test]
    fn setting_the_same_again_changes_nothing() {
        let mut conditions = Vec::new();
        set(&mut conditions, "Valid", true, Reason::Valid, "a", Some(1), at(5));
        set(&mut conditions, "Ready", true, Reason::Valid, "a", Some(1), at(5));
        let before = conditions.clone();
        set(&mut conditions, "Valid", true, Reason::Valid, "a", Some(1), at(9));
        assert_eq!(conditions, before);
    }
}
