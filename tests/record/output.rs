//! Values that are an output of a deployment, applied by a real engine.

use std::time::{Duration, Instant};

use kube::api::{DeleteParams, Patch, PatchParams};
use landfall::api::{DnsRecord, TerraformDeployment};
use landfall::dns::RecordType;
use serde_json::{Value, json};

use crate::harness::{self, wait_until};
use crate::world::{At, PLENTY, World, condition};

async fn deployment(world: &World, outputs: &str) {
    let spec = json!({"source": {"inline": {"main.tf": outputs}}, "approval": "Automatic", "deletionPolicy": "Retain"});
    let object: Value = harness::deployment("web", spec);
    let params = PatchParams::apply("test").force();
    world.api::<TerraformDeployment>().patch("web", &params, &Patch::Apply(&object)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_follows_the_output_of_a_deployment_and_stays_when_the_deployment_goes() {
    let world = World::new(At::PowerDns).await;
    let owner = world.name("www");
    world.record("www", from("www", "ip")).await;
    waits(&world, "www", "no such TerraformDeployment").await;

    deployment(&world, "output \"ip\" { value = \"192.0.2.1\" }").await;
    world.ready("www").await;
    assert_eq!(world.values(&owner, RecordType::A).await, ["192.0.2.1"]);

    deployment(&world, "output \"ip\" { value = [\"192.0.2.2\", \"192.0.2.3\"] }").await;
    wait_until(PLENTY, "the new output", async || {
        world.values(&owner, RecordType::A).await == ["192.0.2.2", "192.0.2.3"]
    })
    .await;

    deployment(&world, "output \"other\" { value = \"192.0.2.9\" }").await;
    waits(&world, "www", "no such output").await;
    assert_eq!(world.values(&owner, RecordType::A).await, ["192.0.2.2", "192.0.2.3"], "it stays without the output");

    world.api::<TerraformDeployment>().delete("web", &DeleteParams::default()).await.unwrap();
    waits(&world, "www", "no such TerraformDeployment").await;
    assert_eq!(world.values(&owner, RecordType::A).await, ["192.0.2.2", "192.0.2.3"], "and without the deployment");
    world.delete("www").await;
    world.gone("www").await;
    assert_eq!(world.stands(&owner, RecordType::A).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_is_secret_or_no_value_of_the_type_is_refused_and_nothing_is_written() {
    let world = World::new(At::PowerDns).await;
    let outputs = r#"
        output "secret" {
          value     = "192.0.2.9"
          sensitive = true
        }
        output "map" { value = { a = "192.0.2.9" } }
        output "text" { value = "nine" }
        output "none" { value = [] }"#;
    deployment(&world, outputs).await;
    let told = [
        ("secret", "it is sensitive"),
        ("map", "it is neither text"),
        ("text", "values[0]: "),
        ("none", "values: a set has 1 to 100"),
    ];
    for (name, words) in told {
        world.record(name, from(name, name)).await;
        let words = format!("output {name:?} of TerraformDeployment \"web\": {words}");
        told_of(&world, name, "InvalidRecord", &words).await;
        assert_eq!(world.stands(&world.name(name), RecordType::A).await, None);
    }
    assert_eq!(world.ask::<String>("SELECT uid::text FROM landfall.record_sets").await, [] as [String; 0]);
}

fn from(name: &str, output: &str) -> Value {
    json!({"name": name, "values": null, "valueFrom": {"output": {"deployment": "web", "name": output}}})
}

async fn waits(world: &World, name: &str, words: &str) {
    told_of(world, name, "DependencyNotReady", words).await;
}

/// Two sentences of one reason may follow each other: waits for this one.
async fn told_of(world: &World, name: &str, reason: &str, words: &str) {
    let end = Instant::now() + PLENTY;
    loop {
        let object = world.api::<DnsRecord>().get(name).await.unwrap();
        let ready = condition(&object, "Ready");
        if ready.is_some_and(|c| c.status == "False" && c.reason == reason && c.message.contains(words)) {
            return;
        }
        assert!(Instant::now() < end, "{name}: waited for {reason} {words:?}: {:#?}", object.status);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
