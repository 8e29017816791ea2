//! `landfall revoke`: a certificate that is not to be trusted any more.

use clap::builder::PossibleValuesParser;
use kube::ResourceExt;
use serde_json::json;

use super::command::line;
use super::give::{Given, Patience, Wish, World};
use super::renew::{in_use, serial};
use super::target::CertificateTarget;
use crate::api::{Certificate, Reason, RevocationReason};
use crate::reconcile::commands::Verb;
use crate::{Error, Result};

/// `landfall revoke`.
#[derive(Debug, clap::Args)]
pub(super) struct Revoke {
    #[command(flatten)]
    target: CertificateTarget,
    /// The serial number of the certificate, in use or a former one of the object. That in use where it is left out.
    #[arg(long, value_name = "HEX", value_parser = serial)]
    serial: Option<String>,
    /// What the CA is told.
    #[arg(long, default_value = "unspecified", value_parser = PossibleValuesParser::new(RevocationReason::ALL.map(RevocationReason::as_str)))]
    reason: String,
    #[command(flatten)]
    patience: Patience,
}

/// Asks for the revocation, and says what the controller made of it.
///
/// # Errors
/// There is no certificate yet, admission refuses, the command was discarded, or nobody answered in time.
pub(super) async fn revoke(arguments: &Revoke) -> Result<String> {
    let target = &arguments.target;
    let mut world: World<Certificate> = World::of(target.namespace.as_ref(), &target.object.0).await?;
    let serial = match &arguments.serial {
        Some(serial) => serial.clone(),
        None => in_use(&world.object, None)?,
    };
    let revoked = world.object.status.as_ref().and_then(|status| status.revocation.as_ref());
    if revoked.is_some_and(|revoked| revoked.serial_number == serial) {
        let message = format!("nothing was sent: serial {serial} of lcert/{} is revoked already", target.object.0);
        return Err(Error::condition(Reason::Revoked, message));
    }
    let reason = &arguments.reason;
    let value = format!("{serial},{reason}");
    let wish = Wish { verb: Verb::Revoke, value: &value, patience: &arguments.patience };
    let given = world.give(wish, |_| Ok(true)).await?;
    let (name, json) = (world.object.name_any(), target.json);
    Ok(match given {
        Given::Sent(by) if json => line(&json!({"sent": "revoke", "serial": serial, "reason": reason, "by": by})),
        Given::Sent(by) => format!("{by} gave revoke {value}; whether it is taken stands in status.lastHandled\n"),
        Given::Taken(by) if json => line(&json!({"revoking": serial, "reason": reason, "by": by})),
        Given::Taken(by) => format!(
            "{by} revokes serial {serial} of lcert/{name}, {reason}; one in use is followed by another first: the condition Revoked tells\n"
        ),
        Given::Gone(_) | Given::Stale | Given::Needless => {
            return Err(Error::condition(Reason::Progressing, format!("lcert/{name} went meanwhile")));
        }
    })
}
