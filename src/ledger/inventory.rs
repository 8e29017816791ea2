//! What exists in the world by Landfall's hand: fed by the event stream while a run goes on, set right by the state when it
//! ends. What a dead run may have made, and no state knows, stays on the list as a leftover.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::json::storable_text;
use super::runs::{Answer, Refusal, Run};
use super::words::{variant, word};
use super::{Ledger, Transaction};
use crate::Result;
use crate::run::plan::Creation;
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
    /// A run that died, or did not say what became of it, may have made it; no state knows it.
    Leftover,
    /// The engine let go of it as the module said, and it lives on: no state knows it any more.
    Forgotten,
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

/// What a run left behind it, as the inventory may show it.
#[derive(Debug, Default)]
pub(super) struct World {
    /// What the newest state has.
    pub(super) instances: Vec<Instance>,
    /// Addresses that the applied plan had the engine forget.
    pub(super) forgotten: BTreeSet<String>,
    /// What the applied plan would make, where not every event of its engine is known.
    pub(super) unheard: Vec<Creation>,
}

/// The entries of one deployment, as a run changes them.
#[derive(Debug, Default)]
struct Inventory {
    entries: Vec<Resource>,
    /// Addresses whose creation the run's engine has told of.
    told: BTreeSet<String>,
    /// Those of them whose creation it says has failed.
    failed: BTreeSet<String>,
    /// Addresses that the run's plan has the engine forget.
    forgotten: BTreeSet<String>,
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
                && !matches!(e.standing, Standing::Gone | Standing::Leftover | Standing::Forgotten | Standing::Creating)
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
            A::CreateStarted => {}
            // It may have left something; the state, or the run's death, decides.
            A::CreateFailed => drop(self.failed.insert(event.address.clone())),
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
    /// missing in the state. What it may have made unheard, `unheard`, is taken to be there unless the state has it.
    fn settle(&mut self, instances: &[Instance], run: Uuid, died: bool, unheard: &[Creation]) {
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
            let (told, let_go) = (self.failed.contains(&entry.address), self.forgotten.contains(&entry.address));
            entry.standing = match entry.standing {
                kept @ (Standing::Leftover | Standing::Forgotten) => kept,
                Standing::Managed | Standing::Creating if died && entry.run == run => Standing::Leftover,
                Standing::Creating if !told => Standing::Leftover,
                Standing::Managed if let_go => Standing::Forgotten,
                Standing::Managed | Standing::Creating | Standing::Deleting | Standing::Gone => Standing::Gone,
            };
        }
        for creation in unheard {
            let told = self.told.contains(&creation.address);
            if !told && !new.iter().any(|instance| instance.address == creation.address) {
                self.entries.push(Resource {
                    entry: Uuid::now_v7(),
                    address: creation.address.clone(),
                    resource_type: creation.resource_type.clone(),
                    provider: creation.provider.clone(),
                    id: None,
                    standing: Standing::Leftover,
                    run,
                });
            }
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
    Ok(Inventory { entries: rows.iter().map(resource).collect::<Result<_>>()?, ..Inventory::default() })
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

/// Sets the inventory right by what stands at a run's end.
pub(super) async fn settle(tx: &mut Transaction, run: &Run, world: &World, died: bool) -> Result<()> {
    let mut inventory = load(tx, run).await?;
    inventory.forgotten.clone_from(&world.forgotten);
    let told: Vec<(String, bool)> = sqlx::query_as(
        "SELECT address, action = 'CreateFailed' FROM run_resource_events
         WHERE run_id = $1 AND action IN ('CreateStarted', 'Created', 'CreateFailed')",
    )
    .bind(run.id)
    .fetch_all(tx.connection())
    .await?;
    for (address, failed) in told {
        if failed {
            inventory.failed.insert(address.clone());
        }
        inventory.told.insert(address);
    }
    let before = inventory.entries.clone();
    inventory.settle(&world.instances, run.id, died, &world.unheard);
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
mod tests;
