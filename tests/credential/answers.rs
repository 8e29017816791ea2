//! What each answer of a provider is taken for. A server in this process gives it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Response;
use landfall::access::SecretBytes;
use landfall::api::{CloudCredentialSpec, Reason};
use landfall::installation::Installation;
use landfall::providers::{Http, ProbeResult, Provider};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(2);

/// What the server says: status, headers, body; status 0 never answers.
#[derive(Clone)]
struct Script(u16, Vec<(&'static str, String)>, Vec<u8>);

struct Server {
    url: String,
    http: Http,
    script: Arc<Mutex<Script>>,
    /// What it answers to a list of zones, with 200.
    zones: Arc<Mutex<Vec<u8>>>,
    /// Path and headers of the last request of something else.
    seen: Arc<Mutex<String>>,
}

impl Server {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(Script(200, vec![], vec![])));
        let seen = Arc::new(Mutex::new(String::new()));
        let zones = Arc::new(Mutex::new(b"[]".to_vec()));
        let (answers, listed, requests) = (script.clone(), zones.clone(), seen.clone());
        let handler = move |request: axum::extract::Request| {
            let lists = request.uri().path().ends_with("/zones");
            let body = listed.lock().unwrap().clone();
            if !lists {
                *requests.lock().unwrap() = format!("{} {} {:?}", request.method(), request.uri(), request.headers());
            }
            let whole = Script(200, vec![], body);
            let Script(status, headers, body) = if lists { whole } else { answers.lock().unwrap().clone() };
            async move {
                if status == 0 {
                    std::future::pending::<()>().await;
                }
                let mut response = Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                response.body(Body::from(body)).unwrap()
            }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await });
        let installation: Installation = serde_json::from_value(json!({
            "encryption": {"current": "a", "keys": {}}, "allowedEndpoints": [url],
        }))
        .unwrap();
        Self { http: Http::with_timeout(&installation, PATIENCE).unwrap(), url, script, zones, seen }
    }

    async fn ask(&self, spec: serde_json::Value, script: Script) -> ProbeResult {
        *self.script.lock().unwrap() = script;
        let spec: CloudCredentialSpec = serde_json::from_value(spec).unwrap();
        let base = self.url.parse().unwrap();
        Provider::of(&spec).unwrap().probe(&self.http, &base, &secret(), jiff::Timestamp::now()).await.unwrap()
    }

    async fn powerdns(&self, status: u16, body: &str) -> ProbeResult {
        let spec = json!({"powerdns": {"secretRef": {"name": "s"}, "endpoint": self.url}});
        self.ask(spec, Script(status, vec![], body.into())).await
    }

    async fn aws(&self, status: u16, body: &str) -> ProbeResult {
        let spec = json!({"aws": {"secretRef": {"name": "s"}, "region": "eu-central-1", "endpoint": self.url}});
        self.ask(spec, Script(status, vec![], body.into())).await
    }
}

const SECRET: &str = "canary/+secret\"${x}";

fn secret() -> SecretBytes {
    let pairs = [("api_key", SECRET), ("access_key_id", "AKIACANARY"), ("secret_access_key", SECRET)];
    SecretBytes::new("s", "1", pairs.map(|(k, v)| (k.to_owned(), v.as_bytes().to_vec())))
}

fn message(result: &ProbeResult) -> &str {
    match result {
        ProbeResult::Valid { .. } => "",
        ProbeResult::Invalid(d) | ProbeResult::Insufficient(d) | ProbeResult::Expired(d) => &d.message,
        ProbeResult::Unknown(doubt) => &doubt.message,
    }
}

/// The same result, told briefly, and never with the secret.
fn check(result: &ProbeResult, expected: Reason, case: &str) {
    assert_eq!(result.reason(), expected, "{case}: {result:?}");
    let text = format!("{result:?}");
    assert!(!text.contains("canary") && !text.contains("AKIACANARY"), "{case}: {text}");
    assert!(message(result).chars().count() <= 513, "{case}");
    assert!(!message(result).contains('\n'), "{case}");
}

