//! Commands: who may give one, and every way to forge one.

use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{User, deployment, grant, kubectl, namespace};
use crate::world::{DIGEST, OTHER, RUN, World, command, kind, refused, source};

const BY: &str = "landfall.dev/command-by";
const POLICY: &str = "landfall-commands";

#[tokio::test]
async fn an_approver_approves() {
    let world = World::new().await;
    world.patch(User::Alice, command("approve", DIGEST, "alice")).await.unwrap();
    assert_eq!(world.annotations().await, json!({"landfall.dev/approve": DIGEST, BY: "alice"}));
}

#[tokio::test]
async fn an_editor_does_not_approve() {
    let world = World::new().await;
    let answer = world.patch(User::Bob, command("approve", DIGEST, "bob")).await;
    refused(answer, &[POLICY, "\"bob\" lacks the verb approve on this object"]);
}

#[tokio::test]
async fn who_has_no_right_at_all_does_not_approve() {
    let world = World::new().await;
    refused(world.patch(User::Carol, command("approve", DIGEST, "carol")).await, &["forbidden", "carol"]);
}

#[tokio::test]
async fn an_approval_in_another_ones_name_is_refused() {
    let world = World::new().await;
    for (user, name) in [(User::Bob, "alice"), (User::Alice, "bob"), (User::Alice, ""), (User::Alice, "Alice")] {
        let answer = world.patch(user, command("approve", DIGEST, name)).await;
        refused(answer, &[POLICY, "command-by] must be", user.name()]);
    }
}

#[tokio::test]
async fn an_approval_without_a_name_is_refused() {
    let world = World::new().await;
    let patch = json!({"metadata": {"annotations": {"landfall.dev/approve": DIGEST}}});
    refused(world.patch(User::Alice, patch).await, &[POLICY, "command-by] must be \"alice\""]);
}

#[tokio::test]
async fn rewriting_the_name_alone_is_refused() {
    let world = World::new().await;
    world.patch(User::Alice, command("approve", DIGEST, "alice")).await.unwrap();
    for (user, name) in [(User::Bob, json!("bob")), (User::Bob, json!("carol")), (User::Bob, Value::Null)] {
        let patch = json!({"metadata": {"annotations": {BY: name}}});
        refused(world.patch(user, patch).await, &[POLICY, "changes only together with a command"]);
    }
}

#[tokio::test]
async fn a_name_alone_is_refused() {
    let world = World::new().await;
    let patch = json!({"metadata": {"annotations": {BY: "alice"}}});
    refused(world.patch(User::Bob, patch).await, &[POLICY, "changes only together with a command"]);
}

#[tokio::test]
async fn an_approval_is_not_redirected_to_another_plan() {
    let world = World::new().await;
    world.patch(User::Alice, command("approve", DIGEST, "alice")).await.unwrap();
    let patch = json!({"metadata": {"annotations": {"landfall.dev/approve": OTHER}}});
    refused(world.patch(User::Bob, patch).await, &[POLICY, "command-by] must be \"bob\""]);
}

#[tokio::test]
async fn another_ones_waiting_approval_is_not_taken_over_by_a_command() {
    let world = World::new().await;
    grant(&world.namespace, User::Carol, &["landfall-operator"]).await;
    world.patch(User::Alice, command("approve", DIGEST, "alice")).await.unwrap();
    let answer = world.patch(User::Carol, command("reconcile", "now", "carol")).await;
    refused(answer, &[POLICY, "landfall.dev/approve of \"alice\" still waits"]);
}

#[tokio::test]
async fn a_spec_and_its_approval_in_one_request_are_refused() {
    let world = World::new().await;
    grant(&world.namespace, User::Alice, &["landfall-editor"]).await;
    let mut patch = command("approve", DIGEST, "alice");
    patch["spec"] = json!({"variables": {"size": "huge"}});
    refused(world.patch(User::Alice, patch).await, &[POLICY, "changes nothing in spec"]);
}

#[tokio::test]
async fn an_object_that_is_born_approved_is_refused() {
    let world = World::new().await;
    grant(&world.namespace, User::Alice, &["landfall-editor"]).await;
    let mut object = deployment("new", json!({"source": source()}));
    object["metadata"]["annotations"] = json!({"landfall.dev/approve": DIGEST, BY: "alice"});
    refused(world.create(User::Alice, object).await, &[POLICY, "to an object that exists"]);
}

#[tokio::test]
async fn only_a_full_digest_approves() {
    let world = World::new().await;
    for value in [&DIGEST[..20], &DIGEST[7..], &DIGEST.to_uppercase(), &format!("{DIGEST}0"), "", "*", "sha256:"] {
        let answer = world.patch(User::Alice, command("approve", value, "alice")).await;
        refused(answer, &[POLICY, "landfall.dev/approve] must be a full digest"]);
    }
    let answer = world.patch(User::Alice, command("approve", &format!("{DIGEST}\n"), "alice")).await;
    refused(answer, &["must be a full digest"]);
}

