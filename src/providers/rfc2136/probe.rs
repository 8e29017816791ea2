//! What a key of TSIG is good for: each zone must answer it, begin a transfer for it, and take an update of it that changes
//! nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use hickory_proto::op::ResponseCode;
use jiff::Timestamp;
use url::{Host, Url};

use super::{Rfc2136, refused, update};
use crate::access::{SecretBytes, SecretText};
use crate::api::{Identity, Reason, Rfc2136Credential};
use crate::dns::{Name, Zone};
use crate::providers::dns::{Dns, Trouble};
use crate::providers::{Http, Identify, ProbeResult, shown};
use crate::{Error, Result};

const KEY: &str = "tsig_secret";
/// Zones that are asked about at once.
const AT_ONCE: usize = 8;

impl Rfc2136Credential {
    /// The server. `base` is the endpoint, as it was permitted: `dns://` and an address.
    ///
    /// # Errors
    /// `SecretKeyMissing`; `InvalidCredentials` where key, secret or a zone's name can be none.
    pub fn server(&self, base: &Url, secret: &SecretBytes) -> Result<Rfc2136> {
        let address = address(base)
            .ok_or_else(|| Error::Integrity("spec.rfc2136.server was permitted without an address".into()))?;
        let zone = |(place, text): (usize, &String)| {
            Name::parse(text).map_err(|e| e.at(format!("spec.rfc2136.zones[{place}]")).to_string())
        };
        let zones = self.zones.iter().enumerate().map(zone).collect::<Result<Vec<_>, _>>();
        let zones = zones.map_err(|message| Error::condition(Reason::InvalidCredentials, message))?;
        let server = Rfc2136::new(address, &self.tsig_key_name, self.tsig_algorithm, &secret.text(KEY)?, zones)?;
        Ok(server.known_as(format!("dns://{}", self.host_and_port())))
    }

    /// The server as the spec names it, in one spelling.
    fn host_and_port(&self) -> String {
        match self.server.parse::<SocketAddr>() {
            Ok(address) => address.to_string(),
            Err(_) => self.server.to_ascii_lowercase(),
        }
    }
}

/// The address that was pinned. In a URL of this scheme an IPv4 address is text.
fn address(base: &Url) -> Option<SocketAddr> {
    let host = match base.host()? {
        Host::Domain(text) => text.parse().ok()?,
        Host::Ipv4(address) => address.into(),
        Host::Ipv6(address) => address.into(),
    };
    Some(SocketAddr::new(host, base.port()?))
}

impl Identify for Rfc2136Credential {
    fn endpoint(&self) -> (&'static str, String) {
        ("spec.rfc2136.server", format!("dns://{}", self.server))
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn probe(&self, _: &Http, base: &Url, secret: &SecretBytes, _: Timestamp) -> Result<ProbeResult> {
        let server = self.server(base, secret)?;
        let zones = match server.zones().await {
            Ok(zones) => zones,
            Err(trouble) => return Ok(ProbeResult::of_trouble(trouble)),
        };
        let questions: Vec<_> = zones.iter().map(|zone| server.serves(zone)).collect();
        let asked = futures::stream::iter(questions).buffered(AT_ONCE);
        Ok(match asked.try_collect::<Vec<()>>().await {
            Ok(_) => ProbeResult::Valid {
                identity: Identity {
                    account: None,
                    principal: Some(format!("{} at {}", self.tsig_key_name, self.server)),
                },
                capabilities: vec!["terraform".into(), "dns".into()],
                zones: shown(zones),
            },
            Err(trouble) => ProbeResult::of_trouble(trouble),
        })
    }

    fn environment(&self, secret: &SecretBytes, _: Option<&str>) -> Result<BTreeMap<String, SecretText>> {
        let (host, port) = self.server.rsplit_once(':').unwrap_or((&self.server, "53"));
        let told = [
            ("DNS_UPDATE_SERVER", host.trim_matches(['[', ']']).to_owned()),
            ("DNS_UPDATE_PORT", port.to_owned()),
            ("DNS_UPDATE_TRANSPORT", "tcp".to_owned()),
            ("DNS_UPDATE_KEYNAME", format!("{}.", self.tsig_key_name)),
            ("DNS_UPDATE_KEYALGORITHM", self.tsig_algorithm.as_str().to_owned()),
        ];
        let mut environment: BTreeMap<String, SecretText> =
            told.into_iter().map(|(name, value)| (name.to_owned(), SecretText::new(value))).collect();
        environment.insert("DNS_UPDATE_KEYSECRET".to_owned(), secret.text(KEY)?);
        Ok(environment)
    }
}

impl Rfc2136 {
    /// Whether the key may do in this zone what a record needs.
    async fn serves(&self, zone: &Zone) -> Result<(), Trouble> {
        self.serial(zone).await?;
        let lacks = |right: &str, trouble: Trouble| {
            // The key has just been proved: servers say BADKEY also of one that they know and that lacks a right.
            let denied = matches!(trouble.reason, Reason::InvalidCredentials | Reason::InsufficientPermissions);
            if !denied {
                return trouble;
            }
            let message = format!(
                "the key may not {right} the zone {}: {}; permit it there, or take the zone out of spec.rfc2136.zones",
                zone.name, trouble.message
            );
            Trouble { reason: Reason::InsufficientPermissions, message, ..trouble }
        };
        self.wire.begins_transfer(&zone.name).await.map_err(|trouble| lacks("transfer", trouble))?;
        self.idle_update(&zone.name).await.map_err(|trouble| lacks("update", trouble))
    }

    async fn idle_update(&self, zone: &Name) -> Result<(), Trouble> {
        let message = update::idle(zone).map_err(|e| Trouble::new(Reason::ProviderUnavailable, e))?;
        let answer = self.wire.exchange(message).await?;
        match answer.response_code {
            // Something stands at the name: the condition failed, which is told to who may update.
            ResponseCode::YXRRSet => Ok(()),
            _ => refused(&answer, zone),
        }
    }
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
