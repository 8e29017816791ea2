//! `landfall renew`: the next certificate, now.

use kube::ResourceExt;
use serde_json::json;

use super::command::line;
use super::give::{Given, Patience, Wish, World};
use super::target::CertificateTarget;
use crate::api::{Certificate, Reason};
use crate::reconcile::commands::Verb;
use crate::{Error, Result};

/// `landfall renew`.
#[derive(Debug, clap::Args)]
pub(super) struct Renew {
    #[command(flatten)]
    target: CertificateTarget,
    /// The serial number of the certificate to be renewed; the command fails where another one is in use. That in use where
    /// it is left out.
    #[arg(long, value_name = "HEX", value_parser = serial)]
    serial: Option<String>,
    #[command(flatten)]
    patience: Patience,
}

/// Lower-case hex without colons and zeros before it, as status has it; OpenSSL's form is taken too.
pub(super) fn serial(text: &str) -> Result<String, String> {
    let plain = text.replace(':', "").to_ascii_lowercase();
    let plain = plain.trim_start_matches('0');
    match (1..=40).contains(&plain.len()) && plain.bytes().all(|b| b.is_ascii_hexdigit()) {
        true => Ok(plain.to_owned()),
        false => Err("write a serial number in hex, as in status.serialNumber".to_owned()),
    }
}

/// Asks for the next certificate, and says what the controller made of it.
///
/// # Errors
/// There is none yet or another one is in use, admission refuses, the command was discarded, or nobody answered in time.
pub(super) async fn renew(arguments: &Renew) -> Result<String> {
    let target = &arguments.target;
    let mut world: World<Certificate> = World::of(target.namespace.as_ref(), &target.object.0).await?;
    let old = in_use(&world.object, arguments.serial.as_deref())?;
    let needed = |object: &Certificate| in_use(object, Some(&old)).map(|_| true);
    let given = world.give(Wish { verb: Verb::Renew, value: &old, patience: &arguments.patience }, needed).await?;
    let (name, json) = (world.object.name_any(), target.json);
    let by = match given {
        Given::Sent(by) if json => return Ok(line(&json!({"sent": "renew", "serial": old, "by": by}))),
        Given::Sent(by) => {
            return Ok(format!("{by} gave renew {old}; whether it is taken stands in status.lastHandled\n"));
        }
        Given::Taken(by) => by,
        Given::Gone(_) | Given::Stale | Given::Needless => {
            return Err(Error::condition(Reason::Progressing, format!("lcert/{name} went meanwhile")));
        }
    };
    Ok(if json {
        line(&json!({"renewed": old, "by": by}))
    } else {
        format!("{by} renews lcert/{name}, serial {old}; the next serial number stands in its status\n")
    })
}

/// The serial number in use, which is the only one that a command may name.
pub(super) fn in_use(object: &Certificate, named: Option<&str>) -> Result<String> {
    let name = object.name_any();
    let none =
        || format!("lcert/{name} has no certificate yet; see `kubectl describe certificates.landfall.dev {name}`");
    let serial = object.status.as_ref().and_then(|status| status.serial_number.clone());
    let serial = serial.ok_or_else(|| Error::condition(Reason::Issuing, none()))?;
    match named.filter(|named| *named != serial) {
        None => Ok(serial),
        Some(named) => {
            let message = format!("nothing was renewed: lcert/{name} has serial {serial}, not {named}");
            Err(Error::condition(Reason::Progressing, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_is_read_in_both_forms() {
        assert_eq!(serial("5f3a"), Ok("5f3a".to_owned()));
        assert_eq!(serial("00:5F:3A"), Ok("5f3a".to_owned()));
        for bad in ["", "0", "x1", &"a".repeat(41)] {
            assert!(serial(bad).is_err(), "{bad}");
        }
    }
}
