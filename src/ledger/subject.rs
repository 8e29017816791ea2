//! Whose an object is, what it is, and who acted.

use uuid::Uuid;

use crate::api::Organization;

/// The kinds that the ledger knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// A proof of identity at a provider.
    CloudCredential,
    /// A module, kept applied.
    TerraformDeployment,
    /// A domain that an organization holds.
    OrganizationDomain,
    /// A record set.
    DnsRecord,
    /// A certificate.
    Certificate,
}

impl ObjectKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::CloudCredential,
        Self::TerraformDeployment,
        Self::OrganizationDomain,
        Self::DnsRecord,
        Self::Certificate,
    ];

    /// The Kubernetes kind, which is also the word in the tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CloudCredential => "CloudCredential",
            Self::TerraformDeployment => "TerraformDeployment",
            Self::OrganizationDomain => "OrganizationDomain",
            Self::DnsRecord => "DnsRecord",
            Self::Certificate => "Certificate",
        }
    }

    /// The reverse of [`Self::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// One object of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// Whose it is.
    pub organization: Organization,
    /// The cluster's id.
    pub cluster: Uuid,
    /// Its kind.
    pub kind: ObjectKind,
    /// `metadata.uid`.
    pub uid: Uuid,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

/// Who did something. What is not known is recorded as unknown, never guessed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// An authenticated user of the API server, by admission.
    User(String),
    /// A field manager: what an object tells of its last writer. Not verified.
    FieldManager(String),
    /// The leading controller, by its holder identity.
    Controller(String),
    /// The runner of this run.
    Runner(Uuid),
    /// Nobody knows.
    Unknown,
}

impl Actor {
    /// Who, in the words of the one that vouches for it.
    pub fn name(&self) -> Option<String> {
        match self {
            Self::User(name) | Self::FieldManager(name) | Self::Controller(name) => Some(name.clone()),
            Self::Runner(run) => Some(run.to_string()),
            Self::Unknown => None,
        }
    }

    /// How far the name can be trusted.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::FieldManager(_) => "field-manager-unverified",
            Self::Controller(_) => "controller",
            Self::Runner(_) => "runner",
            Self::Unknown => "unknown",
        }
    }
}

/// Something that happened to an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// To what.
    pub subject: Subject,
    /// By whom.
    pub actor: Actor,
    /// What: `plan.created`, `apply.started`, …
    pub action: &'static str,
    /// The rest. Never a secret. Stored through [`super::json::storable`].
    pub details: serde_json::Value,
}
