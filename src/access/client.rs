//! The way to the API server, which lets no odd object end the watch of everybody's: what users can write into any object
//! and no client of ours could read is taken out of the answers before they are read.
//!
//! Free JSON and `managedFields`, which whoever may update an object may write as he likes, nest 10,000 levels deep, and our
//! parser stops at 128; and the times of managed fields may lie beyond the year 9999.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Response, Uri};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper_util::client::proxy::matcher::Matcher;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::client::{ClientBuilder, DynBody};
use kube::config::{InferConfigError, Kubeconfig};
use kube::{Client, Config};
use serde::Deserialize;
use serde_json::Value;
use tower::BoxError;
use tower::util::MapResponseLayer;

/// A connection on which nothing comes for so long is given up. A watch hears more often: the API server ends each within 290 s.
const SILENT: Duration = Duration::from_secs(330);

/// What is nested deeper than so many levels of an answer is read as null.
const LEVELS: usize = 120;

/// How the API server is reached: by the kubeconfig, and the proxy that it names, else as a pod.
///
/// # Errors
/// There is neither.
pub async fn config() -> Result<Config, InferConfigError> {
    let mut config = Config::infer().await?;
    // kube asks `NO_PROXY` about the proxy, and takes the kubeconfig's own away by it, too.
    config.proxy_url = Kubeconfig::read().ok().and_then(own_proxy);
    (config.read_timeout, config.reset_reader_on_write) = (Some(SILENT), true);
    Ok(config)
}

/// The same for a person at a terminal, who goes by the proxy of `HTTPS_PROXY` as with kubectl: where the kubeconfig names none,
/// `NO_PROXY` does not except the API server, and that is not on this machine. Of both spellings the capitals count first.
///
/// # Errors
/// As [`config`].
pub async fn config_of_person() -> Result<Config, InferConfigError> {
    let mut config = config().await?;
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let either = |name: &str| set(name).or_else(|| set(&name.to_ascii_lowercase()));
    if let (None, Some(proxy)) = (&config.proxy_url, either("HTTPS_PROXY")) {
        config.proxy_url = by_environment(&proxy, &config.cluster_url, &either("NO_PROXY").unwrap_or_default());
    }
    Ok(config)
}

/// What the current context's cluster says.
fn own_proxy(of: Kubeconfig) -> Option<Uri> {
    let current = of.current_context?;
    let context = of.contexts.into_iter().find(|named| named.name == current)?.context?;
    let cluster = of.clusters.into_iter().find(|named| named.name == context.cluster)?.cluster?;
    cluster.proxy_url.filter(|url| !url.is_empty())?.parse().ok()
}

fn by_environment(proxy: &str, server: &Uri, excepted: &str) -> Option<Uri> {
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_here = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    let port = server.port_u16().unwrap_or(443);
    let excepted: Vec<_> = excepted.split(',').filter_map(|entry| plain_exception(entry.trim(), port)).collect();
    // Whether by any; the proxy itself has a user and a password, and perhaps a scheme that the matcher does not know.
    let any = Matcher::builder().all("http://proxy").no(excepted.join(",")).build();
    any.intercept(server).filter(|_| !is_here)?;
    if proxy.contains("://") { proxy.parse().ok() } else { format!("http://{proxy}").parse().ok() }
}

/// An entry of `NO_PROXY` as the matcher takes it, which knows neither `*.` nor a port; `None` where it is for another port.
fn plain_exception(entry: &str, port: u16) -> Option<&str> {
    let entry = entry.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(entry);
    match entry.split_once(':').map(|(host, its)| (host, its.parse::<u16>())) {
        Some((host, Ok(its))) => (its == port).then_some(host),
        _ => Some(entry),
    }
}

/// A client that reads every answer.
///
/// # Errors
/// The settings are of no use.
pub fn client(config: Config) -> kube::Result<Client> {
    // No SOCKS server is told a user here.
    let usable = |url: &&Uri| match url.scheme_str() {
        Some("http" | "https") => true,
        Some("socks5") => !url.authority().is_some_and(|all| all.as_str().contains('@')),
        _ => false,
    };
    if let Some(url) = config.proxy_url.as_ref().filter(|url| !usable(url)) {
        return Err(kube::Error::ProxyProtocolUnsupported { proxy_url: Box::new(without_user(url.clone())) });
    }
    Ok(ClientBuilder::try_from(config)?.with_layer(&MapResponseLayer::new(readable)).build())
}

