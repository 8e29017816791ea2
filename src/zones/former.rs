//! What a former leader or writer was about to write when it ended, or wrote without hearing of it: settled by reading,
//! never by repeating.

use std::time::Instant;

use serde_json::{Value, json};

use super::batch::shown;
use super::guard::Risk;
use super::writer::Writer;
use crate::Result;
use crate::dns::{Name, RecordType};
use crate::ledger::{Outcome as Told, Released};

impl Writer {
    /// Tells the ledger of each earlier call by this credential into this zone whose outcome nobody knows, once the zone is
    /// read.
    ///
    /// # Errors
    /// Postgres's; it is tried again.
    pub(super) async fn settle_former(&mut self) -> Result<()> {
        let (call, credential) = (self.calls.account.server.call(), self.calls.account.credential.uid);
        if self.settled.contains(&credential) || self.snapshot.is_none() {
            return Ok(());
        }
        let server = self.calls.account.server.endpoint();
        for (intent, details) in self.ledger.left_open(call, credential, &self.zone.id).await? {
            // What stands here says nothing of another server.
            if details.get("server").and_then(Value::as_str).is_some_and(|former| former != server) {
                self.ledger.give_up(intent, json!({"found": "never", "now": server}), Vec::new()).await?;
                continue;
            }
            let parts = details.get("parts").and_then(Value::as_array).cloned().unwrap_or_default();
            let found: Vec<(bool, Value)> = parts.iter().map(|part| self.found(part)).collect();
            let all = found.iter().all(|(stands, _)| *stands);
            let (parts, later) = (found.into_iter().map(|(_, part)| part).collect(), json!({"found": "later"}));
            match all {
                true => self.ledger.conclude_parts(intent, Told::Settled, later, parts).await?,
                false => self.ledger.give_up(intent, later, parts).await?,
            }
        }
        self.admit_released().await?;
        self.settled.insert(credential);
        Ok(())
    }

    /// What a person let pass and nobody has made yet passes still.
    async fn admit_released(&self) -> Result<()> {
        let credential = &self.calls.account.credential;
        let (given, used) = self.ledger.released(&credential.organization).await?;
        let is_used = |risk: &Risk| used.contains(&(risk.owner.as_str().to_owned(), risk.kind.as_str().to_owned()));
        let now = Instant::now();
        self.guards.with(&self.part(), |guard| {
            for Released { by, changes } in given {
                let risks = changes.iter().filter_map(|line| Risk::read(line));
                let left = risks.filter(|risk| risk.owner.is_within(&self.zone.name) && !is_used(risk));
                left.for_each(|risk| guard.admit(now, risk, &by));
            }
        });
        Ok(())
    }

    /// Whether what was about to be written stands, and what is told of it.
    fn found(&self, part: &Value) -> (bool, Value) {
        let text = |field: &str| part.get(field).and_then(Value::as_str).unwrap_or_default();
        let key = Name::presented(text("name")).ok().zip(text("type").parse::<RecordType>().ok());
        let now = key.and_then(|(owner, kind)| self.snapshot.as_ref()?.set(&owner, kind));
        let now = shown(now);
        let stands = part.get("after") == Some(&now);
        let word = if stands { "Applied" } else { "Unknown" };
        (stands, json!({"outcome": word, "found": "by reading", "now": now}))
    }
}
