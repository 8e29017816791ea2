//! The chart at a real API server: what it takes of each combination, and what lives through upgrades.

use std::io::Write;
use std::process::{Command, Stdio};

use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, ListParams, PostParams};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::bed::Bed;
use crate::harness::{OWN_BED, User, env, kubectl, top};
use crate::helm::{HOME, combinations, render, run};
use crate::rights::{self, CLUSTER, CONTROLLER, CONTROLLERS, OWN, RUNNERS};

#[tokio::test(flavor = "multi_thread")]
async fn the_chart_is_installed_upgraded_rolled_back_and_removed() {
    let bed = tokio::task::spawn_blocking(|| Bed::up("apiserver,postgres")).await.unwrap();
    OWN_BED
        .scope(bed.values(), async {
            let client = User::Admin.client().await;
            for name in [HOME, "team-a", "team-b", "team-c"] {
                let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
                Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
            }
            every_combination_is_taken();
            what_must_stay_stays(&client).await;
            the_bundled_login_may_do_what_the_controller_does().await;
        })
        .await;
}

/// kubectl with objects on its standard input; what it says against them.
fn apply(options: &[&str], objects: &[Value]) -> Result<(), String> {
    let mut apply = kubectl(User::Admin);
    apply.args(["apply", "--server-side"]).args(options).args(["--filename", "-"]);
    let mut apply = apply.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let stream: String = objects.iter().map(|object| format!("---\n{object}\n")).collect();
    apply.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
    let output = apply.wait_with_output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8(output.stderr).unwrap()) }
}

/// By the API server's own reading of each object, all fields known. Those of the Prometheus operator no API server knows by itself.
fn every_combination_is_taken() {
    for (name, values) in combinations() {
        let mut objects = render(&values).unwrap();
        objects.retain(|object| object["apiVersion"] != "monitoring.coreos.com/v1");
        assert_eq!(apply(&["--dry-run=server", "--validate=strict"], &objects), Ok(()), "{name}");
    }
}

/// Key-encryption keys and passwords, as they stand.
async fn secrets(client: &Client) -> Value {
    let all = Api::<Secret>::namespaced(client.clone(), HOME).list(&ListParams::default()).await.unwrap();
    let ours = all.items.into_iter().filter(|secret| secret.type_.as_deref() == Some("Opaque"));
    ours.map(|secret| (secret.metadata.name.unwrap(), serde_json::to_value(secret.data).unwrap())).collect()
}

async fn definitions(client: &Client) -> usize {
    let all = Api::<CustomResourceDefinition>::all(client.clone()).list(&ListParams::default()).await.unwrap();
    all.items.iter().filter(|definition| definition.spec.group == "landfall.dev").count()
}

/// Without the hooks: no Job ends where no node is.
async fn what_must_stay_stays(client: &Client) {
    let mut values = combinations()[0].1.clone();
    run(&["install", "landfall", "--no-hooks"], Some(&values));
    let first = secrets(client).await;
    assert_eq!(first.as_object().unwrap().keys().collect::<Vec<_>>(), ["landfall-key-k1", "landfall-postgres"]);
    let key: Vec<u8> =
        serde_json::from_value::<k8s_openapi::ByteString>(first["landfall-key-k1"]["key"].clone()).unwrap().0;
    let key = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, key).unwrap();
    assert_eq!(key.len(), 32);
    rights::of_people(client, "team-a").await;
    for (namespace, more) in [(HOME, OWN), ("team-a", &[][..])] {
        rights::holds(client, CONTROLLERS, namespace, &[CONTROLLER, CLUSTER, more]).await;
        rights::holds(client, RUNNERS, namespace, &[]).await;
    }

    // A key more, and fewer namespaces.
    values["encryption"] = json!({"keys": ["k1", "k2"], "current": "k2"});
    values["watchNamespaces"] = json!(["team-a", "team-b"]);
    run(&["upgrade", "landfall", "--no-hooks"], Some(&values));
    let second = secrets(client).await;
    for name in ["landfall-key-k1", "landfall-postgres"] {
        assert!(first[name] == second[name], "an upgrade changed {name}");
    }
    assert!(!second["landfall-key-k2"].is_null() && second["landfall-key-k2"] != first["landfall-key-k1"]);
    rights::holds(client, CONTROLLERS, "team-c", &[CLUSTER]).await;
    rights::holds(client, CONTROLLERS, "team-b", &[CONTROLLER, CLUSTER]).await;
    rights::holds(client, CONTROLLERS, HOME, &[CLUSTER, OWN]).await;

    // Where the chart is rendered apart from the cluster, the API server keeps the key.
    let rendered = render(&values).unwrap();
    let others: Vec<_> = rendered.into_iter().filter(|object| object["kind"] == "Secret").collect();
    let said = apply(&["--force-conflicts"], &others).unwrap_err();
    assert!(said.contains("field is immutable when `immutable` is set"), "{said}");

    run(&["rollback", "landfall", "1", "--no-hooks"], None);
    assert!(secrets(client).await == second, "what an older revision does not know stays too");
    run(&["uninstall", "landfall", "--no-hooks"], None);
    assert!(secrets(client).await == second, "keys stay when the release goes");
    assert_eq!(definitions(client).await, landfall::api::definitions().len());
    run(&["install", "landfall", "--no-hooks"], Some(&values));
    assert!(secrets(client).await == second, "who comes back finds what was kept");
}

/// The script with which the bundled Postgres makes the controller's login, then the migration, as the superuser there does it.
async fn the_bundled_login_may_do_what_the_controller_does() {
    let superuser = env("DATABASE_SUPERUSER_URL");
    let mut admin = PgConnection::connect(&superuser).await.unwrap();
    admin.execute(AssertSqlSafe("CREATE DATABASE landfall".to_owned())).await.unwrap();
    let mut url = url::Url::parse(&superuser).unwrap();
    url.set_path("/landfall");
    let mut script = Command::new("bash");
    script.arg("-e").arg(top().join("charts/landfall/files/login.sh"));
    script.env("POSTGRES_DB", "landfall").env("LANDFALL_PASSWORD", "it's \"quoted\"");
    script.env("PGHOST", url.host_str().unwrap()).env("PGPORT", url.port().unwrap().to_string());
    let output = script.env("PGPASSWORD", url.password().unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    landfall::ledger::migrate(url.as_str()).await.unwrap();
    url.set_username("landfall").unwrap();
    url.set_password(Some("it's%20%22quoted%22")).unwrap();
    let mut login = PgConnection::connect(url.as_str()).await.unwrap();
    let member: bool =
        sqlx::query_scalar("SELECT pg_has_role('landfall_writer', 'MEMBER')").fetch_one(&mut login).await.unwrap();
    assert!(member);
    login.execute("SELECT FROM terraform_runs").await.unwrap();
    assert!(login.execute("DELETE FROM activity_log").await.is_err());
}
