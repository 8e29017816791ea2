//! Clients for the test bed's servers, and what the tests do with any of them.

use landfall::access::SecretText;
use landfall::dns::{Name, RecordSet, RecordType, Zone};
use landfall::providers::{Algorithm, Change, Contents, Dns, Outcome, Rfc2136, Standing};

/// The marker that the tests put on sets.
pub const MARKER: &str = "landfall:0123456789abcdef";

/// Tests of this binary take turns at the servers: a serial tells of all that is done in a zone.
pub async fn turn() -> tokio::sync::MutexGuard<'static, ()> {
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    TURN.lock().await
}

/// A value of the test bed's environment.
pub fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; run `make test`, or export a test bed's env"))
}

pub fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// A set, as a spec asks for it.
pub fn set(owner: &str, kind: RecordType, values: &[&str]) -> RecordSet {
    let values: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
    RecordSet::from_spec(name(owner), kind, 60, &values).unwrap()
}

pub fn change(before: Option<RecordSet>, after: Option<RecordSet>) -> Change {
    Change::new(before, after, Some(MARKER.into())).unwrap()
}

/// Knot of the test bed, with the key of this prefix.
pub fn knot_with(key: &str, algorithm: Algorithm) -> Rfc2136 {
    let secret = SecretText::new(env(&format!("{key}_SECRET")));
    let zones = vec![name(&env("KNOT_ZONE"))];
    Rfc2136::new(env("KNOT_DNS").parse().unwrap(), &env(&format!("{key}_NAME")), algorithm, &secret, zones).unwrap()
}

pub fn knot() -> Rfc2136 {
    knot_with("KNOT_KEY", Algorithm::HmacSha256)
}

/// The zone of this name, as the server lists it.
pub async fn zone(dns: &impl Dns, variable: &str) -> Zone {
    let wanted = name(&env(variable));
    dns.zones().await.unwrap().into_iter().find(|zone| zone.name == wanted).unwrap()
}

/// What stands there now.
pub async fn standing(dns: &impl Dns, zone: &Zone, set: &RecordSet) -> Option<Standing> {
    dns.read(zone, Some(set.owner())).await.unwrap().find(set.owner(), set.kind()).cloned()
}

/// Has exactly these sets stand there, whatever stood there before. Answers how many changes that took.
pub async fn pass(dns: &impl Dns, zone: &Zone, wanted: &[RecordSet]) -> usize {
    let contents = dns.read(zone, None).await.unwrap();
    let now = |set: &RecordSet| contents.find(set.owner(), set.kind()).map(|s| s.set.clone());
    let differ = wanted.iter().filter(|set| now(set).as_ref() != Some(set));
    let changes: Vec<Change> = differ.map(|set| change(now(set), Some(set.clone()))).collect();
    for (change, outcome) in changes.iter().zip(dns.apply(zone, &changes).await) {
        assert_eq!(outcome, Outcome::Applied, "{change:?}");
    }
    changes.len()
}

/// Takes away all that stands at or below a name.
pub async fn clear(dns: &impl Dns, zone: &Zone, top: &str) {
    let top = name(top);
    let Contents { sets, .. } = dns.read(zone, None).await.unwrap();
    let there = sets.into_iter().filter(|s| s.set.owner().is_within(&top));
    let changes: Vec<Change> = there.map(|s| change(Some(s.set), None)).collect();
    assert!(dns.apply(zone, &changes).await.iter().all(|o| *o == Outcome::Applied));
}
