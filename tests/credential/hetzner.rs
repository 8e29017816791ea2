//! Hetzner Cloud: a server in this process that behaves as the vendor's documentation says, and what a probe makes of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use landfall::access::SecretBytes;
use landfall::api::{CloudCredentialSpec, Reason};
use landfall::installation::Installation;
use landfall::providers::{Http, ProbeResult, Provider};
use serde_json::{Value, json};

use crate::harness::wait_until;
use crate::world::{PLENTY, SOON, World, condition, message};

const TOKEN: &str = "canaryTokenOfTheProject0123456789abcdefghijklmnopqrstuvwxyz01234";
/// Calls an hour.
const LIMIT: u32 = 3600;

/// What the API remembers.
#[derive(Default)]
struct State {
    /// Tokens that live, and whether they may write.
    tokens: HashMap<String, bool>,
    /// Calls that are left, and in how many seconds all are back.
    left: u32,
    reset_in: i64,
    /// An error that every call gets: status, code, text.
    fault: Option<(u16, &'static str, String)>,
    /// Something that is no answer of the API: status, body.
    odd: Option<(u16, &'static str)>,
    /// Each call: method, path with query, status.
    log: Vec<(String, String, u16)>,
}

#[derive(Clone)]
struct Cloud {
    url: String,
    state: Arc<Mutex<State>>,
}

impl Cloud {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let tokens = HashMap::from([(TOKEN.to_owned(), true)]);
        let state = Arc::new(Mutex::new(State { tokens, left: LIMIT, ..State::default() }));
        let cloud = Self { url, state: state.clone() };
        let handler = move |request: Request| {
            let mut state = state.lock().unwrap();
            let (status, body) = state.answer(&request);
            let path = request.uri().path_and_query().unwrap().to_string();
            state.log.push((request.method().to_string(), path, status));
            let response = Response::builder().status(status).header("content-type", "application/json");
            let reset = jiff::Timestamp::now().as_second() + state.reset_in;
            let response = response
                .header("ratelimit-limit", LIMIT)
                .header("ratelimit-remaining", state.left)
                .header("ratelimit-reset", reset)
                .body(Body::from(body))
                .unwrap();
            async move { response }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await });
        cloud
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    fn log(&self) -> Vec<(String, String, u16)> {
        self.state.lock().unwrap().log.clone()
    }
}

fn error(status: u16, code: &str, message: &str) -> (u16, String) {
    (status, json!({"error": {"code": code, "message": message, "details": null}}).to_string())
}

impl State {
    fn answer(&mut self, request: &Request) -> (u16, String) {
        if let Some((status, body)) = self.odd {
            return (status, body.into());
        }
        let given = request.headers().get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
        let known = given.strip_prefix("Bearer ").and_then(|token| self.tokens.get(token)).copied();
        let Some(writes) = known else {
            return error(401, "unauthorized", "unable to authenticate");
        };
        if self.left == 0 {
            return error(429, "rate_limit_exceeded", "limit of 3600 requests per hour reached");
        }
        self.left -= 1;
        if let Some((status, code, text)) = &self.fault {
            return error(*status, code, text);
        }
        if request.method() != "GET" && !writes {
            return error(403, "token_readonly", "token is read-only");
        }
        match request.uri().path() {
            "/v1/locations" => (200, page(request.uri().query().unwrap_or_default()).to_string()),
            _ => error(404, "not_found", "resource not found"),
        }
    }
}

/// A page of the locations, 25 where nothing is said and never more than 50.
fn page(query: &str) -> Value {
    let all = ["fsn1", "nbg1", "hel1", "ash", "hil", "sin"];
    let asked = |name: &str, otherwise: usize| {
        let found = url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name);
        found.and_then(|(_, value)| value.parse().ok()).unwrap_or(otherwise)
    };
    let (page, size) = (asked("page", 1).max(1), asked("per_page", 25).clamp(1, 50));
    let last = all.len().div_ceil(size);
    let shown = all.iter().enumerate().skip((page - 1) * size).take(size);
    let locations: Vec<Value> = shown.map(|(n, name)| json!({"id": n + 1, "name": name, "country": "DE"})).collect();
    json!({"locations": locations, "meta": {"pagination": {
        "page": page, "per_page": size, "last_page": last, "total_entries": all.len(),
        "previous_page": (page > 1).then(|| page - 1), "next_page": (page < last).then(|| page + 1),
    }}})
}

