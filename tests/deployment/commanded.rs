//! `landfall approve`, `cancel` and `retry` as people type them, answered by a controller.

use serde_json::json;

use crate::harness::User;
use crate::proxy::Proxy;
use crate::world::{World, digest, status};

const DATA: &str = "resource \"terraform_data\" \"a\" {}";

/// Exit code, standard output, standard error.
pub(crate) async fn alice(world: &World, arguments: &[&str]) -> (i32, String, String) {
    let mut command = world.controller.home.landfall(arguments);
    let output =
        command.args(["-n", &world.namespace]).env("KUBECONFIG", User::Alice.kubeconfig()).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_command_line_says_of_a_command_is_what_became_of_it() {
    let world = World::new().await;
    world.deployment("web", json!({"source": {"inline": {"main.tf": DATA}}})).await;
    let first = digest(&world.ready("web", "ApprovalRequired").await);
    let (code, _, err) = alice(&world, &["cancel", "tfd/web"]).await;
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("nothing to cancel"), "{err}");
    let (code, out, err) = alice(&world, &["approve", "tfd/web", "--digest", &first]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with(&format!("alice approved {first}")), "{out}");
    let web = world.api::<landfall::api::TerraformDeployment>().get("web").await.unwrap();
    assert_eq!(status(&web).last_handled.get("approve"), Some(&first), "it was waited for");
    world.ready("web", "Applied").await;
    let (code, _, err) = alice(&world, &["retry", "tfd/web"]).await;
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("nothing to retry"), "{err}");

    let slow = "resource \"terraform_data\" \"a\" {\n  triggers_replace = 1\n  provisioner \"local-exec\" { command = \"exec sleep 300\" }\n}";
    world.deployment("web", json!({"source": {"inline": {"main.tf": slow}}})).await;
    let second = world.plan_after("web", &first).await;
    let (code, _, err) = alice(&world, &["approve", "tfd/web", "--digest", &first]).await;
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("stale") && err.contains(&second), "{err}");
    let (code, _, err) = alice(&world, &["approve", "tfd/web"]).await;
    assert_eq!(code, 0, "{err}");
    world
        .until("web", "the apply", |o| status(o).last_run.is_some_and(|r| r.kind == "Apply" && r.phase == "Running"))
        .await;
    let (code, out, err) = alice(&world, &["cancel", "tfd/web"]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("alice cancels run"), "{out}");
    world.until("web", "the end of the apply", |o| status(o).last_run.is_some_and(|r| r.phase == "Cancelled")).await;
    let (code, out, err) = alice(&world, &["retry", "tfd/web"]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("alice retries run"), "{out}");
    world.plan_after("web", &second).await;

    let home = world.controller.stop().await;
    let mut command = home.landfall(&["approve", "tfd/web", "-n", &world.namespace, "--timeout", "1s"]);
    let output = command.env("KUBECONFIG", User::Alice.kubeconfig()).output().await.unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{err}");
    assert!(err.contains("not handled yet"), "{err}");
}

/// The environment's proxy is not for an API server on this machine; the kubeconfig's is for any.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_reaches_the_api_server_behind_a_proxy_as_kubectl_does() {
    let mut world = World::new().await;
    let proxy = Proxy::start(&["127.0.0.1"]).await;
    let said = async |world: &World| {
        let mut command = world.controller.home.landfall(&["retry", "tfd/none", "-n", &world.namespace]);
        let output = command.env("HTTPS_PROXY", "http://127.0.0.1:1").output().await.unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    world.controller.home.with_kubeconfig(User::Alice, |_| {});
    let straight = said(&world).await;
    assert!(straight.0 == Some(1) && straight.1.contains("none"), "{straight:?}");
    assert_eq!(proxy.asked(), Vec::<String>::new());
    world.controller.home.with_kubeconfig(User::Alice, |config| {
        for cluster in config.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
            cluster.proxy_url = Some(proxy.url.clone());
        }
    });
    assert_eq!(said(&world).await, straight);
    assert!(!proxy.asked().is_empty());
}
