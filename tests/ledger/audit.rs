//! `audit verify` against a superuser who does damage to a real log.

use landfall::api::Organization;
use landfall::ledger::audit::{self, Anchor, Damage, DamageKind};
use sqlx::Executor;

use crate::world::{World, event};

/// Ten events of `acme` and five of `other`, then the damage.
async fn after(damage: &'static str) -> (World, Vec<Anchor>) {
    let world = World::new().await;
    for organization in ["acme", "other"] {
        let subject = world.subject(organization);
        for number in 1..=if organization == "acme" { 10 } else { 5 } {
            world.ledger.record(event(&subject, number)).await.unwrap();
        }
    }
    let anchors = landfall::ledger::audit::anchors(world.ledger.pool()).await.unwrap();
    world.database.superuser().await.execute(damage).await.unwrap();
    (world, anchors)
}

async fn damage_of(world: &World, anchors: &[Anchor]) -> Option<Damage> {
    let reports = audit::verify(world.ledger.pool(), None, anchors).await.unwrap();
    let of = |name: &str| reports.iter().find(|report| report.organization.as_str() == name).unwrap();
    assert_eq!(of("other").damage, None, "another organization's chain is untouched");
    of("acme").damage
}

async fn assert_found(damage: &'static str, seq: i64, kind: DamageKind) {
    let (world, _) = after(damage).await;
    assert_eq!(damage_of(&world, &[]).await, Some(Damage { seq, kind }), "{damage}");
}

#[tokio::test]
async fn an_untouched_log_is_whole() {
    let (world, anchors) = after("SELECT 1").await;
    let reports = audit::verify(world.ledger.pool(), None, &anchors).await.unwrap();
    assert_eq!(
        reports.iter().map(|report| (report.organization.as_str(), report.events)).collect::<Vec<_>>(),
        [("acme", 10), ("other", 5)]
    );
    assert!(reports.iter().all(|report| report.damage.is_none()));
    let one = audit::verify(world.ledger.pool(), Some(&Organization("other".into())), &anchors).await.unwrap();
    assert_eq!(one.len(), 1);
}

#[tokio::test]
async fn an_edit_of_any_column_is_named() {
    for edit in [
        "UPDATE activity_log SET details = '{\"number\": 400}' WHERE organization_id = 'acme' AND seq = 4",
        "UPDATE activity_log SET details = '{\"number\": 1e999}' WHERE organization_id = 'acme' AND seq = 4",
        "UPDATE activity_log SET at = 'infinity' WHERE organization_id = 'acme' AND seq = 4",
        "UPDATE activity_log SET actor = NULL WHERE organization_id = 'acme' AND seq = 4",
        "UPDATE activity_log SET object_name = 'other' WHERE organization_id = 'acme' AND seq = 4",
        "UPDATE activity_log SET hash = prev_hash WHERE organization_id = 'acme' AND seq = 4",
    ] {
        assert_found(edit, 4, DamageKind::Edited).await;
    }
}

#[tokio::test]
async fn a_deletion_is_named() {
    assert_found("DELETE FROM activity_log WHERE organization_id = 'acme' AND seq = 4", 4, DamageKind::Deleted).await;
}

#[tokio::test]
async fn an_insertion_is_named() {
    let shift = "UPDATE activity_log SET seq = seq + 1000 WHERE organization_id = 'acme' AND seq >= 4;
         UPDATE activity_log SET seq = seq - 999 WHERE organization_id = 'acme' AND seq > 1000;
         INSERT INTO activity_log SELECT organization_id, 4, at, actor, actor_kind, 'test.forged', cluster_id, object_kind, object_uid,
            object_namespace, object_name, details, hash, hash FROM activity_log WHERE organization_id = 'acme' AND seq = 3";
    assert_found(shift, 4, DamageKind::Inserted).await;
    let append = "INSERT INTO activity_log SELECT organization_id, 11, at, actor, actor_kind, 'test.forged', cluster_id, object_kind,
            object_uid, object_namespace, object_name, details, hash, hash FROM activity_log WHERE organization_id = 'acme' AND seq = 10";
    assert_found(append, 11, DamageKind::Inserted).await;
}

