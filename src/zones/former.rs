//! What a former leader was about to write when it ended: settled by reading, never by repeating.

use serde_json::{Value, json};

use super::batch::shown;
use super::writer::Writer;
use crate::Result;
use crate::dns::{Name, RecordType};
use crate::ledger::Outcome as Told;

impl Writer {
    /// Tells the ledger of each call of former leaders into this zone whose outcome nobody told, once the zone is read.
    ///
    /// # Errors
    /// Postgres's; it is tried again.
    pub(super) async fn settle_former(&mut self) -> Result<()> {
        if self.former_settled || self.snapshot.is_none() {
            return Ok(());
        }
        let (call, credential) = (self.calls.account.server.call(), self.calls.account.credential.uid);
        for (intent, details) in self.ledger.left_open(call, credential, &self.zone.id).await? {
            let parts = details.get("parts").and_then(Value::as_array).cloned().unwrap_or_default();
            let found: Vec<(bool, Value)> = parts.iter().map(|part| self.found(part)).collect();
            let all = found.iter().all(|(stands, _)| *stands);
            let outcome = if all { Told::Settled } else { Told::Unknown };
            let parts = found.into_iter().map(|(_, part)| part).collect();
            self.ledger.conclude_parts(intent, outcome, json!({"found": "by a later leader"}), parts).await?;
        }
        self.former_settled = true;
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
