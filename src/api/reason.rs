//! The words in conditions, each with its class.

/// How to go on when something is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// May pass by itself: try again with backoff.
    Transient,
    /// Waits for something that wakes the object: a Secret, another object, a person.
    Blocked,
    /// Only a change of the spec helps.
    Terminal,
}

/// Defines [`Reason`]: the word, its class, what it means.
macro_rules! reasons {
    ($($word:ident, $class:ident, $doc:literal;)*) => {
        /// Why a condition is what it is. The names are part of the contract with users.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum Reason { $(#[doc = $doc] $word,)* }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$word,)*];

            /// The CamelCase word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$word => stringify!($word),)* }
            }

            /// How to go on when an object stands at this reason.
            pub const fn class(self) -> Class {
                match self { $(Self::$word => Class::$class,)* }
            }

            /// One sentence for the documentation.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$word => $doc,)* }
            }
        }
    };
}

reasons! {
    // every kind
    Ready, Blocked, "The world is what the spec says.";
    Suspended, Blocked, "`spec.suspend` is true: no new effects.";
    RefNotPermitted, Blocked, "A reference leads where the target's `allowedNamespaces` or the organization does not permit.";
    LedgerUnavailable, Transient, "Postgres is away: nothing is changed until it is back.";
    ApiServerUnavailable, Transient, "The API server did not answer.";
    ApiServerRefused, Transient, "The API server refused the call; its words are in the message.";
    Forbidden, Transient, "The controller's role in the cluster or in Postgres lacks a right; the message names it.";
    Deposed, Terminal, "Another replica leads now.";
    InputOutput, Transient, "A file or process of the controller's machine failed.";
    IntegrityViolation, Terminal, "Stored data is damaged or a key is missing.";
    InvalidUsage, Terminal, "A command line leaves something open, or names what cannot be used. In no condition.";
    InUse, Blocked, "The deletion waits for the objects that refer to it.";
    EndpointNotAllowed, Terminal, "The endpoint is neither public nor on the installation's list.";
    GateNotInstalled, Blocked, "The admission policies are missing or changed: no command annotation is taken.";
    Progressing, Transient, "Work is under way.";

    // CloudCredential
    Valid, Blocked, "The provider proved the credential.";
    StaleOk, Transient, "The provider is away; the last proof is within the grace.";
    InvalidCredentials, Blocked, "The provider refused the credential.";
    Expired, Blocked, "The credential has expired.";
    InsufficientPermissions, Blocked, "The credential lives but lacks a right.";
    AccountMismatch, Blocked, "The credential belongs to another account than `expectedAccount`.";
    SecretNotFound, Blocked, "The Secret does not exist.";
    SecretKeyMissing, Blocked, "The Secret lacks a key, or the key is empty.";
    RateLimited, Transient, "The provider asked to slow down.";
    ProviderUnavailable, Transient, "The provider failed or sent something that is no answer.";
    Timeout, Transient, "A phase or call took longer than it may.";
    ClockSkew, Transient, "The provider finds our clock wrong.";
    IpNotAllowed, Blocked, "The provider does not accept this network address.";
    NotProbed, Transient, "No probe has been made yet.";

    // TerraformDeployment
    Planned, Blocked, "`PlanOnly`, and the plan is current.";
    Applied, Blocked, "The last plan was applied.";
    NoChanges, Blocked, "The plan found nothing to change.";
    SourceNotFound, Blocked, "The ConfigMap of the source or of a variable does not exist, or lacks the key; the message names it.";
    SourceInvalid, Blocked, "The source, or a variable, is not acceptable; the message names it.";
    CredentialNotReady, Blocked, "The credential is not valid yet.";
    DependencyNotReady, Blocked, "An object that this one goes by has not what is needed yet; the message names it.";
    InitFailed, Transient, "`init` failed; the engine's first error is in the message.";
    PlanFailed, Transient, "`plan` failed; the engine's first error is in the message.";
    ApprovalRequired, Blocked, "A plan waits for approval.";
    ApprovalStale, Blocked, "The approval names another plan than the current one.";
    GuardrailBreached, Blocked, "The plan destroys, replaces or forgets more than the guardrails permit; a resource whose creation failed counts as replaced.";
    ApplyFailed, Transient, "`apply` failed; the engine's first error is in the message.";
    DestroyFailed, Transient, "`destroy` failed; the engine's first error is in the message.";
    StateLocked, Transient, "Another holder has the state's lock.";
    StateFound, Blocked, "A state exists under this name, to be adopted with `spec.state.adopt`; or it stands under the organization that the namespace was of before.";
    StateRegressed, Blocked, "The database is older than what was acknowledged: a state, or the log by its anchor.";
    StalePlan, Transient, "The state moved after the plan; a new plan follows.";
    RetriesExhausted, Blocked, "No more automatic attempts; retry by annotation or change the spec.";
    Interrupted, Blocked, "A run died in mid-apply; its leftovers are in the inventory.";
    Cancelled, Blocked, "The run was cancelled.";
    OutputsSecretNotOwned, Blocked, "The outputs' Secret belongs to somebody else.";
    ExecutorNotPermitted, Blocked, "The executor does not permit this run.";
    RunnerNotStarted, Blocked, "The pod of a run does not begin: its image, its place, its rights.";
    EngineNotFound, Blocked, "No installed engine matches `spec.engine`.";
    Destroyed, Terminal, "Everything was destroyed.";

    // OrganizationDomain
    Verified, Blocked, "The authoritative servers have the challenge.";
    PendingVerification, Transient, "The domain has not been proved yet.";
    RecordNotFound, Transient, "The authoritative servers have no challenge; set the record of `status.challenge`.";
    WildcardAnswer, Transient, "A wildcard answers where the challenge belongs, with what it says of any name: that proves nothing about the domain. Set the record of `status.challenge` itself, or take the value from the wildcard.";
    ContentMismatch, Transient, "The authoritative servers have other values where the challenge belongs; add that of `status.challenge`.";
    ResolverUnavailable, Transient, "The authoritative servers could not be asked, or do not say the same; what was known before stands.";
    ClaimedElsewhere, Transient, "Another organization holds the domain, a parent or a part of it.";
    Degraded, Transient, "The challenge is missing; the domain stays the organization's until the grace ends.";
    Unverified, Transient, "The challenge was not found for longer than the grace: nothing new is written or ordered.";
    DomainInvalid, Terminal, "`spec.domain` is no domain name; the message names the rule.";
    PublicSuffix, Terminal, "`spec.domain` is a public suffix, under which others register.";

    // DnsRecord
    Accepted, Blocked, "The object may ask for this set, and the set is sound.";
    Programmed, Blocked, "The provider has the set as the spec says.";
    Propagated, Blocked, "The authoritative servers answer with the values of the spec.";
    Drifted, Blocked, "What stands at the provider is not what the spec says, and the policies leave it so.";
    DomainNotVerified, Blocked, "The domain is not proved, or not any more: nothing is written or ordered below it.";
    OutsideDomain, Blocked, "The name lies in another domain than the one that is referred to, or the domain's policy does not permit it.";
    InvalidRecord, Terminal, "The name or a value breaks a rule of DNS; the message names field and rule.";
    Conflict, Blocked, "An older object has the set, or another type at the name that cannot stand beside it.";
    NotOwned, Blocked, "What stands there is not this installation's, and is left alone.";
    ProviderRejected, Blocked, "The provider does not take the set; its own text is in the message.";
    Contended, Transient, "Somebody else writes the set or the Secret too; what he wrote stands for a while.";
    SetKept, Blocked, "A set that was written before stays at a provider where nobody can take it away any more; the message says where.";
    ZoneNotFound, Blocked, "The credential has no zone for the name, or several of one name.";

    // Certificate
    Issued, Blocked, "The Secret holds a valid pair for these names.";
    Issuing, Transient, "A certificate is being issued; there is no valid one yet.";
    ExpiresSoon, Blocked, "The certificate is valid, its end is near, and nothing renews it.";
    SecretNotOwned, Blocked, "The Secret belongs to somebody else; nothing is written to it.";
    SecretRejected, Transient, "The API server refuses to have the Secret written; its words are in the message.";
    CaUnavailable, Blocked, "The CA cannot sign: its Secret or its key is missing or unfit; or it does not answer as it should.";
    ChallengeFailed, Transient, "A proof in DNS is not there yet, or the CA did not find it.";
    OrderInvalid, Transient, "The CA refuses the order; its words are in the message.";
    CaaForbids, Transient, "A CAA record forbids this CA to issue for a name.";
    Revoked, Blocked, "The CA has revoked the certificate that the message names; it is not the one in use.";
    RevocationRefused, Transient, "The CA does not revoke the certificate; its words are in the message.";
    KeyMismatch, Blocked, "The private key is not the certificate's.";
    NameMismatch, Blocked, "The certificate does not cover all of `spec.dnsNames`.";
    CertificateInvalid, Blocked, "The certificate, its chain or its key is not fit for use; the message says what is wrong.";

    // DNS
    MassChangeHeld, Blocked, "Too large a part of a zone would go or be replaced at once; it waits for a person's release.";
    UnsupportedByProvider, Blocked, "The credential's provider does not do this.";
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
