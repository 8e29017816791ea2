//! Amazon Web Services: STS `GetCallerIdentity`, which works even where everything is denied.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use jiff::Timestamp;
use quick_xml::events::Event;
use url::Url;

use super::{Answer, Denial, Http, Identify, ProbeResult, doubt_of};
use crate::access::text::line;
use crate::access::{SecretBytes, SecretText};
use crate::api::{AwsCredential, Identity, Reason};
use crate::{Error, Result};

const NAME: &str = "AWS STS";
const KEY_ID: &str = "access_key_id";
const SECRET_KEY: &str = "secret_access_key";
const TOKEN: &str = "session_token";
const BODY: &str = "Action=GetCallerIdentity&Version=2011-06-15";
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

impl Identify for AwsCredential {
    fn endpoint(&self) -> (&'static str, String) {
        match &self.endpoint {
            Some(endpoint) => ("spec.aws.endpoint", endpoint.clone()),
            None => {
                let suffix = if self.region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
                ("spec.aws.region", format!("https://sts.{}.{suffix}/", self.region))
            }
        }
    }

    /// AWS remembers a wrong secret for about five seconds.
    fn patience(&self) -> Duration {
        Duration::from_secs(6)
    }

    async fn probe(&self, http: &Http, base: &Url, secret: &SecretBytes, now: Timestamp) -> Result<ProbeResult> {
        let keys = Keys::read(secret)?;
        if !is_region(&self.region) {
            return Ok(ProbeResult::unavailable("spec.aws.region is no region's name; write it like \"eu-central-1\""));
        }
        if keys.id.expose().starts_with("ASIA") && keys.token.is_none() {
            let message = format!(
                "{KEY_ID} is that of temporary credentials (ASIA…), which need {TOKEN:?} in Secret {:?}",
                self.secret_ref.name
            );
            return Err(Error::condition(Reason::InvalidCredentials, message));
        }
        let request = match signed(base, &self.region, &keys, now) {
            Ok(request) => request,
            Err(error) => return Ok(ProbeResult::unavailable(error)),
        };
        Ok(match http.send(request).await {
            Ok(answer) => judge(&answer, secret),
            Err(unanswered) => unanswered.into_doubt(NAME),
        })
    }

    fn environment(&self, secret: &SecretBytes, region: Option<&str>) -> Result<BTreeMap<String, SecretText>> {
        let keys = Keys::read(secret)?;
        let region = region.unwrap_or(&self.region);
        let mut environment = BTreeMap::from([
            ("AWS_ACCESS_KEY_ID".to_owned(), keys.id),
            ("AWS_SECRET_ACCESS_KEY".to_owned(), keys.secret),
            ("AWS_REGION".to_owned(), SecretText::new(region)),
            ("AWS_DEFAULT_REGION".to_owned(), SecretText::new(region)),
        ]);
        if let Some(token) = keys.token {
            environment.insert("AWS_SESSION_TOKEN".to_owned(), token);
        }
        Ok(environment)
    }
}

struct Keys {
    id: SecretText,
    secret: SecretText,
    token: Option<SecretText>,
}

impl Keys {
    fn read(secret: &SecretBytes) -> Result<Self> {
        Ok(Self { id: secret.text(KEY_ID)?, secret: secret.text(SECRET_KEY)?, token: secret.optional_text(TOKEN)? })
    }
}

