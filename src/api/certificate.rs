//! `Certificate`: a key and a certificate for names of proved domains, in a Secret, renewed in time.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{EMAIL, HTTP_URL, OBJECT_NAME, PRINTABLE, at_least_a_second, rule, rule_at};
use super::{Condition, DurationText, LastHandled, LocalReference};

/// A key and a certificate for names of proved domains, in a Secret, renewed in time.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "landfall.dev",
    version = "v1alpha1",
    kind = "Certificate",
    plural = "certificates",
    shortname = "lcert",
    category = "landfall",
    namespaced,
    status = "CertificateStatus",
    derive = "PartialEq",
    doc = "A key and a certificate for names of proved domains, in a Secret, renewed in time.",
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name": "Secret", "type": "string", "jsonPath": ".spec.secretName"}"#,
    printcolumn = r#"{"name": "Issuer", "type": "string", "jsonPath": ".status.issuer"}"#,
    printcolumn = r#"{"name": "Expires", "type": "string", "jsonPath": ".status.notAfter"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "Message", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].message", "priority": 1}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule_at(
        ".secretName",
        "has(self.issuer.imported) || has(self.secretName)",
        "secretName is needed: the Secret that is to hold the pair",
    ),
    rule_at(
        ".secretName",
        "!has(self.issuer.imported) || !has(self.secretName) || self.secretName == self.issuer.imported.secretRef.name",
        "with issuer.imported nothing is written: leave secretName out, or name the Secret of issuer.imported.secretRef",
    ),
    rule_at(
        ".secretName",
        "!has(self.issuer.ca) || !has(self.secretName) || self.secretName != self.issuer.ca.secretRef.name",
        "secretName must not be the Secret of the CA",
    ),
    rule_at(
        ".revokeOnDelete",
        "!self.revokeOnDelete || has(self.issuer.acme)",
        "revokeOnDelete needs issuer.acme: of other issuers, no CA is told of a revocation",
    ),
    rule_at(
        ".renewal.before",
        "!has(self.renewal.before) || duration(self.renewal.before) < duration(self.duration)",
        "renewal.before must be less than duration",
    ),
]))]
pub struct CertificateSpec {
    /// The names, each within a proved domain of the organization; `*` as a whole leftmost label.
    #[schemars(
        length(min = 1, max = 100),
        inner(length(min = 1, max = 253), regex(pattern = PRINTABLE)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub dns_names: Vec<String>,
    /// The Secret of this namespace that is to hold the pair. It is made, owned and written by this object alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = OBJECT_NAME))]
    pub secret_name: Option<String>,
    /// Who signs.
    pub issuer: CertificateIssuer,
    /// The key that is made.
    #[serde(default)]
    pub private_key: PrivateKeySettings,
    /// How long a certificate is to live. Has no meaning for `acme` and `imported`.
    #[serde(default = "ninety_days")]
    #[schemars(extend("x-kubernetes-validations" = [rule("duration(self) >= duration('1h')", "must be at least 1h")]))]
    pub duration: DurationText,
    /// When to issue the next.
    #[serde(default)]
    pub renewal: RenewalSettings,
    /// Whether the certificate in use is revoked before this object goes. The deletion waits for the CA.
    #[serde(default)]
    pub revoke_on_delete: bool,
    /// Nothing is issued or revoked while true.
    #[serde(default)]
    pub suspend: bool,
}

/// Exactly one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rule(
    "[has(self.acme), has(self.ca), has(self.selfSigned), has(self.imported)].filter(x, x).size() == 1",
    "exactly one issuer is needed: acme, ca, selfSigned or imported",
)]))]
pub struct CertificateIssuer {
    /// A CA that is asked by ACME.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acme: Option<AcmeIssuer>,
    /// A CA of one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<SecretIssuer>,
    /// The certificate's own key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_signed: Option<SelfSignedIssuer>,
    /// Somebody else: the pair is brought, checked and watched, and never written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<SecretIssuer>,
}

/// A CA that is asked by ACME (RFC 8555); names are proved in DNS (dns-01).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcmeIssuer {
    /// URL of the CA's directory, public or one that the installation allows.
    #[schemars(length(max = 2048), regex(pattern = HTTP_URL))]
    pub server: String,
    /// Address by which the CA reaches people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 254), regex(pattern = EMAIL))]
    pub email: Option<String>,
    /// One of the CA's profiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = PRINTABLE))]
    pub profile: Option<String>,
    /// Of several chains, that of the issuer with this common name; the CA's own choice where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = PRINTABLE))]
    pub preferred_chain: Option<String>,
    /// PEM of the roots by which the CA's own https certificate is trusted, and of no others. The system's where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536), regex(pattern = PRINTABLE))]
    pub ca_bundle: Option<String>,
    /// The account of another kind that the CA wants accounts bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_account_binding: Option<ExternalAccountBinding>,
}

/// What the CA gave by another way. Secret key: `hmac_key`, in base64url.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalAccountBinding {
    /// Id of the key.
    #[schemars(length(min = 1, max = 256), regex(pattern = PRINTABLE))]
    pub key_id: String,
    /// Secret of this namespace.
    pub secret_ref: LocalReference,
}

