//! Vendors' protocols: behind one HTTP client, and DNS over TCP.

mod aws;
mod dns;
mod hetzner;
mod http;
mod isolation;
mod lots;
mod powerdns;
mod probes;
mod rfc2136;
mod server;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use zeroize::Zeroizing;

pub use self::dns::{Change, Contents, Dns, Other, Outcome, Standing, Trouble};
pub(crate) use self::http::retry_after;
pub use self::http::{Answer, Http, Unanswered};
pub use self::powerdns::PowerDns;
pub use self::probes::{Attempt, Finding, Probes};
pub use self::rfc2136::{Algorithm, Rfc2136};
pub use self::server::Server;
use crate::Result;
use crate::access::{SecretBytes, SecretText, text};
use crate::api::{CloudCredentialSpec, Identity, Reason, ZoneSeen};
use crate::dns::Zone;

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// The provider accepted the credential.
    Valid {
        /// Whose it is.
        identity: Identity,
        /// What it can serve.
        capabilities: Vec<String>,
        /// The zones that it can change, by name; the first of them where they are many.
        zones: Vec<ZoneSeen>,
    },
    /// The provider refused it: only a new Secret or spec helps.
    Invalid(Denial),
    /// It lives, but lacks a right.
    Insufficient(Denial),
    /// It has expired.
    Expired(Denial),
    /// The provider could not be asked, or gave no answer about the credential.
    Unknown(Doubt),
}

/// A no, in words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// What was found and what to do; redacted and capped.
    pub message: String,
}

/// Why nothing is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Which doubt: `RateLimited`, `ProviderUnavailable`, `Timeout`, `ClockSkew`, `IpNotAllowed`.
    pub reason: Reason,
    /// What was found and what to do; redacted and capped.
    pub message: String,
    /// How long the provider asks to be left alone.
    pub retry_after: Option<Duration>,
}

impl ProbeResult {
    /// The word in the `Valid` condition.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Valid { .. } => Reason::Valid,
            Self::Invalid(_) => Reason::InvalidCredentials,
            Self::Insufficient(_) => Reason::InsufficientPermissions,
            Self::Expired(_) => Reason::Expired,
            Self::Unknown(doubt) => doubt.reason,
        }
    }

    /// The provider said no.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Invalid(_) | Self::Insufficient(_) | Self::Expired(_))
    }

    fn unavailable(message: impl Into<String>) -> Self {
        Self::doubt(Reason::ProviderUnavailable, message)
    }

    fn doubt(reason: Reason, message: impl Into<String>) -> Self {
        Self::Unknown(Doubt { reason, message: message.into(), retry_after: None })
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(Denial { message: message.into() })
    }

    /// What a provider of DNS did not do, as a finding about the credential.
    fn of_trouble(trouble: Trouble) -> Self {
        let Trouble { reason, message, retry_after, .. } = trouble;
        match reason {
            Reason::InvalidCredentials => Self::invalid(message),
            Reason::InsufficientPermissions => Self::Insufficient(Denial { message }),
            _ => Self::Unknown(Doubt { reason, message, retry_after }),
        }
    }

    /// The same with the Secret's values struck out of its text and the text cut to what a condition should hold.
    #[must_use]
    fn made_fit(mut self, secret: &SecretBytes) -> Self {
        let message = match &mut self {
            Self::Valid { .. } => return self,
            Self::Invalid(d) | Self::Insufficient(d) | Self::Expired(d) => &mut d.message,
            Self::Unknown(doubt) => &mut doubt.message,
        };
        *message = text::line(&secret.redact(message), 512);
        self
    }
}

