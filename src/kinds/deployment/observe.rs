//! What a deployment looks at before it decides. No effects.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use uuid::Uuid;

use super::history::History;
use super::inputs::{self, Inputs};
use super::outputs::{self, Outputs};
use super::turns::{Candidate, Rank, Turn};
use crate::access::SecretText;
use crate::api::{ApprovalMode, Organization, Reason, TerraformDeployment};
use crate::installation::ExecutorKind;
use crate::kinds::Context;
use crate::ledger::ApprovalRow;
use crate::ledger::runs::{self, Others, Past, Run, UnderWay};
use crate::ledger::states::{StateHead, state_key};
use crate::ledger::{ObjectKind, Subject, Taken};
use crate::reconcile::commands::{self, Command};
use crate::reconcile::subject_in;
use crate::reconcile::wake::key_of;
use crate::run::protocol::{RunKind, RunPhase};
use crate::run::secrets;
use crate::run::state::state_outputs;
use crate::terraform::executor::{Liveness, Placement, Start};
use crate::{Error, Result, access};

/// The command under which a refused approval is kept.
pub(super) const REFUSED: &str = "approveRefused";

/// The commands that ask for another run.
const AGAIN: [&str; 2] = ["retry", "reconcile"];

/// How many runs are read: more than any number of attempts in a row.
const RUNS: i64 = 250;

/// All that was found.
pub struct Observed {
    /// The object, as the ledger names it.
    pub subject: Subject,
    /// A command that waits to be taken.
    pub command: Option<Command>,
    /// Why commands are not taken, if they are not.
    pub gate: Option<String>,
    /// The runs so far.
    pub history: History,
    /// What all runs say, not only those that were read.
    pub past: Past,
    /// What lives of the run under way.
    pub liveness: Liveness,
    /// Why the runner of a run that nobody has claimed does not begin.
    pub hitch: Option<String>,
    /// Nothing of that runner is on its way, and others wait for its place.
    pub yields: bool,
    /// That runner does not begin, and would be made otherwise now, or not at all.
    pub outdated: bool,
    /// How the pod of a run stands, or why no run is permitted.
    pub placement: Result<Placement, (Reason, String)>,
    /// The runs that have a place.
    pub under_way: UnderWay,
    /// As what it would want one.
    pub candidate: Candidate,
    /// Whether it may have one now.
    pub turn: Turn,
    /// Module, variables, credential, engine; or what is wrong with them.
    pub inputs: Result<Inputs, (Reason, String)>,
    /// The newest state.
    pub state: Option<StateHead>,
    /// Of an object that is being deleted: addresses of what a run that died may have left, and no state knows.
    pub leftovers: Vec<String>,
    /// A run of a former object of this name that is under way, and what lives of it.
    pub former_run: Option<(Uuid, Liveness)>,
    /// A state that a former object left under this name.
    pub found_state: Option<FoundState>,
    /// Another organization, under which the object's state stands: the namespace was of it before.
    pub elsewhere: Option<Organization>,
    /// The database is older than what was acknowledged: its state by `status.state`, or its log by the anchor of its
    /// organization.
    pub regressed: Option<String>,
    /// The executor may not run this: there are deployments of other organizations.
    pub others: Option<Others>,
    /// The approval of the newest plan.
    pub approval: Option<ApprovalRow>,
    /// The commands that were taken, the newest of each.
    pub taken: Vec<Taken>,
    /// The installation's limit on what a plan may destroy.
    pub ceiling: Option<IntOrString>,
    /// How the outputs' Secret stands.
    pub outputs: Ownership,
    /// The resourceVersion of that Secret, where there is one.
    pub outputs_version: Option<String>,
    /// Outputs of the newest state.
    pub values: Outputs,
    /// Values that the newest state marks as sensitive.
    pub hidden: Vec<SecretText>,
    /// A Secret that has outputs, and that the spec does not name any more.
    pub former_outputs: Option<String>,
}

/// How the outputs' Secret stands to the outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The spec asks for none.
    NotWanted,
    /// Ours, and right.
    Fresh,
    /// Missing, or ours and out of date.
    Stale,
    /// Somebody else's.
    Foreign,
}

/// A state of a former object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundState {
    /// Its lineage.
    pub lineage: String,
    /// Its newest serial.
    pub serial: i64,
}

impl Observed {
    /// The last approval, where it was refused since this plan was begun, and names another one.
    pub fn stale_approval(&self, plan: &Run) -> Option<&str> {
        let (refused, at) = self.last_refused()?;
        (at >= plan.created_at && plan.digest.as_deref() != Some(refused)).then_some(refused)
    }

    /// The last approval, where it was refused.
    pub fn refused_approval(&self) -> Option<&str> {
        self.last_refused().map(|(refused, _)| refused)
    }

    fn last_refused(&self) -> Option<(&str, Timestamp)> {
        let refused = self.taken(REFUSED)?;
        let approved = self.taken("approve").is_some_and(|(_, later)| later > refused.1);
        (!approved).then_some(refused)
    }

