//! Every example is read by the types and taken by a real API server.

use kube::core::DynamicObject;
use landfall::api::{CloudCredential, TerraformDeployment};
use serde::Deserialize;
use serde_json::Value;

use crate::harness::{User, install, kubectl, namespace, top};

fn files() -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(top().join("manifests/examples")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    files
}

#[test]
fn every_example_is_read_by_the_types() {
    for file in files() {
        let text = std::fs::read_to_string(&file).unwrap();
        for document in serde_yaml::Deserializer::from_str(&text) {
            let object = Value::deserialize(document).unwrap();
            let read = match object["kind"].as_str().unwrap() {
                "CloudCredential" => serde_json::from_value::<CloudCredential>(object).map(drop),
                "TerraformDeployment" => serde_json::from_value::<TerraformDeployment>(object).map(drop),
                _ => serde_json::from_value::<DynamicObject>(object).map(drop),
            };
            read.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        }
    }
}

#[tokio::test]
async fn every_example_is_taken_by_the_api_server() {
    install().await;
    let namespace = namespace().await;
    for file in files() {
        let mut apply = kubectl(User::Admin);
        apply.args(["apply", "--server-side", "--dry-run=server", "--validate=strict", "-n", &namespace, "-f"]);
        let output = apply.arg(&file).output().unwrap();
        assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
    }
}