fn without_user(url: Uri) -> Uri {
    let mut parts = url.into_parts();
    parts.authority = parts.authority.and_then(|all| all.as_str().rsplit('@').next()?.parse().ok());
    Uri::from_parts(parts).unwrap_or_default()
}

/// 409: the object has moved on, or is there already.
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// 409 of a creation: there is one of that name. A quota that two would use up at once answers 409, too.
pub fn already_exists(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason == "AlreadyExists")
}

/// 404.
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// The same answer with documents that can be read.
fn readable(answer: Response<Box<DynBody>>) -> Response<UnsyncBoxBody<Bytes, BoxError>> {
    let kind = answer.headers().get(CONTENT_TYPE).map(|value| value.as_bytes());
    let mut documents = kind.is_some_and(|kind| kind.starts_with(b"application/json")).then(Documents::default);
    answer.map(|body| {
        let mut read = move |bytes: Bytes| match &mut documents {
            Some(documents) => documents.take(&bytes).into(),
            None => bytes,
        };
        body.map_frame(move |frame| frame.map_data(&mut read)).boxed_unsync()
    })
}

/// JSON documents, one after the other, as they come in.
#[derive(Default)]
struct Documents {
    /// The one that is not complete.
    document: Vec<u8>,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Documents {
    /// Takes bytes in, and gives the documents back that they complete.
    fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut complete = Vec::new();
        for &byte in bytes {
            let before = self.depth;
            self.step(byte);
            if before.max(self.depth) <= LEVELS {
                self.document.push(byte);
            } else if before == LEVELS {
                self.document.extend(b"null");
            }
            if self.depth == 0 {
                complete.append(&mut mended(std::mem::take(&mut self.document)));
            }
        }
        complete
    }

