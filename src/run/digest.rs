//! The plan digest: what an approval names. Everything that decides what an apply will do goes into it, so that two plans
//! have one digest only when they are the same plan.

use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::api::{Change, EngineKind};
use crate::{Error, Result};

/// The form of the hashed document; a change of the fields is another form.
const FORM: &str = "landfall.dev/plan-digest/1";

/// All that an approval binds. `i64` travel as strings: JCS numbers are doubles, which merge integers above 2^53.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DigestInput {
    /// The cluster that holds the object.
    pub cluster: Uuid,
    /// The deployment.
    pub uid: Uuid,
    /// Its generation when the plan was made.
    #[serde(serialize_with = "as_text")]
    pub generation: i64,
    /// The run that made the plan.
    pub run: Uuid,
    /// Whether the plan builds or destroys.
    pub change: Change,
    /// SHA-256 of the plan file, hex.
    pub plan_sha256: String,
    /// SHA-256 of the plan's JSON, hex.
    pub plan_json_sha256: String,
    /// SHA-256 of the module as planned, hex.
    pub snapshot_sha256: String,
    /// SHA-256 of the provider lock file, hex; none where init wrote none.
    pub lock_file_sha256: Option<String>,
    /// Keyed digest of the variables' exact bytes.
    pub variables_hmac: String,
    /// Whose credential the engine had.
    pub credential: Option<CredentialFact>,
    /// Where the state is kept.
    pub backend: String,
    /// Resource addresses that the plan was limited to.
    pub targets: Vec<String>,
    /// Lineage of the state that the plan was made on.
    pub lineage: Option<String>,
    /// Serial of that state, 0 for none.
    #[serde(serialize_with = "as_text")]
    pub serial: i64,
    /// Which engine made the plan.
    pub engine: EngineFact,
}

/// Whose credential the engine had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CredentialFact {
    /// The CloudCredential.
    pub uid: Uuid,
    /// The account that its last proof named.
    pub account: Option<String>,
}

/// Which engine made the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EngineFact {
    /// OpenTofu or Terraform.
    pub kind: EngineKind,
    /// Its full version.
    pub version: String,
}

fn as_text<S: serde::Serializer>(value: &i64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

/// `sha256:<64 hex>` over the RFC 8785 form of the input.
///
/// # Errors
/// Only where the input cannot be written as JSON, which its types do not permit.
pub fn plan_digest(input: &DigestInput) -> Result<String> {
    #[derive(Serialize)]
    struct Document<'a> {
        form: &'static str,
        plan: &'a DigestInput,
    }
    let text = serde_json_canonicalizer::to_vec(&Document { form: FORM, plan: input })
        .map_err(|e| Error::Integrity(format!("plan digest: {e}")))?;
    Ok(format!("sha256:{}", sha256_hex(&text)))
}

/// SHA-256 in hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::type_complexity)]
mod tests {
    use super::*;

    fn input() -> DigestInput {
        DigestInput {
            cluster: Uuid::from_u128(1),
            uid: Uuid::from_u128(2),
            generation: 3,
            run: Uuid::from_u128(4),
            change: Change::Apply,
            plan_sha256: sha256_hex(b"plan"),
            plan_json_sha256: sha256_hex(b"{}"),
            snapshot_sha256: sha256_hex(b"tar"),
            lock_file_sha256: None,
            variables_hmac: "hmac-sha256:00".into(),
            credential: Some(CredentialFact { uid: Uuid::from_u128(5), account: Some("000000000000".into()) }),
            backend: "landfall".into(),
            targets: Vec::new(),
            lineage: None,
            serial: 0,
            engine: EngineFact { kind: EngineKind::OpenTofu, version: "1.12.6".into() },
        }
    }

    #[test]
    fn the_digest_of_a_known_plan_is_what_it_has_always_been() {
        assert_eq!(
            plan_digest(&input()).unwrap(),
            "sha256:c6eaa317633c6f6eb78a6a237f877e07943027f77510c26e6f24f98b7245f84c"
        );
    }

    #[test]
    fn a_change_of_any_one_field_is_another_plan() {
        let changes: [fn(&mut DigestInput); 19] = [
            |i| i.cluster = Uuid::from_u128(9),
            |i| i.uid = Uuid::from_u128(9),
            |i| i.generation = 9,
            |i| i.run = Uuid::from_u128(9),
            |i| i.change = Change::Destroy,
            |i| i.plan_sha256 = sha256_hex(b"another"),
            |i| i.plan_json_sha256 = sha256_hex(b"another"),
            |i| i.snapshot_sha256 = sha256_hex(b"another"),
            |i| i.lock_file_sha256 = Some(sha256_hex(b"lock")),
            |i| i.variables_hmac = "hmac-sha256:01".into(),
            |i| i.credential = None,
            |i| i.credential.as_mut().unwrap().uid = Uuid::from_u128(9),
            |i| i.credential.as_mut().unwrap().account = None,
            |i| i.backend = "elsewhere".into(),
            |i| i.targets = vec!["a.b".into()],
            |i| i.lineage = Some("l".into()),
            |i| i.serial = 1,
            |i| i.engine.kind = EngineKind::Terraform,
            |i| i.engine.version = "1.12.7".into(),
        ];
        let mut seen = std::collections::BTreeSet::from([plan_digest(&input()).unwrap()]);
        for change in changes {
            let mut other = input();
            change(&mut other);
            assert!(seen.insert(plan_digest(&other).unwrap()), "{other:?}");
        }
    }

    #[test]
    fn serials_beyond_what_a_double_holds_stay_apart() {
        let (mut a, mut b) = (input(), input());
        a.serial = (1 << 53) + 1;
        b.serial = 1 << 53;
        assert_ne!(plan_digest(&a).unwrap(), plan_digest(&b).unwrap());
    }
}
