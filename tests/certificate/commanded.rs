//! Commands of people.

use serde_json::json;

use crate::harness::{User, wait_until};
use crate::world::{PLENTY, World, own, serial};

/// `landfall renew` as admin; its stdout, or its stderr.
async fn renew(world: &World, arguments: &[&str]) -> Result<String, String> {
    let home = &world.controller.as_ref().unwrap().home;
    let mut command = home.landfall(&[&["renew", "-n", &world.namespace], arguments].concat());
    let output = command.env("KUBECONFIG", User::Admin.kubeconfig()).output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_renews_a_certificate_once_by_its_serial_number() {
    let world = World::new().await;
    world.certificate("web", own(), json!({"renewal": {"policy": "Manual"}})).await;
    let (first, _) = world.ready("web").await;
    let old = serial(&first);
    let said = renew(&world, &["lcert/web", "--serial", &old]).await.unwrap();
    assert_eq!(said, format!("admin renews lcert/web, serial {old}; the next serial number stands in its status\n"));
    let (second, _) = world.next("web", &old).await;
    assert_eq!(second.status.unwrap().last_handled.get("renew"), Some(&old));
    let row = world.ask("SELECT why FROM certificates_issued WHERE superseded_at IS NULL").await;
    assert_eq!((row.as_deref(), world.issued("true").await), (Some("a person asked for it"), 2));
    let taken = "SELECT concat_ws(' ', actor, details ->> 'command', details ->> 'value') FROM activity_log WHERE action = 'command.taken'";
    assert_eq!(world.ask(taken).await, Some(format!("admin renew {old}")));

    let said = renew(&world, &["lcert/web", "--serial", &old]).await.unwrap_err();
    assert!(said.contains("nothing was renewed") && said.contains(&old), "{said}");
    let said = renew(&world, &["lcert/other"]).await.unwrap_err();
    assert!(said.contains("there is no lcert/other"), "{said}");
    // One that goes around the command line is taken away by the controller.
    let stale = json!({"metadata": {"annotations": {"landfall.dev/renew": old, "landfall.dev/command-by": "admin"}}});
    world.patch("web", stale).await;
    let discarded = async || world.get("web").await.status.unwrap().last_handled.get("discarded").cloned();
    wait_until(PLENTY, "the stale command to go", async || discarded().await.is_some()).await;
    assert!(discarded().await.unwrap().contains("and that in use is"));
    assert_eq!(world.issued("true").await, 2);
}