    /// The newest command of this word, and when it was taken.
    pub fn taken(&self, command: &str) -> Option<(&str, Timestamp)> {
        self.taken.iter().find(|t| t.command == command).map(|t| (t.value.as_str(), t.at))
    }

    /// When a person last asked for a reconcile or a retry.
    pub fn asked_again(&self) -> Option<Timestamp> {
        self.last_asked().map(|taken| taken.at)
    }

    /// Who asked for it, where no run has followed yet.
    pub fn asked_by(&self) -> Option<&str> {
        let asked = self.last_asked()?;
        let followed = self.history.0.first().is_some_and(|run| run.created_at >= asked.at);
        (!followed).then_some(asked.by.as_str())
    }

    fn last_asked(&self) -> Option<&Taken> {
        self.taken.iter().filter(|t| AGAIN.contains(&t.command.as_str())).max_by_key(|t| t.at)
    }
}

/// Looks at everything.
///
/// # Errors
/// What may pass by itself: API server, ledger.
pub(super) async fn observe(cx: &Context, object: &Arc<TerraformDeployment>) -> Result<Observed> {
    let (namespace, _) = key_of(object.as_ref());
    let organization = access::organization(&cx.client, cx.cluster, &namespace).await?;
    let subject = subject_in(organization, cx.cluster, ObjectKind::TerraformDeployment, object.as_ref())
        .ok_or_else(|| Error::Integrity("metadata.uid is no UUID".into()))?;
    let history = History::within(&subject.organization, cx.ledger.runs_of(subject.uid, RUNS).await?);
    let retained = super::is_retained(object);
    let active = history.active();
    let urgent = active.is_some() || retained;
    let change = super::wanted_change(object);
    let unattended = object.spec.approval == ApprovalMode::Automatic && active.is_none() && history.waits(change);
    let (command, gate) = gate(cx, object, unattended, urgent).await?;
    let state = cx.ledger.state_head(&subject.organization, &state_key(&subject)).await?;
    let former_run = former_run(cx, cx.ledger.former_run(&subject).await?).await?;
    let liveness = match active {
        Some(run) => cx.executor.liveness(run.id, run.holder.as_ref()).await?,
        None => Liveness::Absent,
    };
    let hitch = match active {
        Some(run) if run.phase == RunPhase::Pending => {
            cx.executor.hitch(run.id, run.read_at.duration_since(run.created_at)).await
        }
        _ => None,
    };
    let stuck = liveness == Liveness::Absent || hitch.as_ref().is_some_and(|hitch| hitch.stuck);
    let hitch = hitch.map(|hitch| hitch.why);
    let placement = placement(cx, object, &subject)?;
    let outdated = match (active, &hitch, &placement) {
        (Some(run), Some(_), Ok(placement)) => {
            let deployment = (subject.namespace.as_str(), subject.name.as_str());
            let start = Start { run: run.id, engine: run.engine, deployment, placement };
            cx.executor.is_outdated(&start).await
        }
        (_, hitch, Err(_)) => hitch.is_some(),
        _ => false,
    };
    // What is let go as it stands needs neither values nor inputs, and must not wait for a key that is lost.
    let secret = if retained { None } else { outputs::find(cx, object).await? };
    let (values, hidden) = match (&state, active) {
        (Some(_), None) if !retained => read_state(cx, &subject).await?,
        _ => (Outputs::new(), Vec::new()),
    };
    let former_outputs = match (active, object.metadata.deletion_timestamp.is_some()) {
        (None, false) => outputs::former(cx, &subject, object).await?,
        _ => None,
    };
    let last_applied = history.0.iter().find(|r| r.kind == RunKind::Apply && r.phase == RunPhase::Succeeded);
    let inputs = match active {
        Some(_) => Err((Reason::Progressing, "a run is under way".to_owned())),
        None if retained => Err((Reason::Progressing, "it is let go".to_owned())),
        None => inputs::read(cx, object, last_applied).await?,
    };
    let digest = history.newest_plan(change).and_then(|p| p.digest.clone());
    let approval = match digest {
        Some(digest) => cx.ledger.approval(&subject.organization, &digest).await?,
        None => None,
    };
    let outputs = match retained {
        true => Ownership::NotWanted,
        false => outputs::ownership(object, secret.as_ref(), &values),
    };
    let leftovers = match object.metadata.deletion_timestamp {
        Some(_) => cx.ledger.leftovers(subject.uid).await?,
        None => Vec::new(),
    };
    let under_way = cx.ledger.under_way(cx.cluster).await?;
    let taken = cx.ledger.commands(&subject).await?;
    let asked = taken.iter().filter(|t| AGAIN.contains(&t.command.as_str())).map(|t| t.at).max();
    let waits = active.filter(|run| stuck && (run.kind, run.phase) == (RunKind::Plan, RunPhase::Pending));
    let yields = waits.is_some_and(|run| {
        cx.queue.wants((&run.subject.organization, runs::credential(&run.facts)), &under_way, Instant::now())
    });
    let candidate = Candidate {
        organization: subject.organization.clone(),
        credential: inputs.as_ref().ok().and_then(|i| i.credential.as_ref()).map(|c| c.subject.uid),
        rank: match &approval {
            Some(approval) if approval.consumed_by.is_none() => Rank::Approved,
            _ if history.is_new(change, object.metadata.generation.unwrap_or_default(), asked) => Rank::New,
            _ => Rank::Again,
        },
    };
    Ok(Observed {
        leftovers,
        former_run,
        outputs,
        outputs_version: secret.and_then(|secret| secret.metadata.resource_version),
        gate,
        command,
        liveness,
        hitch,
        yields,
        outdated,
        placement,
        turn: cx.queue.turn(&key_of(object.as_ref()), &candidate, &under_way, Instant::now()),
        candidate,
        under_way,
        inputs,
        found_state: found_state(object, &subject, state.as_ref()),
        elsewhere: cx.ledger.state_elsewhere(&subject).await?,
        regressed: match regressed(object, state.as_ref()) {
            Some(why) => Some(why),
            None => cx.anchors.objection(cx, &subject.organization).await?,
        },
        others: match cx.installation.executor.kind {
            ExecutorKind::Local => cx.ledger.others(&subject).await?,
            ExecutorKind::Job => None,
        },
        past: cx.ledger.past(&subject).await?,
        approval,
        taken,
        ceiling: cx.installation.ceilings.max_destroy.clone(),
        values,
        hidden,
        former_outputs,
        history,
        state,
        subject,
    })
}

