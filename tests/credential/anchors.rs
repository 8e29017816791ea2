use std::process::Command;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use landfall::ledger::audit;
use landfall::reconcile::anchors;
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection, PgPool};

use crate::harness::{User, env, wait_until};
use crate::world::{PLENTY, World};

/// `landfall audit verify` with the anchors of a namespace: exit code and what was printed.
fn verify(world: &World, namespace: &str) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_landfall"))
        .args(["audit", "verify"])
        .arg(format!("--anchors-from-cluster={namespace}"))
        .env("DATABASE_URL", &world.database.url)
        .env("KUBECONFIG", User::Admin.kubeconfig())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controller_anchors_the_chains_and_never_over_what_was_lost() {
    let mut world = World::new().await;
    world.powerdns("pdns", &env("PDNS_API_KEY"), &env("PDNS_URL"), json!({})).await;
    world.valid("pdns", PLENTY, "True", "Valid").await;
    let pool = PgPool::connect(&world.database.url).await.unwrap();
    let events = "SELECT count(*) FROM activity_log";
    let written = async || sqlx::query_scalar::<_, i64>(events).fetch_one(&pool).await.unwrap() > 1;
    wait_until(PLENTY, "events", written).await;
    let home = world.controller().home.namespace.clone();
    let maps: Api<ConfigMap> = Api::namespaced(world.client.clone(), &home);
    let (code, text) = verify(&world, &world.namespace);
    assert!(code == 1 && text.contains("there is no ConfigMap"), "{text}");

    world.restart().await;
    let same = async || match maps.get_opt(anchors::CONFIG_MAP).await.unwrap() {
        Some(map) => anchors::read(&map).unwrap() == audit::anchors(&pool).await.unwrap(),
        None => false,
    };
    wait_until(PLENTY, "the anchors", same).await;
    let (code, text) = verify(&world, &home);
    assert!(code == 0 && text.contains("ok"), "{text}");
    let before = maps.get(anchors::CONFIG_MAP).await.unwrap();

    // Somebody who owns the database cuts the newest event off and puts the head back: the chain by itself is whole.
    let stopped = world.controller.take().unwrap().stop().await;
    let mut admin = PgConnection::connect(&world.database.url).await.unwrap();
    let cut =
        "DELETE FROM activity_log a USING audit_heads h WHERE a.organization_id = h.organization_id AND a.seq = h.seq;
               UPDATE audit_heads h SET seq = a.seq, hash = a.hash FROM activity_log a
               WHERE a.organization_id = h.organization_id AND a.seq = h.seq - 1";
    admin.execute(cut).await.unwrap();
    assert!(audit::verify(&pool, None, &[]).await.unwrap().iter().all(|report| report.damage.is_none()));
    world.controller = Some(stopped.start().await);
    let noticed = async || world.controller().metrics.text().contains("landfall_anchors_lost 1");
    wait_until(PLENTY, "the loss to be seen", noticed).await;
    assert_eq!(maps.get(anchors::CONFIG_MAP).await.unwrap(), before, "the evidence stays");
    let (code, text) = verify(&world, &home);
    assert!(code == 1 && text.contains("damaged"), "{text}");
}
