//! A change is made only where the set is what it was when it was read. What another wrote in between survives.

use base64::Engine as _;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::rdata::{CAA, TXT};
use hickory_proto::rr::{RData, Record, RecordType as WireType, TSigner};
use landfall::dns::wire::wire_name;
use landfall::dns::{RecordType, Zone};
use landfall::providers::{Dns, Outcome};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::pdns::{make_zone, powerdns, raw};
use crate::world::{self, MARKER, change, clear, knot, pass, set, standing, turn};

async fn foreign_writes_survive(dns: &impl Dns, other: &impl Dns, zone: &Zone) {
    use RecordType::A;
    let top = format!("cas.{}", zone.name);
    clear(dns, zone, &top).await;
    let at = |host: &str, address: &str| set(&format!("{host}.{top}"), A, &[address]);
    let (read, foreign) = (at("changed", "192.0.2.1"), at("changed", "192.0.2.66"));
    let (gone, new) = (at("gone", "192.0.2.1"), at("new", "192.0.2.66"));
    let (kept, same) = (at("kept", "192.0.2.1"), at("same", "192.0.2.1"));
    pass(dns, zone, &[read.clone(), gone.clone(), kept.clone(), same.clone()]).await;
    // Another changes one, deletes one and makes one.
    pass(other, zone, &[foreign.clone(), new.clone()]).await;
    other.apply(zone, &[change(Some(gone.clone()), None)]).await;

    let changes = [
        change(Some(read.clone()), Some(at("changed", "192.0.2.2"))),
        change(Some(gone.clone()), Some(at("gone", "192.0.2.2"))),
        change(None, Some(at("new", "192.0.2.2"))),
        change(Some(kept), Some(at("kept", "192.0.2.2"))),
        change(Some(same), None),
        change(Some(read), None),
    ];
    let outcomes = dns.apply(zone, &changes).await;
    let told: Vec<Option<_>> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Applied => None,
            Outcome::Changed(now) => Some(now.as_ref().map(|s| s.set.clone())),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        told,
        [Some(Some(foreign.clone())), Some(None), Some(Some(new.clone())), None, None, Some(Some(foreign.clone()))]
    );
    for set in [foreign, new, at("kept", "192.0.2.2")] {
        assert_eq!(standing(dns, zone, &set).await.map(|s| s.set), Some(set));
    }
    assert_eq!(standing(dns, zone, &gone).await, None);
    assert_eq!(standing(dns, zone, &at("same", "192.0.2.1")).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_wrote_to_knot_survives() {
    let _turn = turn().await;
    let dns = knot();
    let other = world::knot_with("KNOT_LONG_KEY", landfall::providers::Algorithm::HmacSha512);
    let zone = world::zone(&dns, "KNOT_ZONE").await;
    foreign_writes_survive(&dns, &other, &zone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_wrote_to_powerdns_before_the_call_survives() {
    let _turn = turn().await;
    let dns = powerdns();
    let zone = world::zone(&dns, "PDNS_ZONE").await;
    foreign_writes_survive(&dns, &powerdns(), &zone).await;
}

/// Puts records into Knot's zone as they are on the wire.
async fn raw_update(zone: &Zone, records: Vec<Record>) {
    let mut message = Message::new(1, MessageType::Query, OpCode::Update);
    message.add_query(Query::query(wire_name(&zone.name).unwrap(), WireType::SOA));
    message.authorities = records;
    let secret = base64::engine::general_purpose::STANDARD.decode(world::env("KNOT_KEY_SECRET")).unwrap();
    let key = wire_name(&world::name(&world::env("KNOT_KEY_NAME"))).unwrap();
    let signer = TSigner::new(secret, TsigAlgorithm::HmacSha256, key, 300).unwrap();
    message.finalize(&signer, u64::try_from(jiff::Timestamp::now().as_second()).unwrap()).unwrap();
    let bytes = message.to_vec().unwrap();
    let mut stream = tokio::net::TcpStream::connect(world::env("KNOT_DNS")).await.unwrap();
    stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(Message::from_vec(&answer).unwrap().response_code, ResponseCode::NoError);
}

/// A value that another wrote may be cut elsewhere, or be in capitals: it is the same value, and its condition is of what stands.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_spelled_otherwise_is_changed_as_it_stands() {
    let _turn = turn().await;
    let dns = knot();
    let zone = world::zone(&dns, "KNOT_ZONE").await;
    let top = format!("spelled.{}", zone.name);
    clear(&dns, &zone, &top).await;
    let owner = |left: &str| format!("{left}.{top}");
    let wire = |left: &str, data: RData| Record::from_rdata(wire_name(&world::name(&owner(left))).unwrap(), 60, data);
    let text = |parts: &[&[u8]]| RData::TXT(TXT::from_bytes(parts.to_vec()));
    let mut caa = CAA::new_issue(false, None, Vec::new());
    (caa.tag, caa.value) = ("Issue".into(), b"ca.example".to_vec());
    let records = vec![
        wire("cut", text(&[b"ab", b"cd"])),
        wire("cut", text(&[b"", b"ef"])),
        wire("gone", text(&[b"x", b"y"])),
        wire("caa", RData::CAA(caa)),
    ];
    raw_update(&zone, records).await;
    let read = dns.read(&zone, None).await.unwrap();
    let stood = |left: &str, kind| read.find(&world::name(&owner(left)), kind).unwrap().set.clone();
    let (cut, gone) = (stood("cut", RecordType::Txt), stood("gone", RecordType::Txt));
    assert_eq!(cut, set(&owner("cut"), RecordType::Txt, &["abcd", "ef"]));
    let wanted = set(&owner("cut"), RecordType::Txt, &["abcd", "ef", "new"]);
    let issuer = set(&owner("caa"), RecordType::Caa, &["0 issue \"other.example\""]);
    let plain = set(&owner("plain"), RecordType::A, &["192.0.2.1"]);
    let changes = [
        change(Some(cut), Some(wanted.clone())),
        change(Some(gone), None),
        change(Some(stood("caa", RecordType::Caa)), Some(issuer.clone())),
        change(None, Some(plain.clone())),
    ];
    assert_eq!(dns.apply(&zone, &changes).await, [const { Outcome::Applied }; 4]);
    for set in [wanted, issuer, plain] {
        assert_eq!(standing(&dns, &zone, &set).await.map(|s| s.set), Some(set));
    }
    clear(&dns, &zone, &top).await;
}

/// Two writers that both read the same: Knot lets one through, always.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_at_once_one_wins() {
    let _turn = turn().await;
    let (one, two) = (knot(), knot());
    let zone = world::zone(&one, "KNOT_ZONE").await;
    let at = |value: usize| set(&format!("race.{}", zone.name), RecordType::Txt, &[&value.to_string()]);
    pass(&one, &zone, &[at(0)]).await;
    let mut now = 0;
    for round in 0..25 {
        let (a, b) = (2 * round + 1, 2 * round + 2);
        let ours = [change(Some(at(now)), Some(at(a)))];
        let theirs = [change(Some(at(now)), Some(at(b)))];
        let (first, second) = tokio::join!(one.apply(&zone, &ours), two.apply(&zone, &theirs));
        let won = |outcomes: &[Outcome]| outcomes[0] == Outcome::Applied;
        assert_ne!(won(&first), won(&second), "{first:?} {second:?}");
        now = if won(&first) { a } else { b };
        assert_eq!(standing(&one, &zone, &at(now)).await.map(|s| s.set), Some(at(now)));
    }
}

/// A server lets a CNAME fall without a word where something else stands; this must not look like success.
#[tokio::test(flavor = "multi_thread")]
async fn a_cname_stands_alone_or_is_rejected() {
    let _turn = turn().await;
    let dns = knot();
    let zone = world::zone(&dns, "KNOT_ZONE").await;
    alone(&dns, &zone).await;
    let dns = powerdns();
    let zone = world::zone(&dns, "PDNS_ZONE").await;
    alone(&dns, &zone).await;
}

async fn alone(dns: &impl Dns, zone: &Zone) {
    use RecordType::{A, Cname, Txt};
    let top = format!("alone.{}", zone.name);
    clear(dns, zone, &top).await;
    let address = set(&format!("a.{top}"), A, &["192.0.2.1"]);
    let alias = set(&format!("a.{top}"), Cname, &["b.example."]);
    let text = set(&format!("a.{top}"), Txt, &["x"]);
    pass(dns, zone, std::slice::from_ref(&address)).await;
    let rejected = |outcomes: Vec<Outcome>| assert!(matches!(&outcomes[..], [Outcome::Rejected(_)]), "{outcomes:?}");
    rejected(dns.apply(zone, &[change(None, Some(alias.clone()))]).await);
    // In one call, one may go and the other come, both ways.
    let swap = [change(None, Some(alias.clone())), change(Some(address.clone()), None)];
    assert_eq!(dns.apply(zone, &swap).await, [Outcome::Applied, Outcome::Applied]);
    assert_eq!(standing(dns, zone, &alias).await.map(|s| s.set), Some(alias.clone()));
    rejected(dns.apply(zone, &[change(None, Some(text))]).await);
    let back = [change(None, Some(address.clone())), change(Some(alias.clone()), None)];
    assert_eq!(dns.apply(zone, &back).await, [Outcome::Applied, Outcome::Applied]);
    assert_eq!(standing(dns, zone, &address).await.map(|s| s.set), Some(address));
    assert_eq!(standing(dns, zone, &alias).await, None);
}

/// Whose a set is was read from its marker: where that is another's by now, the same values are no reason to write.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_another_has_marked_since_it_was_read_is_left_alone() {
    let _turn = turn().await;
    let dns = powerdns();
    let zone = world::zone(&dns, "PDNS_ZONE").await;
    let owner = format!("www.remarked.{}", zone.name);
    clear(&dns, &zone, &owner).await;
    let ours = set(&owner, RecordType::A, &["192.0.2.1"]);
    pass(&dns, &zone, std::slice::from_ref(&ours)).await;
    let patch = json!({"rrsets": [{"name": format!("{owner}."), "type": "A", "ttl": 60, "changetype": "REPLACE",
        "records": [{"content": "192.0.2.1", "disabled": false}],
        "comments": [{"content": "managed", "account": "landfall:another"}]}]});
    raw(&format!("{owner}."), Some(patch)).await;
    let marked = [MARKER.to_owned()];
    for after in [None, Some(set(&owner, RecordType::A, &["192.0.2.2"]))] {
        let outcomes = dns.apply(&zone, &[change(Some(ours.clone()), after).where_marked(&marked)]).await;
        assert!(matches!(&outcomes[..], [Outcome::Changed(Some(now))] if now.set == ours), "{outcomes:?}");
    }
    assert_eq!(standing(&dns, &zone, &ours).await.unwrap().markers, ["landfall:another"]);
    clear(&dns, &zone, &owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_stays_with_its_set_and_beside_what_others_note() {
    let _turn = turn().await;
    let dns = powerdns();
    let zone = world::zone(&dns, "PDNS_ZONE").await;
    let owner = format!("www.marked.{}", zone.name);
    clear(&dns, &zone, &owner).await;
    let note = json!({"content": "ask Ada first", "account": "ada"});
    let patch = json!({"rrsets": [{"name": format!("{owner}."), "type": "A", "ttl": 60, "changetype": "REPLACE",
        "records": [{"content": "192.0.2.1", "disabled": false}], "comments": [note]}]});
    raw(&format!("{owner}."), Some(patch)).await;
    let (foreign, ours) = (set(&owner, RecordType::A, &["192.0.2.1"]), set(&owner, RecordType::A, &["192.0.2.2"]));
    assert_eq!(standing(&dns, &zone, &foreign).await.unwrap().markers, ["ada"]);

    let outcomes = dns.apply(&zone, &[change(Some(foreign), Some(ours.clone()))]).await;
    assert_eq!(outcomes, [Outcome::Applied]);
    let mut markers = standing(&dns, &zone, &ours).await.unwrap().markers;
    markers.sort();
    assert_eq!(markers, ["ada", MARKER]);
    let again = set(&owner, RecordType::A, &["192.0.2.3"]);
    dns.apply(&zone, &[change(Some(ours), Some(again.clone()))]).await;
    assert_eq!(standing(&dns, &zone, &again).await.unwrap().markers.len(), 2, "ours is there once");

    assert_eq!(dns.apply(&zone, &[change(Some(again.clone()), None)]).await, [Outcome::Applied]);
    assert_eq!(standing(&dns, &zone, &again).await, None);
    pass(&dns, &zone, std::slice::from_ref(&again)).await;
    assert_eq!(standing(&dns, &zone, &again).await.unwrap().markers, [MARKER], "a set that went took its notes along");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serial_that_stays_whatever_is_written_is_not_told() {
    let _turn = turn().await;
    let dns = powerdns();
    let zone = json!({"name": "quiet.test.", "kind": "Native", "nameservers": [], "soa_edit_api": "OFF"});
    make_zone(zone).await;
    let zone = dns.zones().await.unwrap().into_iter().find(|zone| zone.name.as_str() == "quiet.test").unwrap();
    pass(&dns, &zone, &[set("a.quiet.test", RecordType::A, &["192.0.2.1"])]).await;
    assert_eq!(dns.serial(&zone).await.unwrap(), None);
    clear(&dns, &zone, "quiet.test").await;
}
