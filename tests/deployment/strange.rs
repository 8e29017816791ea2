//! What the API server takes, however strange, the controller reads, decides on and mirrors, and it stands in nobody's way.

use futures::StreamExt;
use serde_json::{Value, json};

use crate::harness::objects::{Dice, any};
use crate::harness::{User, kubectl, wait_until};
use crate::world::{PLENTY, World};

/// How many objects of each kind are offered.
const COUNT: u64 = 200;

/// Offers the object to the API server as text, since no client of ours would send it. Whether it was taken.
async fn offer(world: &World, kind: &str, object: String) -> bool {
    let plural = format!("{}s", kind.to_lowercase());
    let path = format!("/apis/landfall.dev/v1alpha1/namespaces/{}/{plural}", world.namespace);
    let request = http::Request::post(path).header("content-type", "application/json").body(object.into_bytes());
    match world.client.request_text(request.unwrap()).await {
        Ok(_) => true,
        Err(kube::Error::Api(status)) if (400..500).contains(&status.code) => false,
        Err(other) => panic!("{other}"),
    }
}

/// Suspended, so that nothing is run or asked for it.
fn suspended(mut object: Value) -> String {
    if let Some(spec) = object["spec"].as_object_mut() {
        spec.insert("suspend".into(), json!(true));
    }
    object.to_string()
}

/// A value nested so deep that parsers stop before its end; the API server goes to 10,000.
fn deep(name: &str, depth: usize) -> String {
    let object = crate::harness::deployment(
        name,
        json!({"source": {"inline": {"main.tf": "variable \"x\" {}\noutput \"x\" { value = var.x }"}},
            "variables": {"x": "HERE"}, "approval": "Automatic", "outputs": {"secretName": format!("{name}-outputs")}}),
    );
    object.to_string().replace("\"HERE\"", &format!("{}1{}", "[".repeat(depth), "]".repeat(depth)))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_nested_too_deep_is_said_to_be_and_holds_nobody_up() {
    let world = World::new().await;
    for depth in [120, 200, 5000] {
        assert!(offer(&world, "TerraformDeployment", deep(&format!("deep-{depth}"), depth)).await);
    }
    world.deployment("plain", json!({"source": {"inline": {"main.tf": ""}}})).await;
    world.ready("plain", "NoChanges").await;
    let outputs = world.ready("deep-120", "Applied").await.status.unwrap().outputs;
    let text = format!("{}1{}", "[".repeat(120), "]".repeat(120));
    assert_eq!(json!(outputs), json!({"x": text}), "what is nested deep is shown as text");
    for name in ["deep-200", "deep-5000"] {
        let said = crate::world::message(&world.ready(name, "SourceInvalid").await);
        assert!(said.contains("spec.variables.x") && said.contains("nested"), "{said}");
    }
    let mirrored = async || world.count("SELECT count(*) FROM terraform_deployments").await == 4;
    wait_until(PLENTY, "the mirror", mirrored).await;
    // A client like ours could not read the answer.
    let mut delete = kubectl(User::Admin);
    delete.args(["delete", "tfd/deep-5000", "--wait=false", "-n", &world.namespace]);
    assert!(delete.output().unwrap().status.success());
    world.gone("deep-5000").await;
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strange_objects_are_read_and_mirrored_and_an_ordinary_one_after_them_at_once() {
    let world = World::new().await;
    let mut taken = Vec::new();
    for kind in ["CloudCredential", "TerraformDeployment"] {
        eprintln!("{kind}: seeds 0 to {}", COUNT - 1);
        let offered = futures::stream::iter(0..COUNT).map(|seed| {
            let object = suspended(any(kind, &format!("strange-{seed}"), &mut Dice::new(seed)));
            offer(&world, kind, object)
        });
        let answers: Vec<bool> = offered.buffer_unordered(4).collect().await;
        taken.push(i64::try_from(answers.into_iter().filter(|taken| *taken).count()).unwrap());
    }
    assert!(taken.iter().all(|n| *n > 20), "{taken:?} were taken: too few to tell anything");
    world.deployment("plain", json!({"source": {"inline": {"main.tf": ""}}})).await;
    let one = async || world.count("SELECT count(*) FROM terraform_deployments WHERE name = 'plain'").await == 1;
    wait_until(std::time::Duration::from_secs(10), "the ordinary one in the mirror", one).await;
    world.ready("plain", "NoChanges").await;
    let told = "SELECT (SELECT count(*) FROM cloud_provider_credentials WHERE ready IS NOT NULL), \
        (SELECT count(*) FROM terraform_deployments WHERE ready IS NOT NULL), (SELECT count(*) FROM mirror_quarantine)";
    let all = (taken[0], taken[1] + 1, 0);
    let mut connection = world.database.superuser().await;
    let mut found =
        async || sqlx::query_as::<_, (i64, i64, i64)>(told).fetch_one(&mut connection).await.unwrap() == all;
    wait_until(PLENTY, &format!("{all:?} with a condition, mirrored"), &mut found).await;
    world.controller.stop().await;
}
