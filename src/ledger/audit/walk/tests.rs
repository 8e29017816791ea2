#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::*;

fn link(seq: i64, word: &str) -> Link {
    Link {
        organization: "acme".into(),
        seq,
        at: format!("2026-11-20T10:00:{:02}.000000Z", seq % 60),
        actor: Some("alice".into()),
        actor_kind: "user".into(),
        action: "test.happened".into(),
        cluster: Uuid::nil(),
        object_kind: "TerraformDeployment".into(),
        object_uid: Uuid::nil(),
        object_namespace: "shop".into(),
        object_name: "web".into(),
        details: json!({"word": word, "number": seq}),
    }
}

/// Honest links after `prev`, numbered from `first`.
fn forge(prev: &[u8], first: i64, words: &[String]) -> Vec<Stored> {
    let mut prev = prev.to_vec();
    let stored = |(seq, word): (i64, &String)| {
        let link = link(seq, word);
        let hash = link.hash(&prev).unwrap().to_vec();
        Stored { link, prev: std::mem::replace(&mut prev, hash.clone()), hash }
    };
    (first..).zip(words).map(stored).collect()
}

fn head_of(rows: &[Stored]) -> (i64, Vec<u8>) {
    rows.last().map_or((0, GENESIS.to_vec()), |row| (row.link.seq, row.hash.clone()))
}

fn inspect(rows: &[Stored], head: &(i64, Vec<u8>), anchors: &[Anchor]) -> Option<Damage> {
    let mut walk = Walk::new(anchors.to_vec());
    for row in rows {
        if let Some(misfit) = walk.step(row.clone()).unwrap() {
            let original = rows.iter().rev().find(|row| row.prev == misfit.prev);
            return Some(misfit.explain(original).unwrap());
        }
    }
    walk.end(Some(head))
}

fn chain() -> impl Strategy<Value = Vec<Stored>> {
    prop::collection::vec(".{0,12}", 4..20).prop_map(|words| forge(&GENESIS, 1, &words))
}

