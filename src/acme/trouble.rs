//! Why a CA did not do what it was asked, and when to ask again.

use std::time::Duration;

use http::StatusCode;
use instant_acme::Problem;

use super::wire::Seen;
use crate::access::text;

/// The longest sentence of a CA that is passed on, bytes.
const SENTENCE: usize = 500;

/// What was in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The CA could not look the name up, or did not find the challenge.
    DnsNotReady,
    /// The CA asks to be left alone for a while.
    RateLimited,
    /// What the CA found does not prove the name, or the account may not ask for it.
    Unauthorized,
    /// A CAA record forbids this CA to issue for the name.
    Caa,
    /// The CA issues nothing for such a name.
    RejectedIdentifier,
    /// The certificate that was to be replaced was replaced before.
    AlreadyReplaced,
    /// The certificate is revoked already.
    AlreadyRevoked,
    /// The CA does not know the account, or has closed it.
    AccountGone,
    /// The CA does not know the order, or what belongs to it.
    NotFound,
    /// The CA wants the account bound to one that it gave by another way, or does not take this binding.
    ExternalAccount,
    /// The CA wants a person to do something; its words say what.
    ActionRequired,
    /// The CA does not offer this.
    Unsupported,
    /// The CA does not take the request as it is, nor will it later.
    Malformed,
    /// The order is not ready for this yet.
    OrderNotReady,
    /// The CA failed, or sent what is no answer.
    Server,
    /// No answer in time.
    Timeout,
    /// The installation does not let Landfall call this address.
    EndpointNotAllowed,
}

/// How soon it may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// After 10 seconds, and then twice as long each time, up to 5 minutes.
    Soon,
    /// After 15 minutes, and then twice as long each time, up to a day: it costs at the CA, and seldom passes by itself.
    Late,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::DnsNotReady,
        Self::RateLimited,
        Self::Unauthorized,
        Self::Caa,
        Self::RejectedIdentifier,
        Self::AlreadyReplaced,
        Self::AlreadyRevoked,
        Self::AccountGone,
        Self::NotFound,
        Self::ExternalAccount,
        Self::ActionRequired,
        Self::Unsupported,
        Self::Malformed,
        Self::OrderNotReady,
        Self::Server,
        Self::Timeout,
        Self::EndpointNotAllowed,
    ];

    /// How soon it may be tried again.
    pub const fn pace(self) -> Pace {
        match self {
            Self::DnsNotReady
            | Self::RateLimited
            | Self::AlreadyReplaced
            | Self::AlreadyRevoked
            | Self::AccountGone
            | Self::NotFound
            | Self::OrderNotReady
            | Self::Server
            | Self::Timeout => Pace::Soon,
            Self::Unauthorized
            | Self::Caa
            | Self::RejectedIdentifier
            | Self::ExternalAccount
            | Self::ActionRequired
            | Self::Unsupported
            | Self::Malformed
            | Self::EndpointNotAllowed => Pace::Late,
        }
    }

    /// The reverse of [`Self::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == word)
    }

    /// The word in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DnsNotReady => "DnsNotReady",
            Self::RateLimited => "RateLimited",
            Self::Unauthorized => "Unauthorized",
            Self::Caa => "Caa",
            Self::RejectedIdentifier => "RejectedIdentifier",
            Self::AlreadyReplaced => "AlreadyReplaced",
            Self::AlreadyRevoked => "AlreadyRevoked",
            Self::AccountGone => "AccountGone",
            Self::NotFound => "NotFound",
            Self::ExternalAccount => "ExternalAccount",
            Self::ActionRequired => "ActionRequired",
            Self::Unsupported => "Unsupported",
            Self::Malformed => "Malformed",
            Self::OrderNotReady => "OrderNotReady",
            Self::Server => "Server",
            Self::Timeout => "Timeout",
            Self::EndpointNotAllowed => "EndpointNotAllowed",
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a CA did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What was in the way.
    pub cause: Cause,
    /// The CA's own words, or what happened on the way to it; in one line, capped.
    pub message: String,
    /// How long the CA asks to be left alone.
    pub retry_after: Option<Duration>,
    /// Whether the CA may have done it all the same.
    pub may_have_landed: bool,
}

impl Trouble {
    /// One that surely changed nothing at the CA.
    pub fn new(cause: Cause, message: impl AsRef<str>) -> Self {
        let message = text::line(message.as_ref(), SENTENCE);
        Self { cause, message, retry_after: None, may_have_landed: false }
    }

