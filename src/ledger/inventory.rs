//! What exists in the world by Landfall's hand: fed by the event stream while a run goes on, set right by the state when it
//! ends. What a dead run may have made, and no state knows, stays on the list as a leftover.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::json::storable_text;
use super::runs::{Answer, Refusal, Run};
use super::words::{variant, word};
use super::{Ledger, Transaction};
use crate::Result;
use crate::run::protocol::{ResourceAction, ResourceEvent, RunKind};
use crate::run::state::Instance;

/// Rows of one statement.
const ROWS: usize = 1000;

/// How sure we are of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// The engine keeps it.
    Managed,
    /// Its creation began.
    Creating,
    /// Its deletion began.
    Deleting,
    /// A run that died may have made it; no state knows it.
    Leftover,
    /// Deleted.
    Gone,
}

/// One entry of the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Of the row.
    pub entry: Uuid,
    /// Address in the module tree.
    pub address: String,
    /// Resource type.
    pub resource_type: String,
    /// Provider's source address.
    pub provider: Option<String>,
    /// Provider's id.
    pub id: Option<String>,
    /// How sure we are of it.
    pub standing: Standing,
    /// The run that touched it last.
    pub run: Uuid,
}

/// The entries of one deployment, as a run changes them.
#[derive(Debug, Default)]
struct Inventory {
    entries: Vec<Resource>,
}

impl Inventory {
    /// The newest entry at that address which is not gone; by its id where both have one.
    fn live(&mut self, address: &str, id: Option<&str>) -> Option<&mut Resource> {
        let fits = |e: &Resource| match (e.id.as_deref(), id) {
            (Some(known), Some(given)) => known == given,
            _ => true,
        };
        self.entries.iter_mut().rev().find(|e| {
            e.address == address
                && !matches!(e.standing, Standing::Gone | Standing::Leftover | Standing::Creating)
                && fits(e)
        })
    }

    fn creating(&mut self, address: &str, run: Uuid) -> Option<&mut Resource> {
        self.entries.iter_mut().find(|e| e.address == address && e.standing == Standing::Creating && e.run == run)
    }

    fn add(&mut self, event: &ResourceEvent, standing: Standing, run: Uuid) {
        self.entries.push(Resource {
            entry: Uuid::now_v7(),
            address: event.address.clone(),
            resource_type: event.resource_type.clone(),
            provider: event.provider.clone(),
            id: event.id.clone(),
            standing,
            run,
        });
    }

    /// Takes one event of the engine's stream.
    fn event(&mut self, event: &ResourceEvent, run: Uuid) {
        use ResourceAction as A;
        match event.what {
            A::CreateStarted if self.creating(&event.address, run).is_none() => {
                self.add(event, Standing::Creating, run)
            }
            // A failed creation may have left something; the state, or the run's death, decides.
            A::CreateStarted | A::CreateFailed => {}
            A::Created => match self.creating(&event.address, run) {
                Some(entry) => {
                    entry.standing = Standing::Managed;
                    entry.id = event.id.clone();
                }
                None => self.touch(event, Standing::Managed, run),
            },
            A::UpdateStarted | A::Updated | A::UpdateFailed | A::DeleteFailed => {
                self.touch(event, Standing::Managed, run)
            }
            A::DeleteStarted => self.touch(event, Standing::Deleting, run),
            A::Deleted => self.touch(event, Standing::Gone, run),
        }
    }

    fn touch(&mut self, event: &ResourceEvent, standing: Standing, run: Uuid) {
        match self.live(&event.address, event.id.as_deref()) {
            Some(entry) => {
                entry.standing = standing;
                entry.run = run;
            }
            None if standing == Standing::Gone => {}
            None => self.add(event, standing, run),
        }
    }

