//! PowerDNS of the test bed: the client, a counter of its calls, and the server's own view.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, Response, StatusCode};
use landfall::access::SecretBytes;
use landfall::api::PowerDnsCredential;
use landfall::installation::Installation;
use landfall::providers::{Http, PowerDns};
use serde_json::{Value, json};

use crate::world::env;

pub fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// The PowerDNS of the test bed, by way of `base`.
pub fn powerdns_at(base: &str, key: &str) -> PowerDns {
    let installation: Installation = serde_json::from_value(json!({
        "encryption": {"current": "a", "keys": {}}, "allowedEndpoints": [base],
    }))
    .unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = Http::with_timeout(&installation, Duration::from_secs(30)).unwrap();
    let spec = json!({"secretRef": {"name": "s"}, "endpoint": base});
    let credential: PowerDnsCredential = serde_json::from_value(spec).unwrap();
    let secret = SecretBytes::new("s", "1", [("api_key".to_owned(), key.as_bytes().to_vec())]);
    credential.zones(&http, &base.parse().unwrap(), &secret).unwrap()
}

pub fn powerdns() -> PowerDns {
    powerdns_at(&env("PDNS_URL"), &env("PDNS_API_KEY"))
}

/// A server in this process that forwards each request and counts it.
pub async fn counted(url: &str) -> (String, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let base = forwarding(url, move |_, answer| {
        counter.fetch_add(1, Ordering::SeqCst);
        answer
    });
    (base.await, count)
}

/// A server in this process that forwards each request once it is let.
pub struct Gate {
    pub base: String,
    open: tokio::sync::watch::Sender<bool>,
    came: tokio::sync::watch::Receiver<usize>,
}

impl Gate {
    pub async fn new(url: &str) -> Self {
        let (open, opened) = tokio::sync::watch::channel(true);
        let (count, came) = tokio::sync::watch::channel(0);
        let target = forwarding(url, |_, status| status).await;
        let (client, count) = (client(), Arc::new(count));
        let pass = move |request: Request| {
            let (client, target, count, mut opened) = (client.clone(), target.clone(), count.clone(), opened.clone());
            async move {
                count.send_modify(|count| *count += 1);
                opened.wait_for(|open| *open).await.unwrap();
                let (head, body) = request.into_parts();
                let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                let far = client.request(head.method, format!("{target}{}", head.uri)).headers(head.headers).body(body);
                let answer = far.send().await.unwrap();
                let near = Response::builder().status(answer.status());
                near.body(Body::from(answer.bytes().await.unwrap())).unwrap()
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(pass)).await });
        Self { base, open, came }
    }

    /// Requests stand still from now on.
    pub fn close(&self) {
        self.open.send_replace(false);
    }

    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Requests that came.
    pub fn count(&self) -> usize {
        *self.came.borrow()
    }

    /// Waits until more than so many requests have come.
    pub async fn came(&mut self, more_than: usize) {
        let came = self.came.wait_for(|count| *count > more_than);
        tokio::time::timeout(Duration::from_secs(60), came).await.unwrap().unwrap();
    }
}

/// One that forwards each change, and then fails.
pub async fn lossy(url: &str) -> String {
    let fails = |method: &Method, status| if method == Method::PATCH { StatusCode::BAD_GATEWAY } else { status };
    forwarding(url, fails).await
}

async fn forwarding<F>(url: &str, status: F) -> String
where
    F: Fn(&Method, StatusCode) -> StatusCode + Clone + Send + Sync + 'static,
{
    let (client, target) = (client(), url.to_owned());
    let forward = move |request: Request| {
        let (client, target, status) = (client.clone(), target.clone(), status.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let path = head.uri.path_and_query().unwrap().as_str();
            let mut far = client.request(head.method.clone(), format!("{target}{path}")).body(body);
            for header in ["x-api-key", "content-type"] {
                far = far.header(header, head.headers[header].clone());
            }
            let answer = far.send().await.unwrap();
            let near = Response::builder().status(status(&head.method, answer.status()));
            near.body(Body::from(answer.bytes().await.unwrap())).unwrap()
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(forward)).await });
    base
}

/// PowerDNS's own view of a set.
pub async fn raw(owner: &str, patch: Option<Value>) -> Value {
    let client = client();
    let url = format!("{}/api/v1/servers/localhost/zones/{}.", env("PDNS_URL"), env("PDNS_ZONE"));
    if let Some(patch) = patch {
        let request = client.patch(&url).header("X-API-Key", env("PDNS_API_KEY"));
        let answer = request.body(patch.to_string()).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 204, "{:?}", answer.text().await);
    }
    let answer = client.get(&url).header("X-API-Key", env("PDNS_API_KEY")).send().await.unwrap();
    let zone: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let sets = zone["rrsets"].as_array().unwrap();
    sets.iter().find(|set| set["name"] == json!(owner)).cloned().unwrap_or_default()
}

/// Makes a zone, where it is not there yet.
pub async fn make_zone(zone: Value) {
    let client = client();
    let url = format!("{}/api/v1/servers/localhost/zones", env("PDNS_URL"));
    let request = client.post(&url).header("X-API-Key", env("PDNS_API_KEY")).body(zone.to_string());
    let status = request.send().await.unwrap().status().as_u16();
    assert!([201, 409].contains(&status), "{status}");
}
