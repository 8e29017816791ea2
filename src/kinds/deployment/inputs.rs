//! All that a run is made of: the module, its variables, the credential's environment, the engine.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use unicode_normalization::is_nfc;
use uuid::Uuid;

use crate::access::{self, ConfigMapData, SecretText};
use crate::api::{
    CloudCredentialSpec, EngineKind, KeyReference, Reason, TerraformDeployment, TerraformDeploymentSpec, VariableSource,
};
use crate::kinds::Context;
use crate::ledger::runs::Run;
use crate::ledger::{CredentialFact, ObjectKind, Subject};
use crate::providers::Provider;
use crate::run::digest::sha256_hex;
use crate::run::protocol::Artifact;
use crate::run::state::is_flat;
use crate::terraform::source::{Declared, Module, check_outputs, check_value, check_variables};
use crate::{Error, Result};

/// What a run is made of. The values are secrets, all of them.
pub struct Inputs {
    /// One digest over everything that makes a plan another plan.
    pub digest: String,
    /// Keyed digest of the spec but for how pods stand, which makes no plan another one.
    pub spec_digest: String,
    /// The module as a tar.
    pub snapshot: Vec<u8>,
    /// JSON text by variable.
    pub variables: BTreeMap<String, SecretText>,
    /// Variables that came from Secrets.
    pub sensitive: BTreeSet<String>,
    /// Keyed digest over the variables.
    pub variables_hmac: String,
    /// The credential, if there is one.
    pub credential: Option<Credential>,
    /// Which engine.
    pub engine: EngineKind,
}

/// A credential that may be used now.
pub struct Credential {
    /// The object.
    pub subject: Subject,
    /// The account that the provider named.
    pub account: Option<String>,
    /// Where the engine would work with it: the account and the provider block. Where the provider names no account, the
    /// very Secret stands for it.
    whose: Value,
    /// What the engine finds in its environment.
    pub environment: BTreeMap<String, SecretText>,
}

/// Reads everything. The inner error is a condition of the object: something is missing or wrong.
///
/// # Errors
/// What may pass by itself: API server or ledger.
pub(super) async fn read(
    cx: &Context,
    object: &TerraformDeployment,
    last_applied: Option<&Run>,
) -> Result<Result<Inputs, (Reason, String)>> {
    match gather(cx, object, last_applied).await {
        Ok(inputs) => Ok(Ok(inputs)),
        Err(Error::Condition { reason, message }) => Ok(Err((reason, message))),
        Err(other) => Err(other),
    }
}

async fn gather(cx: &Context, object: &TerraformDeployment, last_applied: Option<&Run>) -> Result<Inputs> {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let (declared, snapshot) = module(cx, object, namespace, last_applied).await?;
    let (variables, sensitive) = variables(cx, object, namespace).await?;
    check_variables(&declared, variables.keys().map(String::as_str))?;
    // What is destroyed publishes nothing.
    if let (Some(outputs), None) = (&object.spec.outputs, &object.metadata.deletion_timestamp) {
        check_outputs(&declared, &outputs.include)?;
    }
    let credential = credential(cx, object, namespace).await?;
    let engine = engine(cx, object)?;
    let plain: BTreeMap<_, _> =
        variables.iter().map(|(k, v)| (k.as_str(), (v.expose(), sensitive.contains(k)))).collect();
    let canonical = zeroize::Zeroizing::new(canonical(&plain)?);
    let variables_hmac = cx.ledger.keys().digest("variables", &canonical);
    let mut made_of = json!({
        "module": sha256_hex(&snapshot),
        "variables": variables_hmac,
        "credential": credential.as_ref().map(|c| json!([c.subject.uid, c.whose])),
        "engine": engine,
        "region": object.spec.region,
    });
    // As a workload's identity it may stand for a credential.
    if let (Some(account), Some(all)) = (service_account(object), made_of.as_object_mut()) {
        all.insert("serviceAccount".to_owned(), account.into());
    }
    let digest = sha256_hex(&self::canonical(&made_of)?);
    let spec_digest = spec_digest(cx, object)?;
    Ok(Inputs { digest, spec_digest, snapshot, variables, sensitive, variables_hmac, credential, engine })
}

/// The service account that the spec names for its runs.
pub(super) fn service_account(object: &TerraformDeployment) -> Option<&str> {
    object.spec.runner.as_ref()?.service_account_name.as_deref()
}

fn spec_digest(cx: &Context, object: &TerraformDeployment) -> Result<String> {
    let spec = TerraformDeploymentSpec { runner: None, ..object.spec.clone() };
    let text = serde_json::to_vec(&spec).map_err(|e| Error::Integrity(format!("the spec as JSON: {e}")))?;
    Ok(cx.ledger.keys().digest("spec", &zeroize::Zeroizing::new(text)))
}

fn canonical(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json_canonicalizer::to_vec(value).map_err(|e| Error::Integrity(format!("canonical JSON: {e}")))
}