/// The inner error is a condition of the object, as with its inputs.
fn placement(
    cx: &Context,
    object: &TerraformDeployment,
    subject: &Subject,
) -> Result<Result<Placement, (Reason, String)>> {
    let asked = object.spec.runner.as_ref();
    match Placement::of(&cx.installation.executor, &subject.organization, asked) {
        Ok(placement) => Ok(Ok(placement)),
        Err(Error::Condition { reason, message }) => Ok(Err((reason, message))),
        Err(other) => Err(other),
    }
}

/// The command that waits, and what speaks against the gate, which is asked where there is a command or a plan that may be
/// applied unattended. Where nobody can tell how it stands, what is urgent goes on as with a broken one, and a command waits:
/// it is not taken, and not thrown away.
async fn gate(
    cx: &Context,
    object: &TerraformDeployment,
    unattended: bool,
    urgent: bool,
) -> Result<(Option<Command>, Option<String>)> {
    let command = Command::read(object.metadata.annotations.as_ref());
    if command.is_none() && !unattended {
        return Ok((None, None));
    }
    match commands::objection(cx, object, command.as_ref()).await {
        Ok(gate) => Ok((command, gate)),
        Err(error) if urgent => Ok((None, Some(format!("nobody can tell how it stands: {error}")))),
        Err(error) => Err(error),
    }
}

async fn former_run(cx: &Context, run: Option<Uuid>) -> Result<Option<(Uuid, Liveness)>> {
    let Some(id) = run else { return Ok(None) };
    let Some(run) = cx.ledger.run(id).await? else { return Ok(None) };
    Ok(Some((id, cx.executor.liveness(id, run.holder.as_ref()).await?)))
}

async fn read_state(cx: &Context, subject: &Subject) -> Result<(Outputs, Vec<SecretText>)> {
    match cx.ledger.state_bytes(&subject.organization, &state_key(subject), None).await? {
        Some(bytes) => Ok((state_outputs(&bytes)?, secrets::of_state(&bytes)?)),
        None => Ok((Outputs::new(), Vec::new())),
    }
}

/// A state that another object holds or left, unless it is empty or this object adopts it.
fn found_state(object: &TerraformDeployment, subject: &Subject, head: Option<&StateHead>) -> Option<FoundState> {
    let head = head.filter(|h| h.holder_uid != Some(subject.uid) && h.resources > 0)?;
    let adopted = object.spec.state.as_ref().and_then(|s| s.adopt.as_deref()) == Some(head.lineage.as_str());
    (!adopted).then(|| FoundState { lineage: head.lineage.clone(), serial: head.serial })
}

fn regressed(object: &TerraformDeployment, head: Option<&StateHead>) -> Option<String> {
    let acknowledged = object.status.as_ref()?.state.as_ref()?;
    let fits = head.is_some_and(|h| {
        h.lineage != acknowledged.lineage
            || h.serial > acknowledged.serial
            || (h.serial == acknowledged.serial && h.sha256 == acknowledged.sha256)
    });
    (!fits).then(|| {
        let found = head.map_or("none".to_owned(), |h| format!("serial {} ({})", h.serial, h.sha256));
        format!(
            "status.state acknowledged serial {} ({}), the ledger has {found}; restore the newer database before anything is changed",
            acknowledged.serial, acknowledged.sha256
        )
    })
}
