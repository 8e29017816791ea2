//! What the tests of this kind share: a record, what is known of it, a domain.
#![allow(clippy::unwrap_used)]

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::observe::{Gated, Seen};
use crate::api::{DnsRecord, DomainTerms, Organization, Reason};
use crate::dns::{Data, Name, RecordSet, RecordType};
use crate::ledger::{
    DomainFact, DomainStanding, DomainState, ObjectKind, RecordClaim, RecordFact, Subject, WrittenSet,
};
use crate::zones::{Look, Whose};

pub(super) fn object_with(change: Value, deleted: bool) -> DnsRecord {
    let mut spec = json!({"domainRef": {"name": "example-com"}, "name": "www", "type": "A", "values": ["192.0.2.1"]});
    spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let meta = json!({"name": "www", "namespace": "shop", "uid": Uuid::from_u128(5), "generation": 1,
        "finalizers": ["landfall.dev/finalizer"], "deletionTimestamp": deleted.then_some("2026-01-01T00:00:00Z")});
    let object = json!({"apiVersion": "landfall.dev/v1alpha1", "kind": "DnsRecord", "metadata": meta, "spec": spec});
    serde_json::from_value(object).unwrap()
}

pub(super) fn set_of(values: &[&str]) -> RecordSet {
    let values: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
    RecordSet::from_spec(Name::parse("www.example.com").unwrap(), RecordType::A, 300, &values).unwrap()
}

fn subject_of(name: &str) -> Subject {
    Subject {
        organization: Organization("acme".into()),
        cluster: Uuid::nil(),
        kind: ObjectKind::DnsRecord,
        uid: Uuid::from_u128(name.bytes().map(u128::from).sum()),
        namespace: "shop".into(),
        name: name.into(),
    }
}

/// That of an object that was made in this second.
pub(super) fn claim_of(name: &str, second: i64) -> RecordClaim {
    RecordClaim {
        subject: subject_of(name),
        fqdn: "www.example.com".into(),
        kind: "A".into(),
        created_at: Timestamp::from_second(second).unwrap(),
    }
}

pub(super) fn written(set: &RecordSet) -> RecordFact {
    let written = WrittenSet {
        credential: Uuid::from_u128(7),
        zone_id: "example.com.".into(),
        zone: "example.com".into(),
        server: Some("dns://192.0.2.53:53".into()),
        ttl: set.ttl(),
        data: set.values().iter().map(Data::present).collect(),
        digest: set.digest(),
    };
    RecordFact { claim: claim_of("www", 5), written: Some(written), repairs: 0, asks: true }
}

pub(super) fn domain(fqdn: &str, state: DomainState) -> DomainFact {
    DomainFact {
        subject: Subject { kind: ObjectKind::OrganizationDomain, name: "example-com".into(), ..subject_of(fqdn) },
        fqdn: fqdn.into(),
        registrable: "example.com".into(),
        token: "t".repeat(32),
        terms: DomainTerms::default(),
        since: Timestamp::UNIX_EPOCH,
        standing: DomainStanding {
            state,
            reason: Reason::Ready,
            verified_at: (state != DomainState::Pending).then_some(Timestamp::UNIX_EPOCH),
            missed_since: None,
            checked_at: None,
            asked_at: None,
        },
    }
}

/// A record whose name is permitted, and of which nothing stands.
pub(super) fn seen() -> Seen {
    let gated = Gated {
        owner: Name::parse("www.example.com").unwrap(),
        kind: RecordType::A,
        domain: domain("example.com", DomainState::Verified),
    };
    Seen {
        subject: subject_of("www"),
        gate: Ok(gated),
        set: Ok(set_of(&["192.0.2.1"])),
        claim: Some(claim_of("www", 5)),
        fact: None,
        rivals: Vec::new(),
        place: None,
        lost: None,
        look: Ok(Look { set: None, whose: Whose::Nobody, beside: Vec::new(), delegation: None }),
        rest: None,
        heard: None,
        command: None,
        objection: None,
        taken: Vec::new(),
    }
}

#[path = "strange_tests.rs"]
mod strange;
