//! A credential as this room needs it.

use std::sync::Arc;

use crate::access::{self, endpoint_allowed};
use crate::api::{CloudCredentialSpec, Reason};
use crate::dns::Name;
use crate::installation::Installation;
use crate::ledger::{Ledger, Subject};
use crate::providers::{Http, Provider, Server};
use crate::{Error, Result};

/// A provider's server with a credential. Clones share it.
#[derive(Clone)]
pub struct Account {
    /// The credential.
    pub credential: Subject,
    /// The server, with the Secret's bytes.
    pub server: Arc<Server>,
    /// Keyed digest of the Secret's data and of the spec's provider block: another one is another account.
    pub digest: String,
}

/// Whether `spec.allowedDomains` of a credential hold this name. Left empty, they hold all.
pub fn permits(spec: &CloudCredentialSpec, name: &Name) -> bool {
    let domains = &spec.allowed_domains;
    domains.is_empty() || domains.iter().any(|domain| Name::parse(domain).is_ok_and(|domain| name.is_within(&domain)))
}

impl Account {
    /// Puts it together.
    pub fn new(credential: Subject, server: Server, digest: String) -> Self {
        Self { credential, server: Arc::new(server), digest }
    }

    /// Reads the Secret that a credential names. No provider is called. Whether the credential may be used, and whether it
    /// is good, is the caller's to know.
    ///
    /// # Errors
    /// `SecretNotFound`, `SecretKeyMissing`, `EndpointNotAllowed`, `UnsupportedByProvider` where the provider has no zones; or
    /// the API server's.
    pub async fn open(
        client: &kube::Client,
        installation: &Installation,
        http: &Http,
        ledger: &Ledger,
        credential: &Subject,
        spec: &CloudCredentialSpec,
    ) -> Result<Self> {
        let provider = Provider::of(spec);
        let provider = provider.ok_or_else(|| Error::Integrity("spec: name exactly one provider".into()))?;
        let secret = access::secret(client, &credential.namespace, provider.secret_name()).await?;
        let (field, endpoint) = provider.endpoint();
        let base = endpoint_allowed(installation, field, &endpoint).await?;
        let server = provider.dns(http, &base, &secret)?.ok_or_else(|| {
            let words = format!("{} has no zones for Landfall; refer to a credential for DNS", provider.name());
            Error::condition(Reason::UnsupportedByProvider, words)
        })?;
        Ok(Self::new(credential.clone(), server, ledger.proof_digest(&provider.proved(&secret))))
    }
}