fn spec(url: &str) -> Value {
    json!({"hetzner": {"secretRef": {"name": "hetzner"}, "endpoint": url}})
}

async fn ask(cloud: &Cloud, token: &str) -> ProbeResult {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let installation: Installation =
        serde_json::from_value(json!({"encryption": {"current": "a", "keys": {}}, "allowedEndpoints": [cloud.url]}))
            .unwrap();
    let http = Http::with_timeout(&installation, Duration::from_secs(2)).unwrap();
    let spec: CloudCredentialSpec = serde_json::from_value(spec(&cloud.url)).unwrap();
    let secret = SecretBytes::new("hetzner", "1", [("api_token".to_owned(), token.as_bytes().to_vec())]);
    let provider = Provider::of(&spec).unwrap();
    provider.probe(&http, &cloud.url.parse().unwrap(), &secret, jiff::Timestamp::now()).await.unwrap()
}

#[tokio::test]
async fn each_answer_of_hetzner_is_taken_for_what_it_is() {
    use Reason::{InsufficientPermissions, InvalidCredentials, ProviderUnavailable, RateLimited, Timeout, Valid};
    let cloud = Cloud::start().await;
    assert_eq!(ask(&cloud, TOKEN).await.reason(), Valid);
    assert_eq!(ask(&cloud, "another").await.reason(), InvalidCredentials);
    assert_eq!(ask(&cloud, "no\u{1}token").await.reason(), InvalidCredentials);
    let faults = [
        (401, "unauthorized", InvalidCredentials),
        (403, "forbidden", InsufficientPermissions),
        (403, "token_readonly", InsufficientPermissions),
        (403, "something_new", ProviderUnavailable),
        (404, "not_found", ProviderUnavailable),
        (409, "conflict", ProviderUnavailable),
        (412, "resource_limit_exceeded", ProviderUnavailable),
        (423, "locked", ProviderUnavailable),
        (429, "rate_limit_exceeded", RateLimited),
        (429, "unauthorized", RateLimited),
        (500, "server_error", ProviderUnavailable),
        (500, "unauthorized", ProviderUnavailable),
        (502, "bad_gateway", ProviderUnavailable),
        (503, "maintenance", ProviderUnavailable),
        (503, "unavailable", ProviderUnavailable),
        (504, "timeout", ProviderUnavailable),
    ];
    for (status, code, expected) in faults {
        cloud.set(|state| state.fault = Some((status, code, format!("it is said of {TOKEN} here"))));
        let result = ask(&cloud, TOKEN).await;
        assert_eq!(result.reason(), expected, "{status} {code}: {result:?}");
        assert!(!format!("{result:?}").contains("canary"), "{result:?}");
    }
    let odd = [
        (200, "<html>welcome</html>", ProviderUnavailable),
        (200, "{}", ProviderUnavailable),
        (200, r#"{"locations": 1}"#, ProviderUnavailable),
        (301, "", ProviderUnavailable),
        (401, "<html>a proxy</html>", ProviderUnavailable),
        (403, "", ProviderUnavailable),
        (408, "", Timeout),
        (429, "", RateLimited),
        (500, "", ProviderUnavailable),
    ];
    for (status, body, expected) in odd {
        cloud.set(|state| state.odd = Some((status, body)));
        assert_eq!(ask(&cloud, TOKEN).await.reason(), expected, "{status} {body}");
    }
}

#[tokio::test]
async fn what_to_do_about_a_token_is_told_apart() {
    let cloud = Cloud::start().await;
    for (status, code, says) in [
        (401, "unauthorized", "put one of the project under \"api_token\" in Secret \"hetzner\""),
        (403, "token_readonly", "may only read"),
        (403, "forbidden", "lacks a right"),
    ] {
        cloud.set(|state| state.fault = Some((status, code, "text".into())));
        let text = format!("{:?}", ask(&cloud, TOKEN).await).replace('\\', "");
        assert!(text.contains(says), "{text}");
    }
}

#[tokio::test]
async fn the_rest_that_a_used_up_limit_asks_for_is_heard() {
    let cloud = Cloud::start().await;
    for (reset_in, least, most) in [(120, 118, 120), (99_999, 3600, 3600)] {
        cloud.set(|state| (state.left, state.reset_in) = (0, reset_in));
        let ProbeResult::Unknown(doubt) = ask(&cloud, TOKEN).await else { panic!() };
        let seconds = doubt.retry_after.unwrap().as_secs();
        assert!((least..=most).contains(&seconds), "{reset_in}: {seconds}");
    }
    cloud.set(|state| state.reset_in = -5);
    assert!(matches!(ask(&cloud, TOKEN).await, ProbeResult::Unknown(doubt) if doubt.retry_after.is_none()));
}

#[tokio::test]
async fn one_entry_of_one_catalogue_is_read_and_nothing_else() {
    let cloud = Cloud::start().await;
    ask(&cloud, TOKEN).await;
    assert_eq!(cloud.log(), [("GET".to_owned(), "/v1/locations?per_page=1".to_owned(), 200)]);
    assert_eq!(page("per_page=1")["meta"]["pagination"]["next_page"], 2);
    assert_eq!(page("per_page=4&page=2")["locations"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hetzner_token_is_proved_rotated_and_told_nowhere() {
    let cloud = Cloud::start().await;
    let url = cloud.url.clone();
    let world = World::with(|v| v["allowedEndpoints"] = json!([url])).await;
    world.secret("hetzner", json!({"api_token": format!("{TOKEN}\n")})).await;
    world.credential("hetzner", spec(&cloud.url)).await;
    let object = world.valid("hetzner", PLENTY, "True", "Valid").await;
    assert_eq!(condition(&object, "Ready").unwrap().status, "True");
    let status = object.status.unwrap();
    assert_eq!((status.capabilities, status.zones), (vec!["terraform".to_owned()], vec![]));
    assert_eq!(cloud.log().len(), 1, "one call: {:?}", cloud.log());
    world.secret("hetzner", json!({"api_token": "canaryWrong"})).await;
    let object = world.valid("hetzner", SOON, "False", "InvalidCredentials").await;
    assert!(message(&object, "Valid").contains("unable to authenticate"), "{}", message(&object, "Valid"));
    assert!(!serde_json::to_string(&object).unwrap().contains("canary"));
    cloud.set(|state| {
        state.tokens.insert("rotated".into(), false);
    });
    world.secret("hetzner", json!({"api_token": "rotated"})).await;
    world.valid("hetzner", SOON, "True", "Valid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_up_limit_is_a_doubt_and_no_call_is_made_before_its_end() {
    let cloud = Cloud::start().await;
    let url = cloud.url.clone();
    let world = World::with(|v| v["allowedEndpoints"] = json!([url])).await;
    cloud.set(|state| (state.left, state.reset_in) = (0, 8));
    let began = std::time::Instant::now();
    world.secret("hetzner", json!({"api_token": TOKEN})).await;
    world.credential("hetzner", spec(&cloud.url)).await;
    world.valid("hetzner", PLENTY, "Unknown", "RateLimited").await;
    cloud.set(|state| state.left = LIMIT);
    wait_until(PLENTY, "the second call", async || cloud.log().len() > 1).await;
    assert!(began.elapsed() >= Duration::from_secs(7), "{:?}", began.elapsed());
    world.valid("hetzner", PLENTY, "True", "Valid").await;
}