fn aws_error(code: &str, text: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>{text}</Message></Error><RequestId>1</RequestId></ErrorResponse>"
    )
}

const AWS_OK: &str = "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
    <Arn>arn:aws:iam::123456789012:user/landfall</Arn><UserId>AIDA</UserId><Account>123456789012</Account>\
    </GetCallerIdentityResult></GetCallerIdentityResponse>";

#[tokio::test]
async fn each_answer_of_powerdns_is_taken_for_what_it_is() {
    let server = Server::start().await;
    let good = r#"{"id": "localhost", "daemon_type": "authoritative", "version": "4.9.1", "type": "Server"}"#;
    let recursor = r#"{"id": "localhost", "daemon_type": "recursor", "version": "5"}"#;
    let echo = format!("{{\"error\": {}}}", json!(format!("no {SECRET} here")));
    let cases: &[(u16, &str, Reason)] = &[
        (200, good, Reason::Valid),
        (200, recursor, Reason::InsufficientPermissions),
        (200, "<html>welcome</html>", Reason::ProviderUnavailable),
        (200, "", Reason::ProviderUnavailable),
        (200, "{}", Reason::ProviderUnavailable),
        (200, "[]", Reason::ProviderUnavailable),
        (204, "", Reason::ProviderUnavailable),
        (301, "", Reason::ProviderUnavailable),
        (307, "", Reason::ProviderUnavailable),
        (400, "{\"error\": \"bad\"}", Reason::ProviderUnavailable),
        (401, "Unauthorized", Reason::InvalidCredentials),
        (401, "", Reason::InvalidCredentials),
        (403, "", Reason::IpNotAllowed),
        (404, "{\"error\": \"Not Found\"}", Reason::InvalidCredentials),
        (404, &echo, Reason::InvalidCredentials),
        (404, "Not Found", Reason::ProviderUnavailable),
        (404, "", Reason::ProviderUnavailable),
        (408, "", Reason::Timeout),
        (422, "{\"error\": \"bad\"}", Reason::ProviderUnavailable),
        (429, "", Reason::RateLimited),
        (500, "Internal Server Error", Reason::ProviderUnavailable),
        (502, "<html>", Reason::ProviderUnavailable),
        (503, "", Reason::ProviderUnavailable),
        (504, "", Reason::ProviderUnavailable),
        (0, "", Reason::Timeout),
    ];
    for (status, body, expected) in cases {
        let result = server.powerdns(*status, body).await;
        check(&result, *expected, &format!("PowerDNS {status} {body}"));
        let no_denial = matches!(status, 0 | 408 | 429 | 500..);
        assert!(!(no_denial && result.is_denied()), "{status}");
    }
    assert!(server.seen.lock().unwrap().starts_with("GET /api/v1/servers/localhost "));
}

#[tokio::test]
async fn the_zones_of_powerdns_are_told_by_name_and_none_that_is_another_servers() {
    let server = Server::start().await;
    let good = r#"{"id": "localhost", "daemon_type": "authoritative", "version": "4.9.1"}"#;
    let zone = |id: &str, kind: &str| json!({"id": id, "name": id, "kind": kind});
    let told = async |zones: serde_json::Value| {
        *server.zones.lock().unwrap() = zones.to_string().into_bytes();
        server.powerdns(200, good).await
    };
    let listed = json!([
        zone("b.example.", "Native"),
        zone("copy.example.", "Slave"),
        zone(&format!("{SECRET}.example."), "Native"),
        zone("A.example.", "Master"),
    ]);
    let ProbeResult::Valid { zones, .. } = told(listed).await else { panic!() };
    let names: Vec<&str> = zones.iter().map(|z| z.name.as_str()).collect();
    assert_eq!(names, ["a.example", "b.example"]);
    let many: Vec<_> = (0..300).map(|n| zone(&format!("z{n}.example."), "Native")).collect();
    let ProbeResult::Valid { zones, .. } = told(json!(many)).await else { panic!() };
    assert_eq!(zones.len(), 200);
    for odd in [json!({}), json!("zones"), json!([{"name": 1}])] {
        let result = told(odd).await;
        check(&result, Reason::ProviderUnavailable, "zones");
    }
}