    fn step(&mut self, byte: u8) {
        match (self.in_string, byte) {
            (true, _) if self.escaped => self.escaped = false,
            (true, b'\\') => self.escaped = true,
            (_, b'"') => self.in_string = !self.in_string,
            (false, b'{' | b'[') => self.depth = self.depth.saturating_add(1),
            (false, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

/// An object, a list of objects, or an event with its object: as much of it as users can spoil.
#[derive(Deserialize)]
#[allow(dead_code, reason = "what counts is that it can be read")]
struct Answer {
    metadata: Option<ObjectMeta>,
    object: Option<Box<Answer>>,
    items: Option<Vec<Answer>>,
}

/// The document itself, or without the managed fields of those objects whose metadata cannot be read. Who wrote them, and
/// when, is not known then.
fn mended(document: Vec<u8>) -> Vec<u8> {
    if document.len() <= 1 || serde_json::from_slice::<Answer>(&document).is_ok() {
        return document;
    }
    let Ok(mut answer) = serde_json::from_slice::<Value>(&document) else { return document };
    mend(&mut answer);
    if let Some(object) = answer.get_mut("object") {
        mend(object);
    }
    for item in answer.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        mend(item);
    }
    serde_json::to_vec(&answer).unwrap_or(document)
}

fn mend(object: &mut Value) {
    let Some(metadata) = object.get_mut("metadata") else { return };
    if ObjectMeta::deserialize(&*metadata).is_err()
        && let Some(metadata) = metadata.as_object_mut()
    {
        metadata.remove("managedFields");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use serde_json::json;

    use super::*;

    #[test]
    fn the_environment_proxies_what_no_proxy_does_not_except_and_nothing_on_this_machine() {
        let by = |server: &'static str, excepted: &str| {
            by_environment("proxy.example:3128", &Uri::from_static(server), excepted).map(|uri| uri.to_string())
        };
        let proxy = Some("http://proxy.example:3128/".to_owned());
        assert_eq!(by("https://api.one.example:6443", ""), proxy);
        assert_eq!(by("https://api.one.example:6443", "two.example,10.0.0.0/8,proxy.example,"), proxy);
        assert_eq!(by("https://api.one.example:6443", "*.two.example,api.one.example:443"), proxy);
        for (server, excepted) in [
            ("https://api.one.example:6443", "two.example, .one.example"),
            ("https://api.one.example:6443", "*.one.example"),
            ("https://api.one.example:6443", "api.one.example:6443"),
            ("https://api.one.example", "api.one.example:443"),
            ("https://10.1.2.3:6443", "10.0.0.0/8"),
            ("https://api.one.example", "*"),
            ("https://127.0.0.1:6443", ""),
            ("https://localhost:6443", ""),
            ("https://[::1]:6443", ""),
        ] {
            assert_eq!(by(server, excepted), None, "{server} with {excepted:?}");
        }
    }

    #[test]
    fn user_and_password_are_for_the_proxy_and_in_no_message() {
        let server = Uri::from_static("https://api.one.example");
        let of = |proxy: &str| {
            let mut config = Config::new(server.clone());
            config.proxy_url = by_environment(proxy, &server, "");
            assert_eq!(config.proxy_url.as_ref().unwrap().to_string(), proxy);
            config
        };
        assert!(ClientBuilder::try_from(of("http://me:p%40w@proxy.example:3128/")).is_ok());
        for (proxy, shown) in [
            ("ftp://me:p%40w@proxy.example:21/", "ftp://proxy.example:21"),
            ("socks5://me:p%40w@proxy.example:1080/", "socks5://proxy.example:1080"),
        ] {
            let said = client(of(proxy)).err().unwrap().to_string();
            assert!(said.contains(shown) && !said.contains("p%40w") && !said.contains("me:"), "{said}");
        }
    }

    fn through(text: &str, piece: usize) -> String {
        let mut documents = Documents::default();
        let taken: Vec<u8> = text.as_bytes().chunks(piece).flat_map(|bytes| documents.take(bytes)).collect();
        String::from_utf8(taken).unwrap()
    }

    #[test]
    fn what_is_not_odd_comes_through_byte_by_byte() {
        let ordinary = concat!(
            "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"a\"},\"x\":\"[{\\\"\\\\\",\"y\":1.0}}\n",
            "{\"items\":[{\"metadata\":{\"managedFields\":[{\"time\":\"2026-01-01T00:00:00Z\"}]}}]}\n[1]\n\"{\"\n"
        );
        for piece in [1, 7, 1000] {
            assert_eq!(through(ordinary, piece), ordinary);
        }
    }

    #[test]
    fn what_is_nested_too_deep_is_null_and_what_follows_is_read() {
        for (open, close) in [("[", "]"), ("{\"a\\\"]\":", "}")] {
            let deep = |levels: usize| format!("{}1{}", open.repeat(levels), close.repeat(levels));
            let text = format!("{{\"a\":{},\"b\":{},\"c\":2}}\n{{\"d\":3}}", deep(9000), deep(LEVELS - 1));
            for piece in [1, 1000, 1_000_000] {
                let taken = through(&text, piece);
                let (first, second) = taken.split_once('\n').unwrap();
                let first: Value = serde_json::from_str(first).unwrap();
                assert_eq!(first["b"].to_string(), deep(LEVELS - 1));
                assert_eq!(first["a"].to_string(), deep(LEVELS - 1).replace('1', "null"));
                assert_eq!((&first["c"], second), (&json!(2), "{\"d\":3}"));
            }
        }
    }

    #[test]
    fn managed_fields_that_cannot_be_read_are_left_out_and_the_others_stay() {
        for time in ["9999-12-31T23:59:59Z", "10000-01-01T23:58:59Z", "-001-12-31T00:01:00Z"] {
            let object = |name: &str, time: &str| json!({"metadata": {"name": name, "managedFields": [{"manager": "m", "time": time}]}, "spec": {"time": time}});
            let (odd, plain) = (object("odd", time), object("plain", "2026-01-01T00:00:00Z"));
            let mut bare = odd.clone();
            bare["metadata"].as_object_mut().unwrap().remove("managedFields");
            let read = |text: Value| serde_json::from_str::<Value>(&through(&text.to_string(), 10)).unwrap();
            assert_eq!(read(odd.clone()), bare);
            let event = |object: &Value| json!({"type": "MODIFIED", "object": object});
            assert_eq!(read(event(&odd)), event(&bare));
            let list = |object: &Value| json!({"metadata": {"resourceVersion": "1"}, "items": [&plain, object]});
            assert_eq!(read(list(&odd)), list(&bare));
        }
    }
}
