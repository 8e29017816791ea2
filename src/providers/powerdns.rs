//! PowerDNS Authoritative Server, HTTP API v1.

mod zones;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use url::Url;

pub use self::zones::PowerDns;
use super::{Answer, Denial, Dns, Http, Identify, ProbeResult, doubt_of, shown};
use crate::Result;
use crate::access::text::line;
use crate::access::{SecretBytes, SecretText};
use crate::api::{Identity, PowerDnsCredential};

const KEY: &str = "api_key";
const NAME: &str = "PowerDNS";

/// What `GET /api/v1/servers/{id}` tells.
#[derive(Deserialize)]
struct Server {
    id: String,
    daemon_type: String,
    version: String,
}

/// What errors look like.
#[derive(Deserialize)]
struct Failure {
    error: String,
}

impl Identify for PowerDnsCredential {
    fn endpoint(&self) -> (&'static str, String) {
        ("spec.powerdns.endpoint", self.endpoint.clone())
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn probe(&self, http: &Http, base: &Url, secret: &SecretBytes, _: Timestamp) -> Result<ProbeResult> {
        let key = secret.text(KEY)?;
        let Ok(mut value) = http::HeaderValue::from_str(key.expose()) else {
            return Ok(ProbeResult::invalid(format!("key {KEY:?} of the Secret holds characters that no API key has")));
        };
        value.set_sensitive(true);
        let url = server_url(base, &self.server_id);
        let request = http::Request::get(url.as_str()).header("X-API-Key", value).body(Bytes::new());
        let Ok(request) = request else {
            return Ok(ProbeResult::unavailable("spec.powerdns.serverId makes no URL; correct it"));
        };
        let found = match http.send(request).await {
            Ok(answer) => self.judge(&answer, secret),
            Err(unanswered) => unanswered.into_doubt(NAME),
        };
        let ProbeResult::Valid { identity, capabilities, .. } = found else { return Ok(found) };
        Ok(match self.zones(http, base, secret)?.zones().await {
            Ok(zones) => {
                let clean = |text: &str| secret.redact_keys(&[KEY], text) == text;
                let zones = zones.into_iter().filter(|zone| clean(&zone.id) && clean(zone.name.as_str())).collect();
                ProbeResult::Valid { identity, capabilities, zones: shown(zones) }
            }
            Err(trouble) => ProbeResult::of_trouble(trouble),
        })
    }

    fn environment(&self, secret: &SecretBytes, _: Option<&str>) -> Result<BTreeMap<String, SecretText>> {
        Ok(BTreeMap::from([
            ("PDNS_API_KEY".to_owned(), secret.text(KEY)?),
            ("PDNS_SERVER_URL".to_owned(), SecretText::new(self.endpoint.clone())),
        ]))
    }
}

impl PowerDnsCredential {
    /// Whoever answers at the endpoint chose the words, and could echo the key: it is struck out before they are cut.
    fn judge(&self, answer: &Answer, secret: &SecretBytes) -> ProbeResult {
        let line = |text: &str, limit| line(&secret.redact_keys(&[KEY], text), limit);
        let said = serde_json::from_slice::<Failure>(&answer.body).map(|f| line(&f.error, 200)).unwrap_or_default();
        match answer.status {
            200 => match serde_json::from_slice::<Server>(&answer.body) {
                Ok(server) if server.daemon_type == "authoritative" => ProbeResult::Valid {
                    identity: Identity {
                        account: None,
                        principal: Some(format!("{} (PowerDNS {})", line(&server.id, 64), line(&server.version, 32))),
                    },
                    capabilities: vec!["terraform".into(), "dns".into()],
                    zones: Vec::new(),
                },
                Ok(server) => ProbeResult::Insufficient(Denial {
                    message: format!(
                        "spec.powerdns.endpoint: a PowerDNS {:?} answers there; name an authoritative server",
                        line(&server.daemon_type, 32)
                    ),
                }),
                Err(_) => ProbeResult::unavailable(
                    "spec.powerdns.endpoint: what answers there is no PowerDNS API; check address and path",
                ),
            },
            401 => ProbeResult::invalid(format!(
                "PowerDNS refused the key (401); put the server's api-key under {KEY:?} in Secret {:?}",
                self.secret_ref.name
            )),
            403 => ProbeResult::doubt(
                crate::api::Reason::IpNotAllowed,
                "PowerDNS answered 403; add this address to its webserver-allow-from",
            ),
            404 if !said.is_empty() => ProbeResult::invalid(format!(
                "spec.powerdns.serverId: PowerDNS knows no server {:?} ({said}); it is \"localhost\" as a rule",
                self.server_id
            )),
            _ => doubt_of(NAME, answer),
        }
    }
}

/// `{base}/api/v1/servers/{id}`; a base that ends in `/api` or `/api/v1` is understood.
fn server_url(base: &Url, id: &str) -> Url {
    let path = base.path().trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/api").to_owned();
    let mut url = base.clone();
    url.set_path(&path);
    url.set_query(None);
    url.set_fragment(None);
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(["api", "v1", "servers", id]);
    }
    url
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_address_of_the_server_is_found_from_any_usual_base() {
        for base in ["http://h:1", "http://h:1/", "http://h:1/api", "http://h:1/api/v1/", "http://h:1/?x#y"] {
            let url = server_url(&base.parse().unwrap(), "localhost");
            assert_eq!(url.as_str(), "http://h:1/api/v1/servers/localhost", "{base}");
        }
        let url = server_url(&"http://h:1/dns/api".parse().unwrap(), "a/../b");
        assert_eq!(url.as_str(), "http://h:1/dns/api/v1/servers/a%2F..%2Fb");
    }
}
