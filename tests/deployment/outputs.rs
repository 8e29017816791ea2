//! The outputs' Secret: whatever happens to it, it has what the state says, and nothing else has.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::wait_until;
use crate::world::{PLENTY, World, digest, message, status};

fn spec(module: &str, secret: &str) -> Value {
    json!({"source": {"inline": {"main.tf": module}}, "approval": "Automatic", "outputs": {"secretName": secret}})
}

async fn secret(world: &World, name: &str) -> Option<Secret> {
    world.api::<Secret>().get_opt(name).await.unwrap()
}

async fn said(world: &World, secret: &str) -> Option<Vec<u8>> {
    world.api::<Secret>().get(secret).await.unwrap().data.and_then(|mut data| data.remove("said")).map(|bytes| bytes.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_writes_into_it_is_put_right_and_another_name_leaves_no_values_behind() {
    let world = World::new().await;
    let module =
        "output \"said\" {\n  value     = \"ours\"\n  sensitive = true\n}\nresource \"terraform_data\" \"a\" {}";
    world.deployment("web", spec(module, "first")).await;
    world.ready("web", "Applied").await;
    assert_eq!(said(&world, "first").await.unwrap(), b"ours");
    let beside = json!({"annotations": {"replicate": "yes"}, "labels": {"team": "a"}});
    let edit = json!({"stringData": {"said": "theirs", "more": "x"}, "metadata": beside});
    world.api::<Secret>().patch("first", &PatchParams::default(), &Patch::Merge(edit)).await.unwrap();
    let right = async || {
        let data = world.api::<Secret>().get("first").await.unwrap().data.unwrap_or_default();
        data.len() == 1 && data["said"].0 == b"ours"
    };
    wait_until(PLENTY, "the Secret to be put right", right).await;
    let meta = secret(&world, "first").await.unwrap().metadata;
    assert_eq!(meta.annotations.unwrap()["replicate"], "yes", "what others put beside the data stays");
    assert_eq!(meta.labels.unwrap()["team"], "a");

    world.deployment("web", spec(module, "second")).await;
    let renamed = async || {
        let [first, second] = [secret(&world, "first").await, secret(&world, "second").await];
        first.is_none() && second.is_some_and(|secret| secret.data.is_some())
    };
    wait_until(PLENTY, "the values to be in the second Secret alone", renamed).await;

    let without = json!({"source": {"inline": {"main.tf": module}}, "approval": "Automatic"});
    world.deployment("web", without).await;
    let removed = async || secret(&world, "second").await.is_none();
    wait_until(PLENTY, "the Secret to be gone that nobody wants any more", removed).await;
    let recorded = async || {
        let told =
            "SELECT count(*) FROM activity_log WHERE action = 'outputs.removed' AND details->>'deleted' = 'true'";
        world.count(told).await == 2
    };
    wait_until(PLENTY, "the record of it", recorded).await;
    assert_eq!(world.count("SELECT count(*) FROM activity_log WHERE action = 'outputs.published'").await, 3);
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_took_the_name_of_a_former_secret_stays() {
    let world = World::new().await;
    let module = "output \"said\" { value = \"ours\" }\nresource \"terraform_data\" \"a\" {}";
    world.deployment("web", spec(module, "first")).await;
    world.ready("web", "Applied").await;
    world.deployment("web", json!({"source": {"inline": {"main.tf": module}}, "suspend": true})).await;
    world.ready("web", "Suspended").await;
    let free = json!({"metadata": {"ownerReferences": null}});
    world.api::<Secret>().patch("first", &PatchParams::default(), &Patch::Merge(free)).await.unwrap();
    world.deployment("web", json!({"source": {"inline": {"main.tf": module}}})).await;
    let recorded = async || {
        world
            .count(
                "SELECT count(*) FROM activity_log WHERE action = 'outputs.removed' AND details->>'deleted' = 'false'",
            )
            .await
            == 1
    };
    wait_until(PLENTY, "the record that it was left", recorded).await;
    assert_eq!(said(&world, "first").await.unwrap(), b"ours");
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_no_secret_holds_is_named() {
    let world = World::new().await;
    let data = "resource \"terraform_data\" \"a\" {}\n";
    world.deployment("name", spec(&format!("{data}output \"größe\" {{ value = 1 }}"), "name")).await;
    let large =
        format!("{data}output \"text\" {{ value = join(\"\", [for n in range(1024) : format(\"%01100d\", n)]) }}");
    world.deployment("size", spec(&large, "size")).await;
    for (name, output) in [("name", "größe"), ("size", "text")] {
        let told = message(&world.ready(name, "SourceInvalid").await);
        assert!(told.contains(output) && told.contains("spec.outputs.include"), "{told}");
        assert!(world.api::<Secret>().get_opt(name).await.unwrap().is_none());
    }
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_changes_an_output_alone_says_which() {
    let world = World::new().await;
    let module = |said: &str| {
        let output = format!("output \"said\" {{\n  value     = \"{said}\"\n  sensitive = true\n}}");
        json!({"source": {"inline": {"main.tf": format!("resource \"terraform_data\" \"a\" {{}}\n{output}")}}})
    };
    world.deployment("web", module("first-value")).await;
    let first = digest(&world.ready("web", "ApprovalRequired").await);
    world.command("web", "approve", &first).await;
    world.ready("web", "Applied").await;
    world.deployment("web", module("second-value")).await;
    world.plan_after("web", &first).await;
    let object = world.ready("web", "ApprovalRequired").await;
    let said = message(&object);
    assert!(said.starts_with("0 to add, 0 to change, 0 to destroy, 1 output to change (said); "), "{said}");
    let summary = status(&object).plan.unwrap().summary;
    assert_eq!((summary.outputs, summary.output_names), (1, vec!["said".to_owned()]));
    assert!(!json!(object).to_string().replace(&json!(object.spec).to_string(), "").contains("second-value"));
    world.controller.stop().await;
}