/// The log cannot forget what it is told once.
#[tokio::test]
async fn a_server_that_echoes_the_key_puts_it_nowhere() {
    let server = Server::start().await;
    let told =
        |id: &str, version: &str| json!({"id": id, "daemon_type": "authoritative", "version": version}).to_string();
    let long = format!("{}{SECRET}", "x".repeat(64 - 4));
    for (id, version) in [(SECRET, "4.9"), ("localhost", SECRET), (long.as_str(), "4.9")] {
        let ProbeResult::Valid { identity, .. } = server.powerdns(200, &told(id, version)).await else { panic!() };
        let text = identity.principal.unwrap();
        assert!(!text.contains(&SECRET[..4]), "{text}");
    }
    let cut = json!({"error": format!("{}{SECRET}", "x".repeat(200 - 4))}).to_string();
    let result = server.powerdns(404, &cut).await;
    assert!(message(&result).contains("xxx") && !message(&result).contains(&SECRET[..4]), "{}", message(&result));

    // The account is what others go by: only what is secret is struck out of it.
    let spec = json!({"aws": {"secretRef": {"name": "s"}, "region": "eu-central-1", "endpoint": server.url}});
    let echo = AWS_OK.replace("user/landfall", &format!("user/{SECRET}")).replace("123456789012", "AKIACANARY");
    let ProbeResult::Valid { identity, .. } = server.ask(spec, Script(200, vec![], echo.into())).await else {
        panic!()
    };
    assert_eq!(identity.account.as_deref(), Some("AKIACANARY"));
    assert!(!identity.principal.unwrap().contains(SECRET));
}

#[tokio::test]
async fn each_answer_of_sts_is_taken_for_what_it_is() {
    let server = Server::start().await;
    let mismatch = format!(
        "The request signature we calculated does not match. The Canonical String was POST {SECRET} AKIACANARY"
    );
    let cases: &[(u16, String, Reason)] = &[
        (200, AWS_OK.into(), Reason::Valid),
        (200, "<html>login</html>".into(), Reason::ProviderUnavailable),
        (200, "{\"Account\": \"1\"}".into(), Reason::ProviderUnavailable),
        (200, String::new(), Reason::ProviderUnavailable),
        (200, "<a><b></a>".into(), Reason::ProviderUnavailable),
        (
            403,
            aws_error("InvalidClientTokenId", "The security token included in the request is invalid."),
            Reason::InvalidCredentials,
        ),
        (403, aws_error("UnrecognizedClientException", "x"), Reason::InvalidCredentials),
        (401, aws_error("AuthFailure", "x"), Reason::InvalidCredentials),
        (403, aws_error("SignatureDoesNotMatch", &mismatch), Reason::InvalidCredentials),
        (403, aws_error("InvalidSignatureException", &mismatch), Reason::InvalidCredentials),
        (
            403,
            aws_error("SignatureDoesNotMatch", "Signature expired: 20260101T000000Z is now earlier than"),
            Reason::ClockSkew,
        ),
        (403, aws_error("SignatureDoesNotMatch", "Signature not yet current: 2030"), Reason::ClockSkew),
        (400, aws_error("RequestExpired", "x"), Reason::ClockSkew),
        (403, aws_error("RequestTimeTooSkewed", "x"), Reason::ClockSkew),
        (403, aws_error("ExpiredToken", "The security token included in the request is expired"), Reason::Expired),
        (400, aws_error("ExpiredTokenException", "x"), Reason::Expired),
        (403, aws_error("OptInRequired", "x"), Reason::InsufficientPermissions),
        (403, aws_error("AccessDenied", "x"), Reason::InsufficientPermissions),
        (403, aws_error("RegionDisabledException", "x"), Reason::InsufficientPermissions),
        (400, aws_error("Throttling", "Rate exceeded"), Reason::RateLimited),
        (400, aws_error("ThrottlingException", "x"), Reason::RateLimited),
        (400, aws_error("RequestLimitExceeded", "x"), Reason::RateLimited),
        (400, aws_error("SomethingNew", &mismatch), Reason::ProviderUnavailable),
        (400, aws_error(SECRET, "x"), Reason::ProviderUnavailable),
        (403, "Forbidden by a proxy".into(), Reason::ProviderUnavailable),
        (404, "<html>".into(), Reason::ProviderUnavailable),
        (302, String::new(), Reason::ProviderUnavailable),
        (408, String::new(), Reason::Timeout),
        (429, String::new(), Reason::RateLimited),
        (500, aws_error("InternalFailure", "x"), Reason::ProviderUnavailable),
        (503, aws_error("InvalidClientTokenId", "in trouble"), Reason::ProviderUnavailable),
        (503, aws_error("ServiceUnavailable", "x"), Reason::ProviderUnavailable),
        (0, String::new(), Reason::Timeout),
    ];
    for (status, body, expected) in cases {
        let result = server.aws(*status, body).await;
        check(&result, *expected, &format!("AWS {status} {body}"));
        let no_denial = matches!(status, 0 | 408 | 429 | 500..);
        assert!(!(no_denial && result.is_denied()), "{status}");
    }
    let ProbeResult::Valid { identity, capabilities, .. } = server.aws(200, AWS_OK).await else { panic!("not valid") };
    assert_eq!(identity.account.as_deref(), Some("123456789012"));
    assert_eq!(identity.principal.as_deref(), Some("arn:aws:iam::123456789012:user/landfall"));
    assert_eq!(capabilities, ["terraform"]);
    let seen = server.seen.lock().unwrap().clone();
    assert!(seen.starts_with("POST / ") && seen.contains("/eu-central-1/sts/aws4_request"), "{seen}");
    assert!(!seen.contains("canary"), "{seen}");
}

