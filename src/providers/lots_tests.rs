#![allow(clippy::unwrap_used)]
use super::*;

fn create(owner: &str, kind: RecordType, value: &str) -> Change {
    let set = RecordSet::from_spec(Name::parse(owner).unwrap(), kind, 60, &[value.to_owned()]).unwrap();
    Change::new(None, Some(set), None).unwrap()
}

#[test]
fn changes_of_a_name_belong_together_where_a_cname_comes_or_goes() {
    use RecordType::{A, Cname, Txt};
    let changes = [
        create("a.test", A, "192.0.2.1"),
        create("b.test", A, "192.0.2.1"),
        create("a.test", Txt, "x"),
        create("b.test", Cname, "x.example."),
        create("c.test", Cname, "x.example."),
    ];
    assert_eq!(units(&changes), [0, 1, 2, 1, 4]);
}

#[test]
fn lots_keep_to_their_limits_and_names_in_one() {
    let name = |n: usize| format!("n{n:03}.example.test");
    let mut many: Vec<Change> = (0..500).map(|n| create(&name(n), RecordType::A, "192.0.2.1")).collect();
    many.extend((0..500).map(|n| create(&name(n), RecordType::Txt, "x")));
    let cut = lots(&many, 200, 60_000);
    assert_eq!(cut.iter().map(Vec::len).collect::<Vec<_>>(), [200; 5]);
    let mut all: Vec<usize> = cut.iter().flatten().copied().collect();
    all.sort_unstable();
    assert_eq!(all, (0..1000).collect::<Vec<_>>());
    for lot in &cut {
        assert!(lot.iter().all(|n| lot.contains(&((n + 500) % 1000))), "both types of a name");
    }
    let large: Vec<Change> = (0..40).map(|n| create(&name(n), RecordType::Txt, &"x".repeat(4000))).collect();
    assert_eq!(lots(&large, 200, 60_000).iter().map(Vec::len).max(), Some(14));
    assert!(lots(&[], 1, 1).iter().all(Vec::is_empty));
}