    /// Sets the list right by the newest state. `died`: the run did not end by itself, so that what it made or deleted may be
    /// missing in the state.
    fn settle(&mut self, instances: &[Instance], run: Uuid, died: bool) {
        let mut known = vec![false; self.entries.len()];
        let mut new = Vec::new();
        for instance in instances {
            let place = self.place_of(instance, &known, run, died);
            match place.and_then(|at| Some((self.entries.get_mut(at)?, known.get_mut(at)?))) {
                Some((entry, known)) => {
                    *known = true;
                    if entry.standing != Standing::Gone {
                        entry.standing = Standing::Managed;
                        entry.id = instance.id.clone().or(entry.id.take());
                        entry.provider = Some(instance.provider.clone());
                    }
                }
                None => new.push(instance),
            }
        }
        for (entry, _) in self.entries.iter_mut().zip(known).filter(|(_, known)| !known) {
            entry.standing = match entry.standing {
                Standing::Leftover => Standing::Leftover,
                Standing::Managed | Standing::Creating if died && entry.run == run => Standing::Leftover,
                _ => Standing::Gone,
            };
        }
        for instance in new {
            self.entries.push(Resource {
                entry: Uuid::now_v7(),
                address: instance.address.clone(),
                resource_type: instance.resource_type.clone(),
                provider: Some(instance.provider.clone()),
                id: instance.id.clone(),
                standing: Standing::Managed,
                run,
            });
        }
    }

    /// Where an instance of the state stands on the list: by address and id; else an entry of this run that has no id yet.
    fn place_of(&self, instance: &Instance, known: &[bool], run: Uuid, died: bool) -> Option<usize> {
        let free = |at: &usize, e: &Resource| e.address == instance.address && known.get(*at) == Some(&false);
        let entries = || self.entries.iter().enumerate();
        let same = |e: &Resource| e.id == instance.id && (e.standing != Standing::Gone || (died && e.run == run));
        entries()
            .find(|(at, e)| free(at, e) && same(e))
            .or_else(|| {
                entries().find(|(at, e)| free(at, e) && e.run == run && e.id.is_none() && e.standing != Standing::Gone)
            })
            .map(|(at, _)| at)
    }
}

fn resource(row: &PgRow) -> Result<Resource> {
    Ok(Resource {
        entry: row.try_get("entry_id")?,
        address: row.try_get("address")?,
        resource_type: row.try_get("type")?,
        provider: row.try_get("provider")?,
        id: row.try_get("resource_id")?,
        standing: variant(row, "standing")?,
        run: row.try_get("run_id")?,
    })
}

/// The live entries, and what this run saw go.
async fn load(tx: &mut Transaction, run: &Run) -> Result<Inventory> {
    let rows = sqlx::query(
        "SELECT entry_id, address, type, provider, resource_id, standing, run_id FROM resource_inventory
         WHERE organization_id = $1 AND cluster_id = $2 AND deployment_uid = $3 AND (gone_at IS NULL OR run_id = $4)
         ORDER BY entry_id FOR UPDATE",
    )
    .bind(run.subject.organization.as_str())
    .bind(run.subject.cluster)
    .bind(run.subject.uid)
    .bind(run.id)
    .fetch_all(tx.connection())
    .await?;
    Ok(Inventory { entries: rows.iter().map(resource).collect::<Result<_>>()? })
}

/// Writes what has changed, many rows a statement: a run may have made ten thousand resources.
async fn store(tx: &mut Transaction, run: &Run, before: &[Resource], after: &[Resource]) -> Result<()> {
    let text = |text: &str| storable_text(text).0;
    let known: HashMap<Uuid, &Resource> = before.iter().map(|entry| (entry.entry, entry)).collect();
    let changed: Vec<_> = after.iter().filter(|entry| known.get(&entry.entry) != Some(entry)).collect();
    for rows in changed.chunks(ROWS) {
        let standings = rows.iter().map(|e| word(e.standing)).collect::<Result<Vec<_>>>()?;
        sqlx::query(
            "INSERT INTO resource_inventory (entry_id, organization_id, cluster_id, deployment_uid, address, type, provider,
               resource_id, standing, gone_at, run_id)
             SELECT e, $2, $3, $4, a, t, p, i, s, CASE WHEN s = 'Gone' THEN clock_timestamp() END, r
             FROM unnest($1::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::uuid[])
               AS new (e, a, t, p, i, s, r)
             ON CONFLICT (entry_id) DO UPDATE SET provider = excluded.provider, resource_id = excluded.resource_id,
               standing = excluded.standing, gone_at = excluded.gone_at, run_id = excluded.run_id, last_seen_at = clock_timestamp()",
        )
        .bind(rows.iter().map(|e| e.entry).collect::<Vec<_>>())
        .bind(run.subject.organization.as_str())
        .bind(run.subject.cluster)
        .bind(run.subject.uid)
        .bind(rows.iter().map(|e| text(&e.address)).collect::<Vec<_>>())
        .bind(rows.iter().map(|e| text(&e.resource_type)).collect::<Vec<_>>())
        .bind(rows.iter().map(|e| e.provider.as_deref().map(text)).collect::<Vec<_>>())
        .bind(rows.iter().map(|e| e.id.as_deref().map(text)).collect::<Vec<_>>())
        .bind(standings)
        .bind(rows.iter().map(|e| e.run).collect::<Vec<_>>())
        .execute(tx.connection())
        .await?;
    }
    Ok(())
}