    /// How long to wait before the same is asked again, where it failed `failures` times in a row, this time included.
    /// Never less than the CA asks for.
    pub fn pause(&self, failures: u32) -> Duration {
        let (first, longest) = match self.cause.pace() {
            Pace::Soon => (Duration::from_secs(10), Duration::from_secs(5 * 60)),
            Pace::Late => (Duration::from_secs(15 * 60), Duration::from_secs(24 * 3600)),
        };
        let doubled = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let pause = first.saturating_mul(doubled).min(longest);
        pause.max(self.retry_after.unwrap_or_default())
    }

    /// What an answer of the library means, by what was seen on the wire.
    pub(super) fn of(error: &instant_acme::Error, seen: &Seen) -> Self {
        match error {
            instant_acme::Error::Api(problem) => Self::of_problem(problem, seen),
            instant_acme::Error::Unsupported(what) => {
                Self::new(Cause::Unsupported, format!("the CA does not offer {what}"))
            }
            other => Self::of_wire(&other.to_string(), seen),
        }
    }

    /// The problem document of an answer.
    pub(super) fn of_problem(problem: &Problem, seen: &Seen) -> Self {
        let status = problem.status.or(seen.status).unwrap_or_default();
        let word = problem.r#type.as_deref().unwrap_or_default();
        let inner = problem.subproblems.iter().filter_map(|p| p.r#type.as_deref()).map(|word| cause_of(word, 0)).next();
        let cause = match cause_of(word, status) {
            Cause::Malformed => inner.unwrap_or(Cause::Malformed),
            cause => cause,
        };
        Self {
            retry_after: seen.retry_after,
            may_have_landed: status >= 500,
            ..Self::new(cause, format!("the CA says: {}", words(problem)))
        }
    }

    /// No problem document: no answer, or one that is none.
    pub(super) fn of_wire(what: &str, seen: &Seen) -> Self {
        if let Some(refused) = &seen.refused {
            return refused.clone();
        }
        let status = seen.status.unwrap_or_default();
        let cause = match status {
            429 => Cause::RateLimited,
            404 => Cause::NotFound,
            0 | 200..400 | 408 | 500.. => Cause::Server,
            _ => Cause::Malformed,
        };
        Self {
            retry_after: seen.retry_after,
            may_have_landed: !(400..500).contains(&status),
            ..Self::new(cause, format!("the CA answered {status} and no document of ACME ({what})"))
        }
    }
}

/// What a type of problem means; where it is none that is known, the status decides.
fn cause_of(word: &str, status: u16) -> Cause {
    match word.strip_prefix("urn:ietf:params:acme:error:").unwrap_or_default() {
        "dns" | "connection" => Cause::DnsNotReady,
        "rateLimited" => Cause::RateLimited,
        "unauthorized" | "incorrectResponse" | "tls" => Cause::Unauthorized,
        "caa" => Cause::Caa,
        "rejectedIdentifier" | "unsupportedIdentifier" => Cause::RejectedIdentifier,
        "alreadyReplaced" => Cause::AlreadyReplaced,
        "alreadyRevoked" => Cause::AlreadyRevoked,
        "accountDoesNotExist" => Cause::AccountGone,
        "externalAccountRequired" => Cause::ExternalAccount,
        "userActionRequired" => Cause::ActionRequired,
        "orderNotReady" => Cause::OrderNotReady,
        "badNonce" | "serverInternal" => Cause::Server,
        _ => match StatusCode::from_u16(status) {
            Ok(StatusCode::NOT_FOUND) => Cause::NotFound,
            Ok(StatusCode::TOO_MANY_REQUESTS) => Cause::RateLimited,
            Ok(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Cause::Unauthorized,
            Ok(status) if status.is_server_error() => Cause::Server,
            _ => Cause::Malformed,
        },
    }
}

/// What the problem tells, of each name included.
fn words(problem: &Problem) -> String {
    let short =
        |word: &Option<String>| word.as_deref().and_then(|w| w.rsplit(':').next()).unwrap_or("problem").to_owned();
    let mut told = format!("{} ({})", problem.detail.as_deref().unwrap_or("no detail"), short(&problem.r#type));
    for part in &problem.subproblems {
        let whose = part.identifier.as_ref().map(|i| i.authorized(false).to_string()).unwrap_or_default();
        told += &format!("; {whose}: {} ({})", part.detail.as_deref().unwrap_or("no detail"), short(&part.r#type));
    }
    told
}

#[cfg(test)]
#[path = "trouble_tests.rs"]
mod tests;