/// A Secret with `tls.crt` and `tls.key`; `ca.crt` is optional.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretIssuer {
    /// Secret of this namespace.
    pub secret_ref: LocalReference,
}

/// Nothing is to be said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SelfSignedIssuer {}

/// The key that is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule_at(
        ".size",
        "!has(self.size) || self.algorithm != 'ECDSA' || self.size in [256, 384]",
        "with ECDSA, size must be 256 or 384",
    ),
    rule_at(
        ".size",
        "!has(self.size) || self.algorithm != 'RSA' || self.size in [2048, 3072, 4096]",
        "with RSA, size must be 2048, 3072 or 4096",
    ),
]))]
pub struct PrivateKeySettings {
    /// `ECDSA` or `RSA`.
    #[serde(default)]
    pub algorithm: KeyAlgorithm,
    /// Bits: 256 (default) or 384 for ECDSA; 2048 (default), 3072 or 4096 for RSA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<i32>,
    /// `Always`: each certificate has a new key. `Never`: the key stays as long as it fits.
    #[serde(default)]
    pub rotation_policy: RotationPolicy,
}

impl Default for PrivateKeySettings {
    fn default() -> Self {
        Self { algorithm: KeyAlgorithm::Ecdsa, size: None, rotation_policy: RotationPolicy::Always }
    }
}

/// What keys are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyAlgorithm {
    /// P-256 or P-384.
    #[default]
    #[serde(rename = "ECDSA")]
    Ecdsa,
    /// 2048 to 4096 bits.
    #[serde(rename = "RSA")]
    Rsa,
}

/// Whether a renewed certificate has a new key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RotationPolicy {
    /// A new one each time.
    #[default]
    Always,
    /// The one that stands, as long as it fits.
    Never,
}

/// When to issue the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenewalSettings {
    /// `Automatic`: in time. `Manual`: when somebody says so.
    #[serde(default)]
    pub policy: RenewalPolicy,
    /// How long before the end; left out, after two thirds of the life, or half of one of ten days or less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = at_least_a_second()))]
    pub before: Option<DurationText>,
}

/// Who says when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RenewalPolicy {
    /// The clock.
    #[default]
    Automatic,
    /// A person.
    Manual,
}

fn ninety_days() -> DurationText {
    DurationText("2160h".into())
}

/// What the Secret holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// Generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// From when the certificate is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// When the next is issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal_time: Option<String>,
    /// Lower-case hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// SHA-256 of the certificate, lower-case hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint_sha256: Option<String>,
    /// Who signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The names that it is for, in canonical form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_names: Vec<String>,
    /// What is known of the CA, where the issuer is one by ACME.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acme: Option<AcmeStatus>,
    /// The last certificate of this object that was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<CertificateRevocation>,
    /// What was taken of each command annotation.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub last_handled: LastHandled,
    /// `Ready`, `Issuing`, `Revoked`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::common::readable")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
}

/// The last order at a CA, and when it would have the certificate in use renewed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcmeStatus {
    /// The CA's name for the last order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_url: Option<String>,
    /// The CA's name for the account that it was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The proofs that stand in DNS for it, or are about to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub challenges: Vec<AcmeChallengeStatus>,
    /// When the CA would have the certificate in use renewed (RFC 9773), where it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ari: Option<RenewalInfoStatus>,
}

/// A proof that a CA asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcmeChallengeStatus {
    /// The name that is proved; of a wildcard, what stands below `*`.
    pub domain: String,
    /// `Dns01`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `Pending`: not in DNS yet. `Presented`: there, and its servers may not all have it. `Validating`: the CA looks at it.
    /// `Valid`: the CA found it. `Failed`: the order came to nothing. The last two stand until DNS is cleaned up.
    pub state: String,
}

/// When a CA would have a certificate renewed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenewalInfoStatus {
    /// Between these times.
    pub window: RenewalWindow,
    /// Page that says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation_url: Option<String>,
}

/// From when, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenewalWindow {
    /// From when.
    pub start: String,
    /// Until when.
    pub end: String,
}

/// A certificate that its CA has revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRevocation {
    /// Lower-case hex.
    pub serial_number: String,
    /// The reason that the CA was told.
    pub reason: String,
    /// When the CA said that it is.
    pub time: String,
}

/// Why a certificate is revoked: what a subscriber may say of the reasons of RFC 5280, 5.3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RevocationReason {
    /// Nothing is said.
    Unspecified,
    /// Somebody else has the private key, or may have it.
    KeyCompromise,
    /// The names, or who has them, are called otherwise now.
    AffiliationChanged,
    /// Another certificate stands for it.
    Superseded,
    /// The names are no longer served.
    CessationOfOperation,
}

impl RevocationReason {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
    ];

    /// As RFC 5280 spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
        }
    }

    /// Its code there.
    pub const fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
        }
    }

    /// The reason of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}