#[tokio::test]
async fn a_rest_that_the_provider_asks_for_is_heard() {
    let server = Server::start().await;
    let spec = json!({"powerdns": {"secretRef": {"name": "s"}, "endpoint": server.url}});
    let date = jiff::fmt::rfc2822::to_string(&(jiff::Zoned::now() + Duration::from_secs(90))).unwrap();
    for (value, least, most) in [("120".to_owned(), 120, 120), (date, 85, 91), ("999999".into(), 3600, 3600)] {
        let result = server.ask(spec.clone(), Script(429, vec![("retry-after", value.clone())], vec![])).await;
        let ProbeResult::Unknown(doubt) = result else { panic!("{result:?}") };
        let seconds = doubt.retry_after.unwrap().as_secs();
        assert!((least..=most).contains(&seconds), "{value}: {seconds}");
    }
    let result = server.ask(spec, Script(503, vec![("retry-after", "soon".into())], vec![])).await;
    assert!(matches!(result, ProbeResult::Unknown(doubt) if doubt.retry_after.is_none()));
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let server = Server::start().await;
    let body = vec![b' '; 70 * 1024];
    let spec = json!({"powerdns": {"secretRef": {"name": "s"}, "endpoint": server.url}});
    let result = server.ask(spec, Script(200, vec![], body)).await;
    assert_eq!(result.reason(), Reason::ProviderUnavailable);
    assert!(message(&result).contains("larger than 65536 bytes"), "{result:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_doubt() {
    let server = Server::start().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let spec = json!({"powerdns": {"secretRef": {"name": "s"}, "endpoint": format!("http://{closed}")}});
    let spec: CloudCredentialSpec = serde_json::from_value(spec).unwrap();
    let base = format!("http://{closed}").parse().unwrap();
    let result =
        Provider::of(&spec).unwrap().probe(&server.http, &base, &secret(), jiff::Timestamp::now()).await.unwrap();
    assert_eq!(result.reason(), Reason::ProviderUnavailable, "{result:?}");
}