#[tokio::test]
async fn a_service_account_gives_no_command_whatever_its_rights() {
    let world = World::new().await;
    grant(&world.namespace, User::Controller, &["landfall-approver"]).await;
    let name = User::Controller.name();
    let answer = world.patch(User::Controller, command("approve", DIGEST, name)).await;
    refused(answer, &[POLICY, "service accounts give no commands"]);
    let answer = world.patch(User::Controller, command("reconcile", "now", name)).await;
    refused(answer, &[POLICY, "service accounts give no commands"]);
}

#[tokio::test]
async fn the_controller_and_whoever_may_patch_clear_a_command() {
    let world = World::new().await;
    let clear = json!({"metadata": {"annotations": {"landfall.dev/approve": null, BY: null}}});
    for user in [User::Controller, User::Bob, User::Alice] {
        world.patch(User::Alice, command("approve", DIGEST, "alice")).await.unwrap();
        world.patch(user, clear.clone()).await.unwrap();
        assert_eq!(world.annotations().await, json!({}), "{user:?}");
    }
}

#[tokio::test]
async fn the_controller_clears_one_of_two_commands_and_leaves_the_name() {
    let world = World::new().await;
    world.patch(User::Alice, command("approve", DIGEST, "alice")).await.unwrap();
    world.patch(User::Alice, command("reconcile", "1", "alice")).await.unwrap();
    let patch = json!({"metadata": {"annotations": {"landfall.dev/approve": null}}});
    world.patch(User::Controller, patch).await.unwrap();
    let patch = json!({"metadata": {"annotations": {"landfall.dev/reconcile": null, BY: null}}});
    world.patch(User::Controller, patch).await.unwrap();
}

#[tokio::test]
async fn a_waiting_command_hinders_no_other_change() {
    let world = World::new().await;
    world.patch(User::Alice, command("approve", DIGEST, "alice")).await.unwrap();
    world.patch(User::Bob, json!({"spec": {"suspend": true}})).await.unwrap();
    world.patch(User::Controller, json!({"metadata": {"finalizers": ["landfall.dev/finalizer"]}})).await.unwrap();
}

#[tokio::test]
async fn replacing_the_object_forges_nothing() {
    let world = World::new().await;
    world.patch(User::Alice, command("approve", DIGEST, "alice")).await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    for annotations in [
        json!({"landfall.dev/approve": OTHER, BY: "alice"}),
        json!({"landfall.dev/approve": OTHER, BY: "bob"}),
        json!({"landfall.dev/approve": DIGEST, BY: "bob"}),
    ] {
        let mut object = deployment("web", json!({"source": source()}));
        object["metadata"]["annotations"] = annotations;
        std::fs::write(file.path(), object.to_string()).unwrap();
        let mut replace = kubectl(User::Bob);
        let output = replace.args(["replace", "-n", &world.namespace, "-f"]).arg(file.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(POLICY), "{text}");
    }
    assert_eq!(world.annotations().await, json!({"landfall.dev/approve": DIGEST, BY: "alice"}));
}

#[tokio::test]
async fn server_side_apply_with_force_forges_nothing() {
    let world = World::new().await;
    world.patch(User::Alice, command("approve", DIGEST, "alice")).await.unwrap();
    let api = world.deployments(User::Bob).await;
    for (digest, by) in [(OTHER, "alice"), (OTHER, "bob"), (DIGEST, "bob")] {
        let mut object = deployment("web", json!({"source": source()}));
        object["metadata"]["annotations"] = json!({"landfall.dev/approve": digest, BY: by});
        let answer = api.patch("web", &PatchParams::apply("landfall").force(), &Patch::Apply(object)).await;
        refused(answer, &[POLICY]);
    }
}

#[tokio::test]
async fn the_status_subresource_is_no_back_door() {
    let world = World::new().await;
    grant(&world.namespace, User::Bob, &["landfall-controller-cluster"]).await;
    let api = world.deployments(User::Bob).await;
    let mut patch = command("approve", DIGEST, "alice");
    patch["status"] = json!({"phase": "Applied"});
    // Refused or without effect on metadata: either way no approval stands.
    let _ = api.patch_status("web", &PatchParams::default(), &Patch::Merge(patch)).await;
    assert_eq!(world.annotations().await, json!({}));
}