/// The module from the spec: what it declares, and its tar. A deployment that is being deleted goes on with what it applied last where the source is gone.
async fn module(
    cx: &Context,
    object: &TerraformDeployment,
    namespace: &str,
    last_applied: Option<&Run>,
) -> Result<(Declared, Vec<u8>)> {
    let given = |files: BTreeMap<String, Vec<u8>>| {
        let module = Module { files };
        Ok((module.check()?, module.to_tar()?))
    };
    let source = &object.spec.source;
    if let Some(files) = &source.inline {
        return given(files.iter().map(|(k, v)| (k.clone(), v.clone().into_bytes())).collect());
    }
    let Some(reference) = &source.config_map_ref else {
        return Err(Error::condition(Reason::SourceInvalid, "spec.source: set inline or configMapRef"));
    };
    if let Some(found) = access::config_map(&cx.client, namespace, &reference.name).await? {
        return given(found.data);
    }
    let stored = match last_applied.and_then(|r| r.plan) {
        Some(plan) if object.metadata.deletion_timestamp.is_some() => {
            cx.ledger.artifact(plan, Artifact::Snapshot).await?
        }
        _ => None,
    };
    match stored {
        Some(tar) => Ok((Module::stored(&tar)?, tar.to_vec())),
        None => Err(Error::condition(
            Reason::SourceNotFound,
            format!(
                "spec.source.configMapRef: there is no ConfigMap {:?} in namespace {namespace:?}; create it",
                reference.name
            ),
        )),
    }
}

/// The levels of a variable's value. Of what is nested a little deeper only a part can be read.
const DEEPEST: usize = 100;

type Variables = (BTreeMap<String, SecretText>, BTreeSet<String>);

async fn variables(cx: &Context, object: &TerraformDeployment, namespace: &str) -> Result<Variables> {
    let mut values = BTreeMap::new();
    let mut sensitive = BTreeSet::new();
    for (name, value) in &object.spec.variables {
        if !is_flat(value, DEEPEST) {
            return Err(Error::condition(
                Reason::SourceInvalid,
                format!(
                    "spec.variables.{name}: the value is nested deeper than {DEEPEST} levels; flatten it, or hand it over \
                     as text and let the module decode it"
                ),
            ));
        }
        let text = value.to_string();
        if !strings_are_nfc(value) {
            return Err(Error::condition(
                Reason::SourceInvalid,
                format!(
                    "spec.variables.{name}: the text is not in Unicode normal form C, which the engine would change silently"
                ),
            ));
        }
        values.insert(name.clone(), SecretText::new(text));
    }
    for (at, source) in object.spec.variables_from.iter().enumerate() {
        let Some(text) = variable_from(cx, namespace, at, source).await? else { continue };
        if values.insert(source.variable.clone(), text).is_some() {
            return Err(Error::condition(
                Reason::SourceInvalid,
                format!("spec.variablesFrom[{at}].as: variable {:?} is given twice; remove one", source.variable),
            ));
        }
        if source.secret_key_ref.is_some() {
            sensitive.insert(source.variable.clone());
        }
    }
    Ok((values, sensitive))
}

/// One variable as JSON text; `None` where it is optional and not there.
async fn variable_from(
    cx: &Context,
    namespace: &str,
    at: usize,
    source: &VariableSource,
) -> Result<Option<SecretText>> {
    let (found, from) = if let Some(key) = &source.secret_key_ref {
        let found = match access::secret(&cx.client, namespace, &key.name).await {
            Ok(secret) => secret.get(&key.key).map(|b| zeroize::Zeroizing::new(b.to_vec())).ok_or(Missing::Key),
            Err(Error::Condition { reason: Reason::SecretNotFound, .. }) => Err(Missing::Object),
            Err(other) => return Err(other),
        };
        (found, Given::Secret(key))
    } else if let Some(key) = &source.config_map_key_ref {
        let found = access::config_map(&cx.client, namespace, &key.name).await?.ok_or(Missing::Object);
        let bytes = |m: ConfigMapData| m.data.get(&key.key).map(|b| zeroize::Zeroizing::new(b.clone()));
        (found.and_then(|m| bytes(m).ok_or(Missing::Key)), Given::ConfigMap(key))
    } else {
        let text = format!("spec.variablesFrom[{at}]: set secretKeyRef or configMapKeyRef");
        return Err(Error::condition(Reason::SourceInvalid, text));
    };
    match found {
        Ok(bytes) => {
            let text = check_value(&source.variable, &bytes)?;
            Ok(Some(SecretText::new(serde_json::to_string(text).map_err(|e| Error::Integrity(e.to_string()))?)))
        }
        Err(_) if source.optional => Ok(None),
        Err(missing) => Err(from.lacks(missing, at, namespace)),
    }
}