/// A chain and two different places in it.
fn chain_and_places() -> impl Strategy<Value = (Vec<Stored>, usize, usize)> {
    (chain(), any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_filter_map(
        "two places",
        |(rows, a, b)| {
            let (a, b) = (a.index(rows.len()), b.index(rows.len()));
            (a != b).then_some((rows, a.min(b), a.max(b)))
        },
    )
}

fn found(seq: usize, kind: DamageKind) -> Option<Damage> {
    Some(Damage { seq: i64::try_from(seq).unwrap(), kind })
}

fn renumber(rows: &mut [Stored]) {
    for (seq, row) in (1..).zip(rows) {
        row.link.seq = seq;
    }
}

/// The expected hash is by another program: SHA-256 over `landfall-activity-v1`, a zero byte, 32 zero bytes, and
/// Python's `json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False)`.
#[test]
fn a_link_hashes_as_the_published_vector() {
    let link = link(5, "wörd \"\\\n");
    assert_eq!(
        hex::encode(link.hash(&GENESIS).unwrap()),
        "1b8d369f6205108f1a86797ab5e122f0b9cbdd9b2029a8d7b705125dabed7180"
    );
}

proptest! {
    #[test]
    fn an_honest_chain_is_whole(rows in chain()) {
        let head = head_of(&rows);
        let anchors: Vec<_> = rows.iter().map(|row| Anchor { organization: "acme".into(), seq: row.link.seq, hash: hex::encode(&row.hash) }).collect();
        prop_assert_eq!(inspect(&rows, &head, &anchors), None);
    }

    #[test]
    fn an_edit_is_named((mut rows, place, _) in chain_and_places()) {
        let head = head_of(&rows);
        rows[place].link.details = json!({"word": "forged", "number": -1});
        prop_assert_eq!(inspect(&rows, &head, &[]), found(place + 1, DamageKind::Edited));
    }

    #[test]
    fn an_edit_with_its_own_hash_made_anew_is_named((mut rows, place, _) in chain_and_places()) {
        let head = head_of(&rows);
        rows[place].link.actor = Some("mallory".into());
        rows[place].hash = rows[place].link.hash(&rows[place].prev).unwrap().to_vec();
        let kind = if place + 1 == rows.len() { DamageKind::HeadRewritten } else { DamageKind::Edited };
        prop_assert_eq!(inspect(&rows, &head, &[]), found(place + 1, kind));
    }

    #[test]
    fn an_edit_with_all_later_hashes_made_anew_is_named_by_the_head((mut rows, place, _) in chain_and_places()) {
        let head = head_of(&rows);
        rows[place].link.action = "test.forged".into();
        for place in place..rows.len() {
            if place > 0 {
                rows[place].prev = rows[place - 1].hash.clone();
            }
            rows[place].hash = rows[place].link.hash(&rows[place].prev).unwrap().to_vec();
        }
        prop_assert_eq!(inspect(&rows, &head, &[]), found(rows.len(), DamageKind::HeadRewritten));
        // With the head made anew too, only an anchor knows.
        let anchor = Anchor { organization: "acme".into(), seq: head.0, hash: hex::encode(&head.1) };
        let forged = head_of(&rows);
        prop_assert_eq!(inspect(&rows, &forged, &[]), None);
        prop_assert_eq!(inspect(&rows, &forged, &[anchor]), found(rows.len(), DamageKind::HeadRewritten));
    }

    #[test]
    fn a_deletion_is_named((mut rows, place, _) in chain_and_places(), renumbered: bool) {
        let head = head_of(&rows);
        rows.remove(place);
        let kind = if place == rows.len() { DamageKind::TailCut } else { DamageKind::Deleted };
        if renumbered {
            renumber(&mut rows);
        }
        prop_assert_eq!(inspect(&rows, &head, &[]), found(place + 1, kind));
    }

    #[test]
    fn an_insertion_is_named((mut rows, place, _) in chain_and_places(), honest: bool) {
        let head = head_of(&rows);
        let prev = if honest { rows[place].prev.clone() } else { vec![7; 32] };
        let forged = forge(&prev, i64::try_from(place).unwrap() + 1, &["forged".into()]);
        rows.splice(place..place, forged);
        renumber(&mut rows);
        prop_assert_eq!(inspect(&rows, &head, &[]), found(place + 1, DamageKind::Inserted));
    }

    #[test]
    fn a_swap_is_named((mut rows, one, other) in chain_and_places()) {
        let head = head_of(&rows);
        rows.swap(one, other);
        renumber(&mut rows);
        prop_assert_eq!(inspect(&rows, &head, &[]), found(one + 1, DamageKind::Swapped));
    }

    #[test]
    fn a_cut_tail_is_named_by_the_head_or_by_an_anchor((mut rows, place, _) in chain_and_places()) {
        let head = head_of(&rows);
        rows.truncate(place);
        prop_assert_eq!(inspect(&rows, &head, &[]), found(place + 1, DamageKind::TailCut));
        let anchor = Anchor { organization: "acme".into(), seq: head.0, hash: hex::encode(&head.1) };
        prop_assert_eq!(inspect(&rows, &head_of(&rows), &[anchor]), found(place + 1, DamageKind::TailCut));
    }

    #[test]
    fn any_change_of_any_hashed_field_changes_the_hash(field in 0..12usize) {
        let good = link(5, "x");
        let mut bad = good.clone();
        match field {
            0 => bad.organization.push('x'),
            1 => bad.seq += 1,
            2 => bad.at.push('x'),
            3 => bad.actor = None,
            4 => bad.actor_kind.push('x'),
            5 => bad.action.push('x'),
            6 => bad.cluster = Uuid::max(),
            7 => bad.object_kind.push('x'),
            8 => bad.object_uid = Uuid::max(),
            9 => bad.object_namespace.push('x'),
            10 => bad.object_name.push('x'),
            _ => bad.details = json!({"word": "x", "number": "5"}),
        }
        prop_assert_ne!(good.hash(&GENESIS).unwrap(), bad.hash(&GENESIS).unwrap());
    }
}