/// Sets the inventory right by the state that stands at a run's end.
pub(super) async fn settle(tx: &mut Transaction, run: &Run, instances: &[Instance], died: bool) -> Result<()> {
    let mut inventory = load(tx, run).await?;
    let before = inventory.entries.clone();
    inventory.settle(instances, run.id, died);
    store(tx, run, &before, &inventory.entries).await?;
    let live: Vec<Uuid> =
        inventory.entries.iter().filter(|e| e.standing == Standing::Managed).map(|e| e.entry).collect();
    sqlx::query("UPDATE resource_inventory SET last_seen_at = clock_timestamp() WHERE entry_id = ANY($1)")
        .bind(live)
        .execute(tx.connection())
        .await?;
    Ok(())
}

impl Ledger {
    /// The inventory of a deployment, gone entries included, in the order of their discovery.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn inventory(&self, uid: Uuid) -> Result<Vec<Resource>> {
        let rows = sqlx::query(
            "SELECT entry_id, address, type, provider, resource_id, standing, run_id FROM resource_inventory
             WHERE deployment_uid = $1 ORDER BY entry_id",
        )
        .bind(uid)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(resource).collect()
    }

    /// Addresses of what a dead run of a deployment may have left, in the order of their discovery.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn leftovers(&self, uid: Uuid) -> Result<Vec<String>> {
        Ok(sqlx::query_scalar(
            "SELECT address FROM resource_inventory
             WHERE deployment_uid = $1 AND standing IN ('Leftover', 'Creating') AND gone_at IS NULL ORDER BY entry_id",
        )
        .bind(uid)
        .fetch_all(&self.pool)
        .await?)
    }

    /// Takes what an apply's event stream told; events that are known are passed over by their numbers.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn put_resources(&self, id: Uuid, offset: i64, events: &[ResourceEvent]) -> Answer<()> {
        let Some((mut tx, run)) = self.open(id).await? else { return Ok(Err(Refusal::NotFound)) };
        if offset < 0 || run.kind != RunKind::Apply {
            return Ok(Err(Refusal::Conflict("resource events come from applies, with numbers from 0 on".into())));
        }
        if run.phase.is_final() {
            return Ok(Err(Refusal::Ended));
        }
        let mut inventory = load(&mut tx, &run).await?;
        let before = inventory.entries.clone();
        let numbered: Vec<_> = (offset..).zip(events).collect();
        for events in numbered.chunks(ROWS) {
            let new = remember(&mut tx, &run, events).await?;
            for (_, event) in events.iter().filter(|(number, _)| new.contains(number)) {
                inventory.event(event, id);
            }
        }
        store(&mut tx, &run, &before, &inventory.entries).await?;
        tx.commit().await?;
        Ok(Ok(()))
    }
}

