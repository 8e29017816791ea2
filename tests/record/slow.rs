//! A provider that takes what is asked and never answers.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use landfall::api::{DnsRecord, OrganizationDomain};
use serde_json::json;
use tokio::sync::watch;

use crate::harness::{env, namespace, wait_until};
use crate::world::{At, PLENTY, World};

/// Records of the tenant whose provider hangs: many times the places that records have here.
const MANY: usize = 160;

/// A server in this process that forwards each request to PowerDNS, until it is told to hang; and how many it keeps waiting.
async fn hanging() -> (String, watch::Sender<bool>, watch::Receiver<usize>) {
    let ((hang, hangs), (count, kept)) = (watch::channel(false), watch::channel(0));
    let (client, count) = (reqwest::Client::builder().no_proxy().build().unwrap(), std::sync::Arc::new(count));
    let forward = move |request: Request| {
        let (client, hangs, count) = (client.clone(), hangs.clone(), count.clone());
        async move {
            if *hangs.borrow() {
                count.send_modify(|count| *count += 1);
                std::future::pending::<()>().await;
            }
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let url = format!("{}{}", env("PDNS_URL"), head.uri.path_and_query().unwrap());
            let far = client.request(head.method, url).header("x-api-key", head.headers["x-api-key"].clone());
            let answer = far.body(body).send().await.unwrap();
            let near = Response::builder().status(answer.status().as_u16());
            near.body(Body::from(answer.bytes().await.unwrap())).unwrap()
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(forward)).await });
    (base, hang, kept)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_never_answers_stops_its_own_records_alone() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (theirs, (base, hang, mut kept)) = (namespace().await, hanging().await);
    let world = World::beside(At::PowerDns, std::slice::from_ref(&theirs), |v| {
        v["allowedEndpoints"].as_array_mut().unwrap().push(json!(base));
        v["limits"]["concurrency"] = json!(2);
    })
    .await;
    world.domain("example", &world.fqdn, json!({})).await;
    world.proved("example").await;

    let secret = json!({"metadata": {"name": "dns"}, "stringData": {"api_key": env("PDNS_API_KEY")}});
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &theirs);
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    let spec = json!({"powerdns": {"secretRef": {"name": "dns"}, "endpoint": base}});
    world.create_in(&theirs, "CloudCredential", "dns", spec).await;
    let fqdn = format!("d{}.{}", uuid::Uuid::new_v4().simple(), env("PDNS_ZONE"));
    let spec = json!({"domain": fqdn, "dns": {"mode": "Managed", "credentialRef": {"name": "dns"}}});
    world.create_in(&theirs, "OrganizationDomain", "example", spec).await;
    let domains: Api<OrganizationDomain> = Api::namespaced(world.client.clone(), &theirs);
    wait_until(PLENTY, "the neighbour's proof", async || {
        let status = domains.get("example").await.unwrap().status.unwrap_or_default();
        status.conditions.iter().any(|c| c.type_ == "Verified" && c.status == "True")
    })
    .await;

    hang.send_replace(true);
    let spec = |n: usize| json!({"domainRef": {"name": "example"}, "name": format!("n{n}"), "type": "A", "values": ["192.0.2.1"]});
    for n in 0..MANY {
        world.create_in(&theirs, "DnsRecord", &format!("r{n}"), spec(n)).await;
    }
    tokio::time::timeout(PLENTY, kept.wait_for(|count| *count > 0)).await.unwrap().unwrap();
    // Three in a row: the places are not lost again.
    for name in ["one", "two", "three"] {
        let begin = Instant::now();
        world.record(name, json!({"name": name})).await;
        world.ready(name).await;
        assert!(begin.elapsed() < Duration::from_secs(20), "{name} waited {:?} for its neighbour", begin.elapsed());
    }
    let records: Api<DnsRecord> = Api::namespaced(world.client.clone(), &theirs);
    let told = async |reason: &str| {
        let all = records.list(&kube::api::ListParams::default()).await.unwrap().items;
        let is = |r: &DnsRecord| crate::world::condition(r, "Ready").is_some_and(|c| c.reason == reason);
        all.iter().any(is)
    };
    wait_until(PLENTY, "the neighbour to be told", async || told("Timeout").await).await;
}
