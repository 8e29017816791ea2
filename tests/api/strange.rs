//! 3,000 objects made from the schemas: the API server answers each, and what it takes, the types can read.

use futures::StreamExt;
use kube::api::{Api, DynamicObject, PostParams};
use landfall::api::{Certificate, CloudCredential, DnsRecord, OrganizationDomain, TerraformDeployment};
use serde_json::Value;

use crate::harness::objects::{Dice, any};
use crate::harness::{User, install, namespace};
use crate::world::kind;

/// How many of each kind.
const COUNT: u64 = 1000;

/// Whether the API server took the object; a problem where it, or a type, failed.
async fn taken(api: &Api<DynamicObject>, object: Value) -> Result<bool, String> {
    let (dry, short) = (PostParams { dry_run: true, ..PostParams::default() }, object.to_string());
    let answer = match api.create(&dry, &serde_json::from_value(object).unwrap()).await {
        Ok(answer) => serde_json::to_value(answer).unwrap(),
        Err(kube::Error::Api(status)) if (400..500).contains(&status.code) => return Ok(false),
        Err(other) => return Err(format!("{short}: {other}")),
    };
    let read = match answer["kind"].as_str() {
        Some("CloudCredential") => serde_json::from_value::<CloudCredential>(answer).map(drop),
        Some("DnsRecord") => serde_json::from_value::<DnsRecord>(answer).map(drop),
        Some("OrganizationDomain") => serde_json::from_value::<OrganizationDomain>(answer).map(drop),
        Some("Certificate") => serde_json::from_value::<Certificate>(answer).map(drop),
        _ => serde_json::from_value::<TerraformDeployment>(answer).map(drop),
    };
    read.map(|()| true).map_err(|e| format!("{short}: {e}"))
}

async fn all_are_answered(of: &str) {
    install().await;
    let api = kind(User::Admin.client().await, &namespace().await, of);
    let answers: Vec<_> = futures::stream::iter(0..COUNT)
        .map(|seed| taken(&api, any(of, "strange", &mut Dice::new(seed))))
        .buffer_unordered(8)
        .collect()
        .await;
    let problems: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(problems.is_empty(), "{} problems, first {}", problems.len(), problems[0]);
    let taken = answers.iter().filter(|answer| matches!(answer, Ok(true))).count();
    assert!((15..900).contains(&taken), "{taken} of {COUNT} were taken: too few or too many to tell anything");
}

#[tokio::test]
async fn strange_credentials_are_answered_and_readable() {
    all_are_answered("CloudCredential").await;
}

#[tokio::test]
async fn strange_deployments_are_answered_and_readable() {
    all_are_answered("TerraformDeployment").await;
}

#[tokio::test]
async fn strange_domains_are_answered_and_readable() {
    all_are_answered("OrganizationDomain").await;
}

#[tokio::test]
async fn strange_records_are_answered_and_readable() {
    all_are_answered("DnsRecord").await;
}

#[tokio::test]
async fn strange_certificates_are_answered_and_readable() {
    all_are_answered("Certificate").await;
}