/// What a variable is read from.
enum Given<'a> {
    Secret(&'a KeyReference),
    ConfigMap(&'a KeyReference),
}

/// What of it is not there.
enum Missing {
    Object,
    Key,
}

impl Given<'_> {
    /// A condition that names the field, the object and the next step.
    fn lacks(&self, missing: Missing, at: usize, namespace: &str) -> Error {
        let (field, kind, KeyReference { name, key }) = match self {
            Self::Secret(of) => ("secretKeyRef", "Secret", of),
            Self::ConfigMap(of) => ("configMapKeyRef", "ConfigMap", of),
        };
        let reason = match (self, &missing) {
            (Self::Secret(_), Missing::Object) => Reason::SecretNotFound,
            (Self::Secret(_), Missing::Key) => Reason::SecretKeyMissing,
            (Self::ConfigMap(_), _) => Reason::SourceNotFound,
        };
        let (what, next) = match missing {
            Missing::Object => (format!("there is no {kind} {name:?}"), format!("create it with the key {key:?}")),
            Missing::Key => (format!("{kind} {name:?} has no key {key:?}"), "add it".to_owned()),
        };
        let text = format!(
            "spec.variablesFrom[{at}].{field}: {what} in namespace {namespace:?}; {next}, or set optional: true"
        );
        Error::condition(reason, text)
    }
}

fn strings_are_nfc(value: &Value) -> bool {
    match value {
        Value::String(text) => is_nfc(text),
        Value::Array(items) => items.iter().all(strings_are_nfc),
        Value::Object(map) => map.iter().all(|(k, v)| is_nfc(k) && strings_are_nfc(v)),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

async fn credential(cx: &Context, object: &TerraformDeployment, namespace: &str) -> Result<Option<Credential>> {
    let Some(reference) = &object.spec.credential_ref else { return Ok(None) };
    let named = ("spec.credentialRef", reference);
    let found = access::resolve_credential(&cx.client, cx.cluster, &cx.stores.credentials, namespace, named).await?;
    let home = found.metadata.namespace.as_deref().unwrap_or_default();
    let uid = found.metadata.uid.as_deref().and_then(|u| Uuid::try_parse(u).ok()).unwrap_or_default();
    let name = found.metadata.name.clone().unwrap_or_default();
    let fact = cx.ledger.credential_fact(cx.cluster, uid).await?;
    let fact = proved(&name, found.spec.expected_account.as_deref(), fact)?;
    let provider = provider(&found.spec)?;
    let secret = access::secret(&cx.client, home, provider.secret_name()).await?;
    // What was proved is these bytes under this provider block, and no others.
    if fact.secret_digest.as_deref() != Some(cx.ledger.proof_digest(&provider.proved(&secret)).as_str()) {
        return Err(not_ready(&name, "or its Secret has changed and is not proved yet"));
    }
    let identity = fact.account.as_ref().or(fact.secret_digest.as_ref());
    let whose = json!({"identity": identity, "provider": provider.block()});
    Ok(Some(Credential {
        subject: Subject {
            organization: access::organization(&cx.client, cx.cluster, home).await?,
            cluster: cx.cluster,
            kind: ObjectKind::CloudCredential,
            uid,
            namespace: home.to_owned(),
            name,
        },
        account: fact.account,
        whose,
        environment: provider.environment(&secret, object.spec.region.as_deref())?,
    }))
}

/// What is known of a credential, if it is proved, and for the account that its spec expects now.
fn proved(name: &str, expected: Option<&str>, fact: Option<CredentialFact>) -> Result<CredentialFact> {
    let account = fact.as_ref().and_then(|fact| fact.account.as_deref());
    let another = expected.is_some() && account != expected;
    let valid = fact.as_ref().is_some_and(|fact| matches!(fact.state.as_str(), "Valid" | "StaleOk"));
    // The cause is told where it is known, and not only that there is one.
    if another && (valid || account.is_some()) {
        return Err(not_ready(name, "is not proved for the account that it expects"));
    }
    match fact.filter(|_| valid) {
        Some(fact) => Ok(fact),
        None => Err(not_ready(name, "is not valid (yet); see its condition Valid")),
    }
}

fn not_ready(name: &str, why: &str) -> Error {
    Error::condition(Reason::CredentialNotReady, format!("spec.credentialRef: CloudCredential {name:?} {why}"))
}

fn provider(spec: &CloudCredentialSpec) -> Result<Provider<'_>> {
    Provider::of(spec).ok_or_else(|| {
        Error::condition(Reason::CredentialNotReady, "spec.credentialRef: the credential names no provider")
    })
}

/// The engine that the spec asks for, if the installation has a binary of it.
fn engine(cx: &Context, object: &TerraformDeployment) -> Result<EngineKind> {
    let wanted = object.spec.engine.as_ref();
    let kind = wanted.map_or(cx.installation.default_engine, |e| e.kind);
    cx.engines.check(kind, wanted.and_then(|e| e.version.as_deref()))?;
    Ok(kind)
}
