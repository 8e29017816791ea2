//! Every example is read by the types. What becomes of each is tested with the deployments.

use kube::core::DynamicObject;
use landfall::api::{Certificate, CloudCredential, DnsRecord, OrganizationDomain, TerraformDeployment};
use serde::Deserialize;
use serde_json::Value;

use crate::harness::top;

fn files() -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(top().join("manifests/examples")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
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
                "DnsRecord" => serde_json::from_value::<DnsRecord>(object).map(drop),
                "OrganizationDomain" => serde_json::from_value::<OrganizationDomain>(object).map(drop),
                "Certificate" => serde_json::from_value::<Certificate>(object).map(drop),
                "TerraformDeployment" => serde_json::from_value::<TerraformDeployment>(object).map(drop),
                _ => serde_json::from_value::<DynamicObject>(object).map(drop),
            };
            read.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        }
    }
}