#[tokio::test]
async fn impersonation_records_the_impersonated_name() {
    let world = World::new().await;
    let client = User::Admin.impersonating("alice").await;
    let api = kind(client, &world.namespace, "TerraformDeployment");
    let approve = |by| Patch::Merge(command("approve", DIGEST, by));
    refused(api.patch("web", &PatchParams::default(), &approve("admin")).await, &["must be \"alice\""]);
    api.patch("web", &PatchParams::default(), &approve("alice")).await.unwrap();
    assert_eq!(world.annotations().await[BY], "alice");
}

#[tokio::test]
async fn impersonation_lends_no_verb() {
    let world = World::new().await;
    let api = kind(User::Admin.impersonating("bob").await, &world.namespace, "TerraformDeployment");
    let patch = Patch::Merge(command("approve", DIGEST, "bob"));
    refused(api.patch("web", &PatchParams::default(), &patch).await, &["\"bob\" lacks the verb approve"]);
}

#[tokio::test]
async fn an_approver_of_another_namespace_does_not_approve_here() {
    let world = World::new().await;
    let elsewhere = namespace().await;
    grant(&elsewhere, User::Bob, &["landfall-approver"]).await;
    refused(world.patch(User::Bob, command("approve", DIGEST, "bob")).await, &["lacks the verb approve"]);
}

#[tokio::test]
async fn one_request_carries_one_command() {
    let world = World::new().await;
    let mut patch = command("approve", DIGEST, "alice");
    patch["metadata"]["annotations"]["landfall.dev/cancel"] = json!(RUN);
    refused(world.patch(User::Alice, patch).await, &[POLICY, "one request carries one command"]);
}

#[tokio::test]
async fn commands_need_the_verb_operate() {
    let world = World::new().await;
    let commands = [("reconcile", "now"), ("retry", RUN), ("cancel", RUN)];
    for (name, value) in commands {
        let answer = world.patch(User::Bob, command(name, value, "bob")).await;
        refused(answer, &["\"bob\" lacks the verb operate", &format!("landfall.dev/{name}")]);
    }
    for (name, value) in commands {
        world.patch(User::Alice, command(name, value, "alice")).await.unwrap();
    }
}

#[tokio::test]
async fn who_operates_does_not_thereby_approve() {
    let world = World::new().await;
    grant(&world.namespace, User::Carol, &["landfall-operator"]).await;
    world.patch(User::Carol, command("cancel", RUN, "carol")).await.unwrap();
    refused(world.patch(User::Carol, command("approve", DIGEST, "carol")).await, &["lacks the verb approve"]);
}

#[tokio::test]
async fn a_run_is_named_in_full() {
    let world = World::new().await;
    for (name, value) in [("retry", "last"), ("cancel", &RUN[..8]), ("cancel", "")] {
        let answer = world.patch(User::Alice, command(name, value, "alice")).await;
        refused(answer, &[&format!("landfall.dev/{name}"), "must be a run id"]);
    }
}

#[tokio::test]
async fn an_empty_or_unprintable_wish_to_reconcile_is_refused() {
    let world = World::new().await;
    for value in ["", "a\u{7}b", &"x".repeat(257)] {
        let answer = world.patch(User::Alice, command("reconcile", value, "alice")).await;
        refused(answer, &["landfall.dev/reconcile] must be 1 to 256 printable"]);
    }
}

#[tokio::test]
async fn a_misspelt_command_is_refused_instead_of_ignored() {
    let world = World::new().await;
    let answer = world.patch(User::Alice, command("aprove", DIGEST, "alice")).await;
    refused(answer, &[POLICY, "landfall.dev/aprove is no command of terraformdeployments"]);
}

#[tokio::test]
async fn a_credential_knows_reconcile_alone() {
    let world = World::new().await;
    grant(&world.namespace, User::Carol, &["landfall-operator"]).await;
    world.credential("pdns").await;
    let carol: Api<_> = kind(User::Carol.client().await, &world.namespace, "CloudCredential");
    let give = |name, value| Patch::Merge(command(name, value, "carol"));
    let answer = carol.patch("pdns", &PatchParams::default(), &give("approve", DIGEST)).await;
    refused(answer, &["landfall.dev/approve is no command of cloudcredentials"]);
    carol.patch("pdns", &PatchParams::default(), &give("reconcile", "now")).await.unwrap();
}

#[tokio::test]
async fn other_annotations_are_nobodys_business() {
    let world = World::new().await;
    let patch = json!({"metadata": {"annotations": {"example.com/landfall.dev": "x", "team": "b"}}});
    world.patch(User::Bob, patch).await.unwrap();
    let mut object = deployment("noted", json!({"source": source()}));
    object["metadata"]["annotations"] = json!({"team": "b"});
    let api = world.deployments(User::Bob).await;
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}