/// The region becomes part of a host name.
fn is_region(region: &str) -> bool {
    (1..=32).contains(&region.len())
        && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn signed(base: &Url, region: &str, keys: &Keys, now: Timestamp) -> Result<http::Request<Bytes>, String> {
    let fail = |what: &dyn std::fmt::Display| format!("the request to AWS STS cannot be made: {what}");
    let token = keys.token.as_ref().map(|t| t.expose().to_owned());
    let identity = Credentials::new(keys.id.expose(), keys.secret.expose(), token, None, "landfall").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("sts")
        .time(SystemTime::from(now))
        .settings(SigningSettings::default())
        .build()
        .map_err(|e| fail(&e))?
        .into();
    let mut request = http::Request::post(base.as_str())
        .header(http::header::CONTENT_TYPE, FORM)
        .body(Bytes::from_static(BODY.as_bytes()))
        .map_err(|e| fail(&e))?;
    let headers = std::iter::once(("content-type", FORM));
    let signable = SignableRequest::new("POST", base.as_str(), headers, SignableBody::Bytes(BODY.as_bytes()));
    let (instructions, _) = sign(signable.map_err(|e| fail(&e))?, &params).map_err(|e| fail(&e))?.into_parts();
    instructions.apply_to_request_http1x(&mut request);
    Ok(request)
}

/// What the answer says. Of an error only code and known phrases are used: the text of `SignatureDoesNotMatch` quotes
/// the whole canonical request.
fn judge(answer: &Answer, secret: &SecretBytes) -> ProbeResult {
    // An endpoint could echo what it was sent: that is struck out before the words are cut.
    let line = |text: &str, limit| line(&secret.redact_keys(&[SECRET_KEY, TOKEN], text), limit);
    let Ok(texts) = texts(&answer.body, &["Account", "Arn", "Code", "Message"]) else { return doubt_of(NAME, answer) };
    let text = |name: &str| texts.get(name).map(String::as_str).unwrap_or_default();
    if answer.status == 200 {
        return match text("Account") {
            "" => doubt_of(NAME, answer),
            account => ProbeResult::Valid {
                identity: Identity { account: Some(line(account, 64)), principal: Some(line(text("Arn"), 256)) },
                capabilities: vec!["terraform".into()],
                zones: Vec::new(),
            },
        };
    }
    if answer.status == 429 || answer.status >= 500 {
        return doubt_of(NAME, answer);
    }
    let insufficient = |message: &str| ProbeResult::Insufficient(Denial { message: message.into() });
    let skew =
        || ProbeResult::doubt(Reason::ClockSkew, "AWS finds the request's time wrong; set the controller's clock");
    match text("Code") {
        "InvalidClientTokenId" | "UnrecognizedClientException" | "AuthFailure" => ProbeResult::invalid(format!(
            "AWS knows no such key (it was deleted, is inactive, or is mistyped); put an active one under {KEY_ID:?} and {SECRET_KEY:?}"
        )),
        "SignatureDoesNotMatch" | "InvalidSignatureException" => match text("Message") {
            message if message.contains("Signature expired") || message.contains("not yet current") => skew(),
            _ => ProbeResult::invalid(format!(
                "AWS knows the key, but the secret does not belong to it; correct {SECRET_KEY:?}"
            )),
        },
        "RequestExpired" | "RequestTimeTooSkewed" => skew(),
        "ExpiredToken" | "ExpiredTokenException" => ProbeResult::Expired(Denial {
            message: format!(
                "the session token has expired; put new temporary credentials with {TOKEN:?} in the Secret"
            ),
        }),
        "OptInRequired" => insufficient("the AWS account is not signed up for this service; finish its registration"),
        "RegionDisabledException" => insufficient(
            "STS is not active in this region for the account; activate it or name another spec.aws.region",
        ),
        "AccessDenied" | "AccessDeniedException" => {
            insufficient("AWS denies even GetCallerIdentity; look for a service control policy or a session policy")
        }
        "Throttling" | "ThrottlingException" | "RequestLimitExceeded" | "TooManyRequestsException" => {
            doubt_of(NAME, &Answer { status: 429, ..answer.clone() })
        }
        "" => doubt_of(NAME, answer),
        code => ProbeResult::unavailable(format!("AWS STS answered {}: {}", answer.status, line(code, 64))),
    }
}

/// The text of the first element of each of these names, whatever it stands in.
fn texts(xml: &[u8], wanted: &[&'static str]) -> Result<BTreeMap<&'static str, String>> {
    let broken = |what: String| Error::Integrity(format!("XML: {what}"));
    let text = std::str::from_utf8(xml).map_err(|e| broken(e.to_string()))?;
    let mut reader = quick_xml::Reader::from_str(text);
    let (mut found, mut inside) = (BTreeMap::new(), None);
    loop {
        match reader.read_event().map_err(|e| broken(e.to_string()))? {
            Event::Start(start) => {
                let name = start.local_name();
                inside = wanted.iter().find(|w| ***w == *name.as_ref() && !found.contains_key(**w)).copied();
            }
            Event::Text(part) => {
                if let Some(name) = inside {
                    found.entry(name).or_insert_with(String::new).push_str(part.trim());
                }
            }
            Event::End(_) => inside = None,
            Event::Eof => return Ok(found),
            _ => {}
        }
    }
}
