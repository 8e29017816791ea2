//! 2,000 objects made from the schemas are mirrored, none is lost, and none stands in an ordinary one's way.

use landfall::ledger::{MirrorRow, ObjectKind, Subject};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::objects::{Dice, any};
use crate::world::World;

/// How many of each kind.
const COUNT: u64 = 1000;

fn row(subject: Subject, version: u64, object: Value) -> MirrorRow {
    let field_manager = Some("kubectl\u{0}".to_owned());
    MirrorRow { subject, generation: 1, resource_version: version.to_string(), object, field_manager }
}

async fn are_mirrored(kind: ObjectKind, table: &str) {
    let world = World::new().await;
    let writer = world.writer().await;
    println!("seeds 0 to {}", COUNT - 1);
    let subject = |name: &str| Subject { kind, uid: Uuid::now_v7(), name: name.into(), ..world.subject("acme") };
    let rows: Vec<_> = (0..COUNT)
        .map(|seed| {
            let mut object = any(kind.as_str(), &format!("strange-{seed}"), &mut Dice::new(seed));
            // Whoever may write status may write anything there that its schema takes.
            object["status"] = any(kind.as_str(), "status", &mut Dice::new(seed + COUNT))["spec"].take();
            object["metadata"]["labels"] = json!({"a": "\u{0}"});
            row(subject(&format!("strange-{seed}")), seed + 1, object)
        })
        .collect();
    for batch in rows.chunks(200) {
        let mirrored = writer.mirror_apply(kind, batch).await.unwrap();
        assert!(mirrored.quarantined.is_empty(), "{:?}", mirrored.quarantined);
    }
    let plain = row(subject("plain"), COUNT + 1, json!({"metadata": {}, "spec": {"description": "plain"}}));
    writer.mirror_apply(kind, &[plain]).await.unwrap();
    let count = |of: &str| sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table} WHERE name LIKE '{of}'"));
    for (of, expected) in [("strange-%", COUNT), ("plain", 1)] {
        let found: i64 = sqlx::query_scalar(count(of)).fetch_one(world.ledger.pool()).await.unwrap();
        assert_eq!(found, i64::try_from(expected).unwrap(), "{of}");
    }
    // The same list again changes nothing, and a list without them buries them all.
    let again = writer.mirror_relist(kind, None, &rows, None).await.unwrap();
    assert!(again.quarantined.is_empty());
    writer.mirror_relist(kind, None, &[], None).await.unwrap();
    let live = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table} WHERE deleted_at IS NULL"));
    assert_eq!(sqlx::query_scalar::<_, i64>(live).fetch_one(world.ledger.pool()).await.unwrap(), 0);
}

#[tokio::test]
async fn strange_credentials_are_mirrored() {
    are_mirrored(ObjectKind::CloudCredential, "cloud_provider_credentials").await;
}

#[tokio::test]
async fn strange_deployments_are_mirrored() {
    are_mirrored(ObjectKind::TerraformDeployment, "terraform_deployments").await;
}

#[tokio::test]
async fn strange_records_are_mirrored() {
    are_mirrored(ObjectKind::DnsRecord, "dns_records").await;
}

#[tokio::test]
async fn strange_certificates_are_mirrored() {
    are_mirrored(ObjectKind::Certificate, "ssl_certificates").await;
}