/// Keeps events under their numbers; answers which of the numbers were not known.
async fn remember(tx: &mut Transaction, run: &Run, events: &[(i64, &ResourceEvent)]) -> Result<HashSet<i64>> {
    let text = |text: &str| storable_text(text).0;
    let actions = events.iter().map(|(_, e)| word(e.what)).collect::<Result<Vec<_>>>()?;
    let new: Vec<i64> = sqlx::query_scalar(
        "INSERT INTO run_resource_events (run_id, organization_id, number, address, type, provider, resource_id, action)
         SELECT $1, $2, n, a, t, p, i, w
         FROM unnest($3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[]) AS new (n, a, t, p, i, w)
         ON CONFLICT DO NOTHING RETURNING number",
    )
    .bind(run.id)
    .bind(run.subject.organization.as_str())
    .bind(events.iter().map(|(number, _)| *number).collect::<Vec<_>>())
    .bind(events.iter().map(|(_, e)| text(&e.address)).collect::<Vec<_>>())
    .bind(events.iter().map(|(_, e)| text(&e.resource_type)).collect::<Vec<_>>())
    .bind(events.iter().map(|(_, e)| e.provider.as_deref().map(text)).collect::<Vec<_>>())
    .bind(events.iter().map(|(_, e)| e.id.as_deref().map(text)).collect::<Vec<_>>())
    .bind(actions)
    .fetch_all(tx.connection())
    .await?;
    Ok(new.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(address: &str, id: Option<&str>, what: ResourceAction) -> ResourceEvent {
        ResourceEvent {
            address: address.into(),
            resource_type: "t".into(),
            provider: None,
            id: id.map(Into::into),
            what,
        }
    }

    fn instance(address: &str, id: &str) -> Instance {
        Instance { address: address.into(), resource_type: "t".into(), provider: "p".into(), id: Some(id.into()) }
    }

    fn seen(inventory: &Inventory) -> Vec<(&str, Option<&str>, Standing)> {
        inventory.entries.iter().map(|e| (e.address.as_str(), e.id.as_deref(), e.standing)).collect()
    }

    #[test]
    fn what_a_dead_run_created_and_no_state_knows_stays_as_a_leftover() {
        let (dead, next) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut inventory = Inventory::default();
        inventory.event(&event("t.a", None, ResourceAction::CreateStarted), dead);
        inventory.event(&event("t.a", Some("1"), ResourceAction::Created), dead);
        inventory.event(&event("t.b", None, ResourceAction::CreateStarted), dead);
        inventory.event(&event("t.c", None, ResourceAction::CreateStarted), dead);
        inventory.settle(&[instance("t.c", "3")], dead, true);
        let expected = [
            ("t.a", Some("1"), Standing::Leftover),
            ("t.b", None, Standing::Leftover),
            ("t.c", Some("3"), Standing::Managed),
        ];
        assert_eq!(seen(&inventory), expected);

        inventory.event(&event("t.a", None, ResourceAction::CreateStarted), next);
        inventory.event(&event("t.a", Some("9"), ResourceAction::Created), next);
        inventory.settle(&[instance("t.a", "9"), instance("t.c", "3")], next, false);
        assert_eq!(seen(&inventory).last(), Some(&("t.a", Some("9"), Standing::Managed)));
        assert_eq!(seen(&inventory).first(), Some(&("t.a", Some("1"), Standing::Leftover)));
    }

    #[test]
    fn a_replacement_is_two_resources_at_one_address() {
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut inventory = Inventory::default();
        inventory.settle(&[instance("t.a", "old")], first, false);
        inventory.event(&event("t.a", None, ResourceAction::CreateStarted), second);
        inventory.event(&event("t.a", Some("new"), ResourceAction::Created), second);
        inventory.event(&event("t.a", Some("old"), ResourceAction::DeleteStarted), second);
        inventory.event(&event("t.a", Some("old"), ResourceAction::Deleted), second);
        inventory.settle(&[instance("t.a", "new")], second, false);
        assert_eq!(seen(&inventory), [("t.a", Some("old"), Standing::Gone), ("t.a", Some("new"), Standing::Managed)]);
    }

    #[test]
    fn what_a_dead_run_deleted_does_not_come_back_with_an_old_state() {
        let (first, dead) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut inventory = Inventory::default();
        inventory.settle(&[instance("t.a", "1"), instance("t.b", "2")], first, false);
        inventory.event(&event("t.a", Some("1"), ResourceAction::Deleted), dead);
        inventory.event(&event("t.b", Some("2"), ResourceAction::DeleteStarted), dead);
        inventory.settle(&[instance("t.a", "1"), instance("t.b", "2")], dead, true);
        assert_eq!(seen(&inventory), [("t.a", Some("1"), Standing::Gone), ("t.b", Some("2"), Standing::Managed)]);
    }

    #[test]
    fn a_run_that_ended_by_itself_leaves_what_its_state_says() {
        let run = Uuid::from_u128(1);
        let mut inventory = Inventory::default();
        inventory.event(&event("t.a", None, ResourceAction::CreateStarted), run);
        inventory.event(&event("t.a", None, ResourceAction::CreateFailed), run);
        inventory.event(&event("t.b", None, ResourceAction::CreateStarted), run);
        inventory.event(&event("t.b", None, ResourceAction::CreateFailed), run);
        inventory.settle(&[instance("t.b", "tainted")], run, false);
        assert_eq!(seen(&inventory), [("t.a", None, Standing::Gone), ("t.b", Some("tainted"), Standing::Managed)]);
    }
}