#[tokio::test]
async fn a_swap_is_named() {
    let swap = "UPDATE activity_log SET seq = seq + 1000 WHERE organization_id = 'acme' AND seq IN (3, 7);
         UPDATE activity_log SET seq = 1010 - seq WHERE organization_id = 'acme' AND seq IN (1003, 1007)";
    assert_found(swap, 3, DamageKind::Swapped).await;
}

#[tokio::test]
async fn a_cut_tail_is_named_by_the_head_and_with_the_head_by_an_anchor() {
    assert_found("DELETE FROM activity_log WHERE organization_id = 'acme' AND seq > 7", 8, DamageKind::TailCut).await;
    let (world, anchors) = after(
        "DELETE FROM activity_log WHERE organization_id = 'acme' AND seq > 7;
         UPDATE audit_heads SET seq = 7, hash = (SELECT hash FROM activity_log WHERE organization_id = 'acme' AND seq = 7)
         WHERE organization_id = 'acme'",
    )
    .await;
    assert_eq!(damage_of(&world, &[]).await, None, "nothing inside Postgres can know");
    assert_eq!(damage_of(&world, &anchors).await, Some(Damage { seq: 8, kind: DamageKind::TailCut }));
}

#[tokio::test]
async fn a_rewritten_head_is_named() {
    assert_found(
        "UPDATE audit_heads SET hash = sha256('x') WHERE organization_id = 'acme'",
        10,
        DamageKind::HeadRewritten,
    )
    .await;
    assert_found("DELETE FROM audit_heads WHERE organization_id = 'acme'", 10, DamageKind::HeadRewritten).await;
}

#[tokio::test]
async fn a_chain_that_vanished_is_named_by_its_anchor() {
    let (world, anchors) = after(
        "DELETE FROM activity_log WHERE organization_id = 'acme'; DELETE FROM audit_heads WHERE organization_id = 'acme';
         DELETE FROM organizations WHERE organization_id = 'acme'",
    )
    .await;
    assert_eq!(damage_of(&world, &anchors).await, Some(Damage { seq: 1, kind: DamageKind::TailCut }));
}

#[tokio::test]
async fn a_chain_that_was_removed_with_its_head_is_named_while_anything_of_its_organization_is_left() {
    let both = "DELETE FROM activity_log WHERE organization_id = 'acme'; DELETE FROM audit_heads WHERE organization_id = 'acme'";
    assert_found(both, 1, DamageKind::TailCut).await;
    let all_but_the_mirror = "SET session_replication_role = replica;
         INSERT INTO terraform_deployments (cluster_id, uid, organization_id, namespace, name, generation, resource_version, spec, labels, escaped)
         SELECT cluster_id, gen_random_uuid(), 'acme', 'shop', 'web', 1, 1, '{}', '{}', false FROM clusters;
         DELETE FROM activity_log WHERE organization_id = 'acme'; DELETE FROM audit_heads WHERE organization_id = 'acme';
         DELETE FROM organizations WHERE organization_id = 'acme'";
    assert_found(all_but_the_mirror, 1, DamageKind::TailCut).await;
}

#[tokio::test]
async fn a_head_that_was_removed_does_not_grow_again() {
    let (world, _) = after(
        "DELETE FROM activity_log WHERE organization_id = 'acme'; DELETE FROM audit_heads WHERE organization_id = 'acme'",
    )
    .await;
    let error = world.ledger.record(event(&world.subject("acme"), 11)).await.unwrap_err();
    assert!(error.to_string().contains("has no head"), "{error}");
    assert_eq!(damage_of(&world, &[]).await, Some(Damage { seq: 1, kind: DamageKind::TailCut }));
}
