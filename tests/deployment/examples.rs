//! Every example, applied by somebody with the roles that its comment names, comes to what the comment promises.

use std::io::Write;
use std::process::Stdio;

use k8s_openapi::api::core::v1::Secret;
use landfall::api::CloudCredential;

use crate::harness::{User, env, grant, grant_secrets, kubectl, top, wait_until};
use crate::world::{PLENTY, World, condition, message};

/// A file, who applies it, the roles for that, and the last of them, without which it is refused in these words.
struct Row(&'static str, User, &'static [&'static str], Option<(&'static str, &'static str)>);

/// What the role `edit` is made of: to create the Secret of the outputs, and to read those that are named.
const EDIT: &[&str] = &["system:aggregate-to-view", "system:aggregate-to-edit"];

/// In this order: `deployment-web.yaml` refers to the credential of `credential-powerdns.yaml`.
const ROWS: &[Row] = &[
    Row("deployment-inline.yaml", User::Bob, EDIT, Some(("landfall-editor", "is forbidden"))),
    Row("deployment-configmap.yaml", User::Bob, &[], None),
    Row("deployment-automatic.yaml", User::Bob, &[], Some(("landfall-bypass", "lacks the verb bypass-approval"))),
    Row("credential-powerdns.yaml", User::Carol, &[], Some(("landfall-credential-admin", "is forbidden"))),
    Row("credential-aws.yaml", User::Carol, &[], None),
    Row("credential-hetzner.yaml", User::Carol, &[], None),
    Row("credential-rfc2136.yaml", User::Carol, &[], None),
    Row("deployment-web.yaml", User::Bob, &[], Some(("landfall-credential-user", "lacks the verb use"))),
    Row("domain.yaml", User::Bob, &[], None),
    Row("domain-managed.yaml", User::Bob, &[], None),
    Row("record.yaml", User::Bob, &[], None),
    Row("record-output.yaml", User::Bob, &[], None),
    Row("certificate-acme.yaml", User::Bob, &[], None),
    Row("certificate-ca.yaml", User::Bob, &[], None),
    Row("certificate-imported.yaml", User::Bob, &[], None),
];

/// The example with the test bed's endpoints in it.
fn text(file: &str) -> String {
    let text = std::fs::read_to_string(top().join("manifests/examples").join(file)).unwrap();
    let text = text.replace("https://pdns.example.com", &env("PDNS_URL"));
    let text = text.replace("ns1.example.com:53", &env("KNOT_DNS"));
    let text = text.replace("zones: [example.com, example.org]", &format!("zones: [{}]", env("KNOT_ZONE")));
    text.replace("region: eu-central-1", &format!("region: eu-central-1\n    endpoint: {}", env("AWS_ENDPOINT")))
}

/// `kubectl` in the test's namespace: what it says, in the end of its own choice.
fn run(world: &World, user: User, arguments: &[&str], input: &str) -> Result<String, String> {
    let mut command = kubectl(user);
    command.args(arguments).args(["-n", &world.namespace]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(said(output.stdout)) } else { Err(said(output.stderr)) }
}

fn apply(world: &World, user: User, file: &str) -> Result<String, String> {
    run(world, user, &["apply", "--validate=strict", "-f", "-"], &text(file))
}

fn create_secret(world: &World, name: &str, values: &[String]) {
    let mut arguments = vec!["create", "secret", "generic", name];
    arguments.extend(values.iter().map(String::as_str));
    run(world, User::Admin, &arguments, "").unwrap();
}

/// As the comment says: `landfall approve tfd/NAME`.
async fn approve(world: &World, name: &str) {
    let home = &world.controller.home;
    let mut command = home.landfall(&["approve", &format!("tfd/{name}"), "-n", &world.namespace]);
    let output = command.env("KUBECONFIG", User::Alice.kubeconfig()).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn valid(world: &World, name: &str, reason: &str) {
    let api = world.api::<CloudCredential>();
    let is = async || {
        let conditions = api.get(name).await.unwrap().status.map(|s| s.conditions).unwrap_or_default();
        conditions.iter().any(|c| c.type_ == "Valid" && c.reason == reason)
    };
    wait_until(PLENTY, &format!("Valid of {name} to be {reason}"), is).await;
}

async fn certificate(world: &World, name: &str, reason: &str) {
    let query = "jsonpath={.status.conditions[?(@.type=='Ready')].reason}";
    let ask = || run(world, User::Bob, &["get", "certificates.landfall.dev", name, "-o", query], "").unwrap();
    wait_until(PLENTY, &format!("Ready of {name} to be {reason}"), async || ask() == reason).await;
}

/// What the comment promises.
async fn keeps_its_promise(world: &World, file: &str) {
    match file {
        "credential-aws.yaml" => {
            let (id, key) = (env("AWS_TEST_ACCESS_KEY_ID"), env("AWS_TEST_SECRET_ACCESS_KEY"));
            let literal = |name: &str, value| format!("--from-literal={name}={value}");
            create_secret(world, "aws", &[literal("access_key_id", id), literal("secret_access_key", key)]);
            valid(world, "aws", "Valid").await;
        }
        // Its provider is nobody that a test may call.
        "credential-hetzner.yaml" => valid(world, "hetzner", "SecretNotFound").await,
        "credential-rfc2136.yaml" => {
            create_secret(world, "ns1", &[format!("--from-literal=tsig_secret={}", env("KNOT_KEY_SECRET"))]);
            valid(world, "ns1", "Valid").await;
        }
        "credential-powerdns.yaml" => {
            valid(world, "pdns", "SecretNotFound").await;
            create_secret(world, "pdns", &[format!("--from-literal=api_key={}", env("PDNS_API_KEY"))]);
            valid(world, "pdns", "Valid").await;
        }
        "deployment-inline.yaml" => {
            world.ready("hello", "ApprovalRequired").await;
            approve(world, "hello").await;
            world.ready("hello", "Applied").await;
            let outputs = world.api::<Secret>().get("hello-outputs").await.unwrap().data.unwrap();
            assert_eq!(outputs["said"].0, b"hello, again");
        }
        "deployment-configmap.yaml" => {
            let plan = message(&world.ready("settings", "ApprovalRequired").await);
            assert!(
                plan.starts_with("1 to add"),
                "the module's default stands for the Secret that is not there: {plan}"
            );
            approve(world, "settings").await;
            world.ready("settings", "Applied").await;
        }
        "deployment-automatic.yaml" => {
            let applied = world.ready("preview", "Applied").await;
            assert_eq!(applied.status.unwrap().state.unwrap().resources, 1);
            run(world, User::Bob, &["delete", "tfd/preview", "--wait=false"], "").unwrap();
            world.gone("preview").await;
            let destroyed = "SELECT count(*) FROM terraform_runs WHERE name = 'preview' AND change = 'Destroy' \
                AND kind = 'Apply' AND phase = 'Succeeded'";
            assert_eq!(world.count(destroyed).await, 1, "everything goes when the object is deleted");
        }
        "deployment-web.yaml" => {
            create_secret(world, "web", &["--from-literal=token=t0ken".to_owned()]);
            let plan = world.ready("web", "ApprovalRequired").await;
            assert!(message(&plan).starts_with("2 to add"), "{}", message(&plan));
            approve(world, "web").await;
            let applied = world.ready("web", "Applied").await;
            assert_eq!(condition(&applied, "Ready").unwrap().status, "True");
            let outputs = world.api::<Secret>().get("web-outputs").await.unwrap().data.unwrap();
            assert!(outputs.contains_key("session") && !applied.status.unwrap().outputs.contains_key("session"));
        }
        // The domain is nobody's whom a test may ask.
        "record.yaml" | "record-output.yaml" => {
            let name = if file == "record.yaml" { "www" } else { "web" };
            let query = "jsonpath={.status.conditions[?(@.type=='Ready')].reason}";
            let reason = async || run(world, User::Bob, &["get", "dnsrec", name, "-o", query], "").unwrap();
            wait_until(PLENTY, "the reason", async || reason().await == "DomainNotVerified").await;
        }
        "domain.yaml" => {
            let shown = async || {
                let query = "jsonpath={.status.challenge.name}";
                let name = run(world, User::Bob, &["get", "orgdomain", "example-com", "-o", query], "").unwrap();
                name == "_landfall-challenge.example.com"
            };
            wait_until(PLENTY, "the challenge", shown).await;
        }
        // The test bed's server has no zone for it.
        "domain-managed.yaml" => {
            let query = "jsonpath={.status.conditions[?(@.type=='Ready')].reason}";
            let reason = async || run(world, User::Bob, &["get", "orgdomain", "example-org", "-o", query], "").unwrap();
            wait_until(PLENTY, "the reason", async || reason().await == "ZoneNotFound").await;
        }
        // The domain of these names is proved by nobody.
        "certificate-acme.yaml" => certificate(world, "shop", "DomainNotVerified").await,
        "certificate-ca.yaml" => certificate(world, "www", "DomainNotVerified").await,
        "certificate-imported.yaml" => certificate(world, "bought", "SecretNotFound").await,
        other => panic!("{other} has no promise here"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_comes_to_what_its_comment_promises() {
    let world = World::new().await;
    // Bob reads Secrets by his role `edit`, carol those of her credentials.
    grant_secrets(&world.namespace, User::Carol, &["aws", "hetzner", "ns1", "pdns"]).await;
    for Row(file, user, roles, last) in ROWS {
        grant(&world.namespace, *user, roles).await;
        if let Some((role, words)) = last {
            let refused = apply(&world, *user, file).unwrap_err();
            assert!(refused.contains(words), "{file}: {refused}");
            grant(&world.namespace, *user, &[role]).await;
        }
        apply(&world, *user, file).unwrap_or_else(|error| panic!("{file}: {error}"));
        keeps_its_promise(&world, file).await;
    }
    world.controller.stop().await;
}

#[test]
fn every_example_has_a_row() {
    let folder = std::fs::read_dir(top().join("manifests/examples")).unwrap();
    let mut files: Vec<_> = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let mut rows: Vec<_> = ROWS.iter().map(|row| row.0.to_owned()).collect();
    files.sort();
    rows.sort();
    assert_eq!(files, rows);
}