/// The providers. A new one is a variant here and a file beside this one; the compiler lists what else must know.
#[derive(Clone, Copy, Debug)]
pub enum Provider<'a> {
    /// Amazon Web Services.
    Aws(&'a crate::api::AwsCredential),
    /// Hetzner Cloud.
    Hetzner(&'a crate::api::HetznerCredential),
    /// PowerDNS.
    PowerDns(&'a crate::api::PowerDnsCredential),
    /// A DNS server that takes signed updates.
    Rfc2136(&'a crate::api::Rfc2136Credential),
}

/// A way to learn whose a credential is.
trait Identify {
    /// Field and value of the endpoint that Landfall itself will call.
    fn endpoint(&self) -> (&'static str, String);
    /// How long to rest before a first refusal is believed.
    fn patience(&self) -> Duration;
    /// Asks the provider, once.
    ///
    /// # Errors
    /// `SecretKeyMissing` where the Secret lacks what the provider needs. No call is made then.
    async fn probe(&self, http: &Http, base: &url::Url, secret: &SecretBytes, now: Timestamp) -> Result<ProbeResult>;
    /// What the engine's provider plugins read from their environment.
    fn environment(&self, secret: &SecretBytes, region: Option<&str>) -> Result<BTreeMap<String, SecretText>>;
}

impl<'a> Provider<'a> {
    /// The provider of a spec; `None` where the spec names none or several, which the API server refuses.
    pub fn of(spec: &'a CloudCredentialSpec) -> Option<Self> {
        match (&spec.aws, &spec.hetzner, &spec.powerdns, &spec.rfc2136) {
            (Some(aws), None, None, None) => Some(Self::Aws(aws)),
            (None, Some(hetzner), None, None) => Some(Self::Hetzner(hetzner)),
            (None, None, Some(powerdns), None) => Some(Self::PowerDns(powerdns)),
            (None, None, None, Some(rfc2136)) => Some(Self::Rfc2136(rfc2136)),
            _ => None,
        }
    }

    /// The word in metrics and in the ledger.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Aws(_) => "aws",
            Self::Hetzner(_) => "hetzner",
            Self::PowerDns(_) => "powerdns",
            Self::Rfc2136(_) => "rfc2136",
        }
    }

    /// Name of the Secret in the credential's namespace.
    pub fn secret_name(&self) -> &'a str {
        match self {
            Self::Aws(p) => &p.secret_ref.name,
            Self::Hetzner(p) => &p.secret_ref.name,
            Self::PowerDns(p) => &p.secret_ref.name,
            Self::Rfc2136(p) => &p.secret_ref.name,
        }
    }

    /// The spec's block of this provider: what a proof binds besides the Secret, and what tells two accounts apart.
    pub fn block(&self) -> Value {
        match self {
            Self::Aws(p) => json!({"aws": p}),
            Self::Hetzner(p) => json!({"hetzner": p}),
            Self::PowerDns(p) => json!({"powerdns": p}),
            Self::Rfc2136(p) => json!({"rfc2136": p}),
        }
    }

    /// What a proof proves: these bytes of the Secret under this block.
    pub fn proved(&self, secret: &SecretBytes) -> Zeroizing<Vec<u8>> {
        let mut all = Zeroizing::new(secret.canonical().to_vec());
        all.extend_from_slice(self.block().to_string().as_bytes());
        all
    }

    /// Field and value of the endpoint that Landfall itself will call.
    pub fn endpoint(&self) -> (&'static str, String) {
        match self {
            Self::Aws(p) => p.endpoint(),
            Self::Hetzner(p) => p.endpoint(),
            Self::PowerDns(p) => p.endpoint(),
            Self::Rfc2136(p) => p.endpoint(),
        }
    }

    /// How long to rest before a first refusal is believed: some providers remember a wrong key for a while.
    pub fn patience(&self) -> Duration {
        match self {
            Self::Aws(p) => p.patience(),
            Self::Hetzner(p) => p.patience(),
            Self::PowerDns(p) => p.patience(),
            Self::Rfc2136(p) => p.patience(),
        }
    }

    /// Its zones, where it has any. `base` is the endpoint, as it was permitted. No call is made.
    ///
    /// # Errors
    /// `SecretKeyMissing`; `InvalidCredentials` where the Secret's values can be none.
    pub fn dns(&self, http: &Http, base: &url::Url, secret: &SecretBytes) -> Result<Option<Server>> {
        match self {
            Self::Aws(_) | Self::Hetzner(_) => Ok(None),
            Self::PowerDns(p) => p.zones(http, base, secret).map(|dns| Some(Server::PowerDns(dns))),
            Self::Rfc2136(p) => p.server(base, secret).map(|dns| Some(Server::Rfc2136(dns))),
        }
    }

    /// Asks the provider, once. `base` is the endpoint, as it was permitted.
    ///
    /// # Errors
    /// `SecretKeyMissing` where the Secret lacks what the provider needs. No call is made then.
    pub async fn probe(
        &self,
        http: &Http,
        base: &url::Url,
        secret: &SecretBytes,
        now: Timestamp,
    ) -> Result<ProbeResult> {
        let result = match self {
            Self::Aws(p) => p.probe(http, base, secret, now).await?,
            Self::Hetzner(p) => p.probe(http, base, secret, now).await?,
            Self::PowerDns(p) => p.probe(http, base, secret, now).await?,
            Self::Rfc2136(p) => p.probe(http, base, secret, now).await?,
        };
        Ok(result.made_fit(secret))
    }

    /// What the engine's provider plugins read from their environment. `region` overrides the credential's own.
    ///
    /// # Errors
    /// `SecretKeyMissing` names the key.
    pub fn environment(&self, secret: &SecretBytes, region: Option<&str>) -> Result<BTreeMap<String, SecretText>> {
        match self {
            Self::Aws(p) => p.environment(secret, region),
            Self::Hetzner(p) => p.environment(secret, region),
            Self::PowerDns(p) => p.environment(secret, region),
            Self::Rfc2136(p) => p.environment(secret, region),
        }
    }
}

/// Zones of a status: more would make objects large that others watch.
const ZONES_SHOWN: usize = 200;

/// The zones for a status, by name.
fn shown(mut zones: Vec<Zone>) -> Vec<ZoneSeen> {
    zones.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    zones.dedup_by(|a, b| a.id == b.id);
    zones.truncate(ZONES_SHOWN);
    zones.into_iter().map(|zone| ZoneSeen { id: text::line(&zone.id, 512), name: zone.name.to_string() }).collect()
}

/// A doubt from an answer that is none about the credential: overload, failure, redirect, something that is no API.
fn doubt_of(provider: &str, answer: &Answer) -> ProbeResult {
    let status = answer.status;
    let (reason, what) = match status {
        429 => (Reason::RateLimited, "asks to slow down; the next probe waits"),
        408 => (Reason::Timeout, "waited too long for the request; it is tried again"),
        300..400 => (Reason::ProviderUnavailable, "redirects, which is not followed; check the endpoint"),
        500.. => (Reason::ProviderUnavailable, "fails; it is tried again"),
        _ => (Reason::ProviderUnavailable, "gives an answer that is not of its API; check the endpoint"),
    };
    let message = format!("{provider} answered {status}: it {what}");
    ProbeResult::Unknown(Doubt { reason, message, retry_after: answer.retry_after })
}

#[cfg(test)]
#[path = "environment_tests.rs"]
mod environment_tests;
