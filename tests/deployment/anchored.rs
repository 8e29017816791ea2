//! A ledger that is behind the anchors of its log begins nothing.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams};
use landfall::reconcile::anchors;
use serde_json::json;
use sqlx::Executor;

use crate::harness::{User, wait_until};
use crate::world::{PLENTY, World, message};

const RUNS: &str = "SELECT count(*) FROM terraform_runs";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_begins_while_the_log_is_behind_its_anchor() {
    let World { namespace, client, database, controller } = World::new().await;
    let world = World { namespace, client, database, controller: () };
    let spec = json!({"source": {"inline": {"main.tf": "resource \"terraform_data\" \"a\" {}"}}});
    world.deployment("web", spec.clone()).await;
    world.ready("web", "ApprovalRequired").await;

    // A leadership begins with anchors of what it finds.
    let home = controller.stop().await;
    let maps: Api<ConfigMap> = Api::namespaced(world.client.clone(), &home.namespace);
    let events = world.count("SELECT max(seq) FROM activity_log").await;
    let controller = home.start().await;
    let anchored = async || {
        let map = maps.get_opt(anchors::CONFIG_MAP).await.unwrap();
        map.is_some_and(|map| anchors::read(&map).unwrap().iter().any(|anchor| anchor.seq >= events))
    };
    wait_until(PLENTY, "the anchors", anchored).await;
    let home = controller.stop().await;

    // An older backup: the chain is whole, and ends too early.
    let cut = "DELETE FROM activity_log a USING audit_heads h WHERE a.organization_id = h.organization_id AND a.seq > h.seq - 3;
               UPDATE audit_heads h SET seq = a.seq, hash = a.hash FROM activity_log a
               WHERE a.organization_id = h.organization_id AND a.seq = h.seq - 3";
    world.database.superuser().await.execute(cut).await.unwrap();
    let controller = home.start().await;
    world
        .patch_as(
            User::Admin,
            "web",
            json!({"spec": {"variables": null, "source": {"inline": {"main.tf": "output \"a\" { value = 1 }"}}}}),
        )
        .await;
    let said = message(&world.ready("web", "StateRegressed").await);
    assert!(said.contains("landfall audit verify") && said.contains(anchors::CONFIG_MAP), "{said}");
    world.deployment("other", spec).await;
    world.ready("other", "StateRegressed").await;
    assert_eq!(world.count(RUNS).await, 1, "nothing has begun");

    // The older one is meant.
    maps.delete(anchors::CONFIG_MAP, &DeleteParams::default()).await.unwrap();
    world.ready("web", "ApprovalRequired").await;
    world.ready("other", "ApprovalRequired").await;
    controller.stop().await;
}
