#![allow(clippy::unwrap_used)]
use super::*;

fn set(text: Value) -> Set {
    serde_json::from_value(text).unwrap()
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn wanted(owner: &str, kind: RecordType, value: &str) -> RecordSet {
    RecordSet::from_spec(name(owner), kind, 60, &[value.to_owned()]).unwrap()
}

fn create(owner: &str, kind: RecordType, value: &str) -> Change {
    Change::new(None, Some(wanted(owner, kind, value)), Some("landfall:x".into())).unwrap()
}

#[test]
fn an_error_is_laid_to_the_one_set_that_it_names() {
    let changes = [
        create("www.example.test", RecordType::A, "192.0.2.1"),
        create("www.example.test", RecordType::Txt, "x"),
        create("a.www.example.test", RecordType::A, "192.0.2.1"),
        create("mail.example.test", RecordType::Mx, "10 a.example."),
    ];
    let lot: Vec<(usize, &Change)> = changes.iter().enumerate().collect();
    for (text, expected) in [
        ("Record www.example.test./A '192.0.2.777': Parsing record content: unable to parse IP address", Some(0)),
        ("Record www.example.test./TXT 'x': Data field in DNS should start with quote (\") at position 0", Some(1)),
        ("RRset a.www.example.test. IN A: Conflicts with pre-existing RRset", Some(2)),
        ("RRset mail.example.test. IN MX: more than one", Some(3)),
        ("RRset example.test. IN MX: more than one", None),
        ("www.example.test. has A and TXT", None),
        ("RRset www.example.test. IN AAAA: x", None),
        ("Internal error", None),
        ("", None),
    ] {
        assert_eq!(culprit(text, &lot), expected, "{text}");
    }
}

#[test]
fn comments_of_others_stay_and_ours_is_one() {
    let comment = |content: &str, account: &str| json!({"content": content, "account": account, "modified_at": 7});
    let standing = [set(json!({
        "name": "www.example.test.", "type": "A", "ttl": 60, "records": [{"content": "192.0.2.1", "disabled": false}],
        "comments": [comment("ask Ada", "ada"), comment(COMMENT, "landfall:old")],
    }))];
    let made = rrset(&create("www.example.test", RecordType::A, "192.0.2.2"), &comments(&standing)).unwrap();
    assert_eq!(
        made,
        json!({
            "name": "www.example.test.", "type": "A", "ttl": 60, "changetype": "REPLACE",
            "records": [{"content": "192.0.2.2", "disabled": false}],
            "comments": [comment("ask Ada", "ada"), {"content": COMMENT, "account": "landfall:x"}],
        })
    );
    let unmarked = Change::new(None, Some(wanted("a.test", RecordType::A, "192.0.2.2")), None).unwrap();
    assert!(rrset(&unmarked, &comments(&standing)).unwrap().get("comments").is_none());
    let gone = Change::new(Some(wanted("a.test", RecordType::A, "192.0.2.2")), None, None).unwrap();
    assert_eq!(rrset(&gone, &comments(&[])).unwrap(), json!({"name": "a.test.", "type": "A", "changetype": "DELETE"}));
}

#[test]
fn what_no_set_can_hold_is_told_apart_and_breaks_nothing() {
    let record = |content: &str| json!([{"content": content, "disabled": false}]);
    let sets: Vec<Set> = [
        json!({"name": "Example.test.", "type": "SOA", "ttl": 60, "records": record("a. b. 1 2 3 4 5")}),
        json!({"name": "Example.test.", "type": "NS", "ttl": 60, "records": record("NS1.example.test.")}),
        json!({"name": "x.example.test.", "type": "HTTPS", "ttl": 60, "records": record("1 . alpn=h2")}),
        json!({"name": "a\\032b.example.test.", "type": "A", "ttl": 60, "records": record("192.0.2.1")}),
        json!({"name": "bad.example.test.", "type": "A", "ttl": 60, "records": record("nonsense")}),
        json!({"name": "off.example.test.", "type": "A", "ttl": 60,
            "records": [{"content": "192.0.2.1", "disabled": true}]}),
        json!({"name": "m.example.test.", "type": "TXT", "ttl": 60, "records": record("\"a\" \"b\""),
            "comments": [{"content": "x", "account": "ada", "modified_at": 1}]}),
    ]
    .into_iter()
    .map(set)
    .collect();
    let contents = contents(&sets);
    assert_eq!(contents.others.iter().map(|o| o.kind.as_str()).collect::<Vec<_>>(), ["HTTPS", "A", "A", "A"]);
    assert_eq!(contents.sets.len(), 2);
    assert!(contents.find(&name("example.test"), RecordType::Ns).is_some());
    let marked = contents.find(&name("m.example.test"), RecordType::Txt).unwrap();
    assert_eq!(
        (marked.markers.as_slice(), marked.set.values()),
        (["ada".to_owned()].as_slice(), [Data::Txt(b"ab".to_vec())].as_slice())
    );
}
