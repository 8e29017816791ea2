//! The decisions of a deployment, each as a sentence.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::decide::{Step, decide, pause};
use super::history::History;
use super::inputs::Inputs;
use super::observe::{FoundState, Liveness, Observed, Ownership};
use super::outputs::Outputs;
use super::standing::Wait;
use crate::api::Organization;
use crate::api::{
    ApprovalMode, Change, DeletionPolicy, DeploymentPhase, EngineKind, FINALIZER, Guardrails, PlanSummary, Reason,
    TerraformDeployment,
};
use crate::ledger::runs::Run;
use crate::ledger::states::StateHead;
use crate::ledger::{ApprovalRow, Taken};
use crate::ledger::{ObjectKind, Subject};
use crate::reconcile::commands::{Command, Verb};
use crate::run::protocol::{Limits, RunKind, RunPhase};

mod strange;

const GENERATION: i64 = 3;
const LIMITS: Limits = Limits { init: 300, plan: 600, apply: 3600, grace: 300 };

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn ago(minutes: i64) -> Timestamp {
    now() - SignedDuration::from_mins(minutes)
}

fn object() -> TerraformDeployment {
    let mut object: TerraformDeployment = serde_json::from_value(json!({
        "apiVersion": "landfall.dev/v1alpha1", "kind": "TerraformDeployment",
        "metadata": {"name": "web", "namespace": "team-a", "generation": GENERATION},
        "spec": {"source": {"inline": {"main.tf": ""}}},
    }))
    .unwrap();
    object.metadata.finalizers = Some(vec![FINALIZER.into()]);
    object
}

fn leaving(policy: DeletionPolicy) -> TerraformDeployment {
    let mut object = object();
    object.metadata.deletion_timestamp = Some(Time(now()));
    object.spec.deletion_policy = policy;
    object
}

fn subject() -> Subject {
    Subject {
        organization: Organization("acme".into()),
        cluster: Uuid::nil(),
        kind: ObjectKind::TerraformDeployment,
        uid: Uuid::nil(),
        namespace: "team-a".into(),
        name: "web".into(),
    }
}

fn run(kind: RunKind, phase: RunPhase, minutes_ago: i64) -> Run {
    Run {
        id: Uuid::now_v7(),
        subject: subject(),
        kind,
        change: Change::Apply,
        phase,
        generation: GENERATION,
        attempt: 0,
        plan: None,
        digest: None,
        facts: json!({"inputDigest": "same"}),
        summary: None,
        has_changes: None,
        state_serial: None,
        state_lineage: None,
        intent: None,
        holder: None,
        engine: EngineKind::OpenTofu,
        engine_version: None,
        handed_over: 0,
        limits: LIMITS,
        cancel_requested_at: None,
        terminated_at: None,
        requested_by: (None, "controller".into()),
        created_at: ago(minutes_ago),
        started_at: None,
        phase_at: ago(minutes_ago),
        applying_at: None,
        finished_at: phase.is_final().then(|| ago(minutes_ago)),
        exit_code: None,
        reason: None,
        message: None,
    }
}

fn plan(minutes_ago: i64) -> Run {
    let mut plan = run(RunKind::Plan, RunPhase::Succeeded, minutes_ago);
    plan.digest = Some(format!("sha256:{:064x}", plan.id.as_u128()));
    plan.summary = Some(PlanSummary { add: 2, ..PlanSummary::default() });
    plan.has_changes = Some(true);
    plan.state_serial = Some(0);
    plan
}

fn apply_of(plan: &Run, phase: RunPhase, minutes_ago: i64) -> Run {
    let mut apply = run(RunKind::Apply, phase, minutes_ago);
    apply.plan = Some(plan.id);
    apply.digest.clone_from(&plan.digest);
    apply
}

fn destroying(mut run: Run) -> Run {
    run.change = Change::Destroy;
    run
}

fn approved() -> Option<ApprovalRow> {
    Some(ApprovalRow { by: "alice".into(), at: ago(1), consumed_at: None, consumed_by: None })
}

fn state(resources: u32) -> Option<StateHead> {
    Some(StateHead {
        serial: 4,
        lineage: "l".into(),
        sha256: "s".into(),
        resources,
        run: Uuid::nil(),
        written_at: ago(5),
        holder_uid: Some(Uuid::nil()),
    })
}

fn taken(command: &str, value: &str, at: Timestamp) -> Vec<Taken> {
    vec![Taken { command: command.into(), value: value.into(), by: "alice".into(), at }]
}

/// A world in which nothing is in the way; runs newest first.
fn world(runs: Vec<Run>) -> Observed {
    Observed {
        subject: subject(),
        command: None,
        gate: None,
        history: History(runs),
        liveness: Liveness::Absent,
        slot_free: true,
        inputs: Ok(Inputs {
            digest: "same".into(),
            snapshot: Vec::new(),
            variables: [].into(),
            sensitive: [].into(),
            variables_hmac: String::new(),
            credential: None,
            engine: EngineKind::OpenTofu,
        }),
        state: None,
        found_state: None,
        regressed: None,
        leftovers: Vec::new(),
        elsewhere: None,
        organizations: None,
        approval: None,
        taken: Vec::new(),
        ceiling: None,
        outputs: Ownership::NotWanted,
        values: Outputs::new(),
    }
}

fn next(object: &TerraformDeployment, seen: &Observed) -> Step {
    decide(object, seen, now())
}

fn reason(step: &Step) -> Reason {
    match step {
        Step::Rest(standing) => standing.reason,
        other => panic!("rested was expected: {other:?}"),
    }
}

fn plans(step: &Step) -> bool {
    matches!(step, Step::Plan { .. })
}

#[test]
fn the_finalizer_comes_first() {
    let mut object = object();
    object.metadata.finalizers = None;
    assert_eq!(next(&object, &world(vec![])), Step::Guard);
}

#[test]
fn a_new_object_is_planned() {
    assert_eq!(next(&object(), &world(vec![])), Step::Plan { change: Change::Apply, attempt: 0 });
}

#[test]
fn a_plan_waits_for_approval_under_manual() {
    let step = next(&object(), &world(vec![plan(1)]));
    assert_eq!(reason(&step), Reason::ApprovalRequired);
    let Step::Rest(standing) = step else { panic!() };
    assert_eq!(standing.phase, Some(DeploymentPhase::AwaitingApproval));
    assert!(standing.action_required && !standing.ready);
    assert!(standing.message.contains("2 to add") && standing.message.contains("sha256:"), "{}", standing.message);
}

#[test]
fn an_approved_plan_is_applied_in_the_name_of_the_approver() {
    let mut seen = world(vec![plan(1)]);
    seen.approval = approved();
    let plan = seen.history.0[0].id;
    let expected = Step::Apply { plan, change: Change::Apply, approved_by: Some("alice".into()) };
    assert_eq!(next(&object(), &seen), expected);
}

#[test]
fn what_makes_a_waiting_plan_stale_makes_a_new_one() {
    let mut older = plan(1);
    older.generation -= 1;
    assert!(plans(&next(&object(), &world(vec![older]))), "generation");

    let mut other = plan(1);
    other.facts = json!({"inputDigest": "other"});
    assert!(plans(&next(&object(), &world(vec![other]))), "inputs");

    let mut seen = world(vec![plan(1)]);
    seen.state = state(1);
    assert!(plans(&next(&object(), &seen)), "the state moved");

    let mut other = plan(1);
    (other.state_serial, other.state_lineage) = (Some(4), Some("other".into()));
    let mut seen = world(vec![other]);
    seen.state = state(1);
    assert!(plans(&next(&object(), &seen)), "another lineage with the same serial");

    assert!(plans(&next(&object(), &world(vec![plan(24 * 60 + 1)]))), "a day");
    assert!(!plans(&next(&object(), &world(vec![plan(24 * 60 - 1)]))), "not yet a day");

    let mut seen = world(vec![plan(5)]);
    seen.taken = taken("retry", "x", ago(1));
    assert!(plans(&next(&object(), &seen)), "a person asked");
}

#[test]
fn an_approval_of_an_older_plan_is_stale_and_starts_nothing() {
    let mut seen = world(vec![plan(1)]);
    seen.taken = taken("approveRefused", &format!("sha256:{:064x}", 7), now());
    assert_eq!(reason(&next(&object(), &seen)), Reason::ApprovalStale);

    seen.taken = taken("approveRefused", &format!("sha256:{:064x}", 7), ago(2));
    assert_eq!(reason(&next(&object(), &seen)), Reason::ApprovalRequired, "it was refused before this plan was made");
}

#[test]
fn a_refused_approval_does_not_hide_that_a_run_died() {
    let first = plan(9);
    let mut seen = world(vec![plan(7), apply_of(&first, RunPhase::Interrupted, 8), first]);
    seen.taken = taken("approveRefused", &format!("sha256:{:064x}", 7), now());
    assert_eq!(reason(&next(&object(), &seen)), Reason::Interrupted);
}

#[test]
fn automatic_applies_within_the_guardrails() {
    let mut object = object();
    object.spec.approval = ApprovalMode::Automatic;
    let mut seen = world(vec![plan(1)]);
    assert!(matches!(next(&object, &seen), Step::Apply { approved_by: None, .. }));

    seen.history.0[0].summary = Some(PlanSummary { replace: 1, ..PlanSummary::default() });
    assert_eq!(reason(&next(&object, &seen)), Reason::GuardrailBreached, "nothing may be destroyed by default");
    object.spec.guardrails = Some(Guardrails { max_destroy: Some(IntOrString::Int(1)) });
    assert!(matches!(next(&object, &seen), Step::Apply { .. }));
    seen.ceiling = Some(IntOrString::Int(0));
    assert_eq!(reason(&next(&object, &seen)), Reason::GuardrailBreached, "the installation's limit cannot be loosened");
}

#[test]
fn an_approval_does_not_lift_a_guardrail() {
    let mut object = object();
    object.spec.guardrails = Some(Guardrails { max_destroy: Some(IntOrString::Int(0)) });
    let mut seen = world(vec![plan(1)]);
    seen.history.0[0].summary = Some(PlanSummary { destroy: 1, ..PlanSummary::default() });
    seen.approval = approved();
    assert_eq!(reason(&next(&object, &seen)), Reason::GuardrailBreached);
}

#[test]
fn plan_only_is_never_applied() {
    let mut object = object();
    object.spec.approval = ApprovalMode::PlanOnly;
    let mut seen = world(vec![plan(1)]);
    seen.approval = approved();
    let step = next(&object, &seen);
    assert_eq!(reason(&step), Reason::Planned);
    assert!(matches!(step, Step::Rest(s) if s.ready));
}

#[test]
fn an_applied_plan_settles_whatever_the_serial_is_now() {
    let plan = plan(2);
    let apply = apply_of(&plan, RunPhase::Succeeded, 1);
    let mut seen = world(vec![apply, plan]);
    seen.state = state(2);
    let step = next(&object(), &seen);
    assert_eq!(reason(&step), Reason::Applied);
    seen.outputs = Ownership::Stale;
    assert_eq!(next(&object(), &seen), Step::PublishOutputs);
    seen.outputs = Ownership::Foreign;
    assert_eq!(reason(&next(&object(), &seen)), Reason::OutputsSecretNotOwned);
}

#[test]
fn a_plan_that_finds_nothing_settles() {
    let mut plan = plan(1);
    plan.has_changes = Some(false);
    assert_eq!(reason(&next(&object(), &world(vec![plan]))), Reason::NoChanges);
}

#[test]
fn a_run_that_was_committed_and_never_started_is_started() {
    let pending = run(RunKind::Apply, RunPhase::Pending, 1);
    let id = pending.id;
    let mut seen = world(vec![pending]);
    assert_eq!(next(&object(), &seen), Step::Start(id));
    seen.liveness = Liveness::Alive;
    assert_eq!(reason(&next(&object(), &seen)), Reason::Progressing);
}

#[test]
fn a_run_that_no_runner_claims_is_given_up() {
    let pending = run(RunKind::Plan, RunPhase::Pending, 11);
    let id = pending.id;
    assert_eq!(next(&object(), &world(vec![pending])), Step::Recover(id));
}

#[test]
fn a_run_whose_process_is_gone_is_recovered_in_every_phase() {
    for phase in [RunPhase::Claimed, RunPhase::Init, RunPhase::Plan, RunPhase::Apply, RunPhase::Finishing] {
        let dead = run(RunKind::Apply, phase, 1);
        let id = dead.id;
        let mut seen = world(vec![dead]);
        assert_eq!(next(&object(), &seen), Step::Recover(id), "{phase:?}");
        seen.liveness = Liveness::Alive;
        assert_eq!(reason(&next(&object(), &seen)), Reason::Progressing, "{phase:?}");
    }
}

/// Minutes since the phase began, since the cancel, and since it was told to stop; and whether it is stopped or killed.
#[test]
fn a_run_that_hangs_is_told_to_stop_and_then_killed() {
    use RunPhase as P;
    let (stop, kill) = (Some(false), Some(true));
    for (phase, since, cancelled, told, expected) in [
        (P::Pending, 15, None, None, None),
        (P::Pending, 16, None, None, stop),
        (P::Claimed, 20, None, None, None),
        (P::Init, 21, None, None, stop),
        (P::Plan, 35, None, None, None),
        (P::Plan, 36, None, None, stop),
        (P::Apply, 65, None, None, None),
        (P::Apply, 66, None, None, stop),
        (P::Apply, 80, None, Some(5), stop),
        (P::Apply, 80, None, Some(6), kill),
        (P::Apply, 9, Some(5), None, None),
        (P::Apply, 9, Some(6), None, stop),
        (P::Apply, 20, Some(12), Some(6), kill),
        (P::Finishing, 15, None, None, None),
        (P::Finishing, 16, None, None, stop),
    ] {
        let kind = if phase == P::Plan { RunKind::Plan } else { RunKind::Apply };
        let mut hung = run(kind, phase, since);
        hung.cancel_requested_at = cancelled.map(ago);
        hung.terminated_at = told.map(ago);
        let mut seen = world(vec![hung]);
        seen.liveness = Liveness::Alive;
        let step = next(&object(), &seen);
        let found = match &step {
            Step::Stop { kill, standing, .. } => {
                assert_eq!(standing.reason, Reason::Progressing);
                Some(*kill)
            }
            Step::Rest(_) => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(found, expected, "{phase:?} {since} {cancelled:?} {told:?}");
        seen.liveness = Liveness::Absent;
        assert!(!matches!(next(&object(), &seen), Step::Stop { .. }), "what is gone is not stopped");
    }
}

#[test]
fn after_a_refused_state_nothing_is_planned_until_someone_says_how_to_go_on() {
    let first = plan(9);
    let mut unsettled = apply_of(&first, RunPhase::Interrupted, 8);
    (unsettled.reason, unsettled.message) = (Some(Reason::StateRegressed), Some("serial 3, kept as x".into()));
    let mut seen = world(vec![unsettled, first]);
    let Step::Rest(standing) = next(&object(), &seen) else { panic!() };
    assert_eq!((standing.reason, standing.action_required), (Reason::StateRegressed, true));
    assert!(standing.message.contains("kept as x"));
    let mut changed = object();
    changed.metadata.generation = Some(GENERATION + 1);
    assert_eq!(reason(&next(&changed, &seen)), Reason::StateRegressed, "another spec does not settle it");
    seen.state = state(2);
    assert_eq!(reason(&next(&leaving(DeletionPolicy::Destroy), &seen)), Reason::StateRegressed);
    assert_eq!(next(&leaving(DeletionPolicy::Retain), &seen), Step::Release);
    seen.taken = taken("retry", "x", ago(1));
    assert!(plans(&next(&object(), &seen)));
}

#[test]
fn after_an_interrupted_apply_even_automatic_waits_for_a_person() {
    let mut object = object();
    object.spec.approval = ApprovalMode::Automatic;
    let first = plan(9);
    let dead = apply_of(&first, RunPhase::Interrupted, 8);
    let mut seen = world(vec![dead.clone(), first.clone()]);
    assert!(plans(&next(&object, &seen)), "a new plan first");

    seen.history.0.insert(0, plan(7));
    assert_eq!(reason(&next(&object, &seen)), Reason::Interrupted);
    seen.approval = approved();
    assert!(matches!(next(&object, &seen), Step::Apply { approved_by: Some(_), .. }));

    let second = plan(6);
    let mut by_alice = apply_of(&second, RunPhase::Succeeded, 5);
    by_alice.requested_by = (Some("alice".into()), "user".into());
    let mut third = plan(4);
    (third.state_serial, third.state_lineage) = (Some(4), Some("l".into()));
    let mut seen = world(vec![third, by_alice, second, dead, first]);
    seen.state = state(2);
    assert!(matches!(next(&object, &seen), Step::Apply { approved_by: None, .. }), "a person let one pass");
}

#[test]
fn a_failed_run_is_tried_again_after_a_pause_and_not_for_ever() {
    let mut failed = run(RunKind::Plan, RunPhase::Failed, 0);
    failed.reason = Some(Reason::PlanFailed);
    failed.message = Some("Error: no".into());
    let seen = world(vec![failed.clone()]);
    assert_eq!(reason(&next(&object(), &seen)), Reason::PlanFailed, "it pauses");

    (failed.created_at, failed.phase_at, failed.finished_at) = (ago(60), ago(60), Some(ago(60)));
    let seen = world(vec![failed.clone()]);
    assert_eq!(next(&object(), &seen), Step::Plan { change: Change::Apply, attempt: 1 });

    let seen = world(vec![failed.clone(); 6]);
    assert_eq!(reason(&next(&object(), &seen)), Reason::RetriesExhausted);
    let mut asked = world(vec![failed.clone(); 6]);
    asked.taken = taken("retry", "x", now());
    assert_eq!(next(&object(), &asked), Step::Plan { change: Change::Apply, attempt: 0 }, "a person asked");
    let mut changed = object();
    changed.metadata.generation = Some(GENERATION + 1);
    assert_eq!(next(&changed, &seen), Step::Plan { change: Change::Apply, attempt: 0 }, "the spec changed");
}

#[test]
fn failed_applies_count_although_each_was_planned_anew() {
    let mut runs = Vec::new();
    for _ in 0..6 {
        let plan = plan(60);
        runs.push(apply_of(&plan, RunPhase::Failed, 60));
        runs.push(plan);
    }
    assert_eq!(reason(&next(&object(), &world(runs))), Reason::RetriesExhausted);
}

#[test]
fn a_stale_plan_is_made_anew_after_a_pause_and_not_for_ever() {
    let stale = |kind, phase, minutes| {
        let mut run = run(kind, phase, minutes);
        run.reason = Some(Reason::StalePlan);
        (run.state_serial, run.has_changes) = (Some(0), Some(true));
        run
    };
    // The runner found it out, or the ledger when the apply was to be committed.
    let plan = plan(1);
    let mut apply = stale(RunKind::Apply, RunPhase::Failed, 0);
    apply.plan = Some(plan.id);
    let mut seen = world(vec![apply, plan]);
    assert_eq!(reason(&next(&object(), &seen)), Reason::StalePlan, "it pauses");
    seen.history.0[0].phase_at = ago(1);
    assert_eq!(next(&object(), &seen), Step::Plan { change: Change::Apply, attempt: 1 });

    let mut seen = world(vec![stale(RunKind::Plan, RunPhase::Succeeded, 0)]);
    seen.approval = approved();
    assert_eq!(reason(&next(&object(), &seen)), Reason::StalePlan, "it pauses");
    seen.history.0[0].phase_at = ago(1);
    assert_eq!(next(&object(), &seen), Step::Plan { change: Change::Apply, attempt: 1 });
    let seen = world(vec![stale(RunKind::Plan, RunPhase::Succeeded, 60); 6]);
    assert_eq!(reason(&next(&object(), &seen)), Reason::RetriesExhausted);
}

#[test]
fn a_run_that_ends_each_of_its_runners_is_given_up() {
    let mut pending = run(RunKind::Apply, RunPhase::Pending, 1);
    pending.handed_over = 2;
    let id = pending.id;
    let mut seen = world(vec![pending]);
    assert_eq!(next(&object(), &seen), Step::Start(id));
    seen.history.0[0].handed_over = 3;
    assert_eq!(next(&object(), &seen), Step::GiveUp(id));
    seen.liveness = Liveness::Alive;
    assert_eq!(reason(&next(&object(), &seen)), Reason::Progressing, "the third may still take it");
}

#[test]
fn a_cancelled_run_stays_cancelled_until_someone_asks() {
    let mut seen = world(vec![run(RunKind::Plan, RunPhase::Cancelled, 2)]);
    assert_eq!(reason(&next(&object(), &seen)), Reason::Cancelled);
    seen.taken = taken("retry", "x", ago(1));
    assert!(plans(&next(&object(), &seen)));
}

#[test]
fn commands_come_before_anything_else_and_are_taken_away_while_the_gate_is_broken() {
    let command = Command { verb: Verb::Approve, value: "sha256:x".into(), by: "alice".into() };
    let mut seen = world(vec![run(RunKind::Apply, RunPhase::Apply, 1)]);
    seen.command = Some(command.clone());
    assert_eq!(next(&object(), &seen), Step::Take(command));
    seen.gate = Some("a policy is missing".into());
    assert!(matches!(next(&object(), &seen), Step::Discard { .. }), "forged for all we know");
}

#[test]
fn what_is_in_the_way_is_named_and_nothing_starts() {
    let mut seen = world(vec![]);
    seen.inputs = Err((Reason::SourceInvalid, "main.tf: backend".into()));
    assert_eq!(reason(&next(&object(), &seen)), Reason::SourceInvalid);
    seen.found_state = Some(FoundState { lineage: "l".into(), serial: 3 });
    assert_eq!(reason(&next(&object(), &seen)), Reason::StateFound);
    let mut astray = object();
    astray.spec.state = Some(crate::api::StateSelector { adopt: Some("m".into()) });
    let Step::Rest(standing) = next(&astray, &seen) else { panic!() };
    assert!(standing.message.contains("lineage l (serial 3)"), "{}", standing.message);
    assert!(standing.message.contains("spec.state.adopt names another, m"), "{}", standing.message);
    seen.regressed = Some("older".into());
    assert_eq!(reason(&next(&object(), &seen)), Reason::StateRegressed);
    seen.organizations = Some(2);
    assert_eq!(reason(&next(&object(), &seen)), Reason::ExecutorNotPermitted);
    let mut object = object();
    object.spec.suspend = true;
    assert_eq!(reason(&next(&object, &seen)), Reason::Suspended);
}

#[test]
fn a_credential_that_is_not_ready_costs_nothing_until_it_wakes_its_deployments() {
    let mut seen = world(vec![]);
    seen.inputs = Err((Reason::CredentialNotReady, "not proved".into()));
    let Step::Rest(standing) = next(&object(), &seen) else { panic!() };
    assert_eq!(standing.wait, Wait::AtMost(SignedDuration::from_mins(10)));
}

#[test]
fn a_refused_approval_is_told_until_another_one_is_taken() {
    let handled = |taken: Vec<Taken>| {
        let mut seen = world(vec![plan(1)]);
        seen.taken = taken;
        let step = next(&object(), &seen);
        let report = super::report::report(&object(), &seen, &step, Ok(&super::act::Outcome::Rested), now());
        report.status.unwrap()["lastHandled"].clone()
    };
    let refused = taken("approveRefused", "sha256:old", ago(2));
    assert_eq!(handled(refused.clone()), json!({"approveRefused": "sha256:old"}));
    let both = [refused, taken("approve", "sha256:new", ago(1))].concat();
    assert_eq!(handled(both), json!({"approve": "sha256:new"}));
}

#[test]
fn a_discarded_command_is_told_until_another_one_is_taken() {
    let told = |other: i64, discarded: i64| {
        let taken =
            [taken("retry", "r1", ago(other)), taken("discarded", "approve x by eve: no", ago(discarded))].concat();
        json!(crate::reconcile::commands::handled(&taken))
    };
    assert_eq!(told(2, 1), json!({"retry": "r1", "discarded": "approve x by eve: no"}));
    assert_eq!(told(1, 2), json!({"retry": "r1"}));
}

#[test]
fn a_state_under_another_organization_stops_everything_but_letting_go() {
    let mut seen = world(vec![plan(1)]);
    (seen.elsewhere, seen.approval) = (Some(Organization("former".into())), approved());
    seen.regressed = Some("there is no state here".into());
    let step = next(&object(), &seen);
    assert_eq!(reason(&step), Reason::StateFound);
    assert!(matches!(&step, Step::Rest(s) if s.message.contains("organization former") && s.message.contains("label")));
    assert_eq!(reason(&next(&leaving(DeletionPolicy::Destroy), &seen)), Reason::StateFound);
    assert_eq!(next(&leaving(DeletionPolicy::Retain), &seen), Step::Release);

    let mut pending = run(RunKind::Apply, RunPhase::Pending, 1);
    pending.subject.organization = Organization("former".into());
    let id = pending.id;
    assert_eq!(next(&object(), &world(vec![pending.clone()])), Step::Recover(id), "it is not begun any more");
    let ended = run(RunKind::Plan, RunPhase::Succeeded, 2);
    let here = History::within(&Organization("other".into()), vec![pending, ended]);
    assert_eq!(here.0.iter().map(|r| r.id).collect::<Vec<_>>(), [id], "what is over counts where it was made");
}

#[test]
fn an_approval_is_shown_with_its_own_plan_alone() {
    let mut object = object();
    let old = json!({"digest": format!("sha256:{:064x}", 7), "by": "alice", "at": "2026-11-20T11:00:00Z"});
    object.status = Some(serde_json::from_value(json!({"approval": old})).unwrap());
    let mut seen = world(vec![plan(1)]);
    let shown = |seen: &Observed| {
        let step = next(&object, seen);
        let report = super::report::report(&object, seen, &step, Ok(&super::act::Outcome::Rested), now());
        report.status.unwrap()["approval"]["digest"].clone()
    };
    assert!(shown(&seen).is_null());
    seen.approval = approved();
    assert_eq!(shown(&seen), json!(seen.history.0[0].digest));
}

#[test]
fn without_a_free_place_nothing_starts() {
    let mut seen = world(vec![]);
    seen.slot_free = false;
    assert_eq!(reason(&next(&object(), &seen)), Reason::Progressing);
    let mut seen = world(vec![plan(1)]);
    (seen.slot_free, seen.approval) = (false, approved());
    assert_eq!(reason(&next(&object(), &seen)), Reason::Progressing);
}

#[test]
fn retain_lets_the_object_go_even_when_suspended_or_broken() {
    let mut object = leaving(DeletionPolicy::Retain);
    object.spec.suspend = true;
    let mut seen = world(vec![]);
    seen.state = state(5);
    seen.inputs = Err((Reason::SecretNotFound, "gone".into()));
    assert_eq!(next(&object, &seen), Step::Release);
}

#[test]
fn destroy_needs_an_approved_destroy_plan_of_its_own() {
    let object = leaving(DeletionPolicy::Destroy);
    let built = plan(9);
    let applied = apply_of(&built, RunPhase::Succeeded, 8);
    let mut seen = world(vec![applied.clone(), built.clone()]);
    seen.state = state(2);
    assert_eq!(next(&object, &seen), Step::Plan { change: Change::Destroy, attempt: 0 });

    let mut destroy = destroying(plan(2));
    (destroy.state_serial, destroy.state_lineage) = (Some(4), Some("l".into()));
    let mut seen = world(vec![destroy.clone(), applied, built]);
    seen.state = state(2);
    assert_eq!(reason(&next(&object, &seen)), Reason::ApprovalRequired);
    seen.approval = approved();
    assert!(matches!(next(&object, &seen), Step::Apply { change: Change::Destroy, .. }));
    seen.state = state(0);
    assert_eq!(next(&object, &seen), Step::Release, "nothing is left");
}

#[test]
fn destroy_does_not_let_go_of_what_a_dead_run_may_have_left_before_a_person_says_so() {
    let object = leaving(DeletionPolicy::Destroy);
    let first = plan(9);
    let dead = apply_of(&first, RunPhase::Interrupted, 8);
    let mut seen = world(vec![dead, first]);
    seen.state = state(0);
    assert_eq!(next(&object, &seen), Step::Release, "it left nothing");
    seen.leftovers = (0..12).map(|n| format!("t.a[{n}]")).collect();
    let newest = seen.history.0[0].id.to_string();
    let Step::Rest(standing) = next(&object, &seen) else { panic!() };
    assert_eq!((standing.reason, standing.action_required), (Reason::Interrupted, true));
    for part in ["t.a[0]", "t.a[9]", "and 2 more", &newest] {
        assert!(standing.message.contains(part), "{part}: {}", standing.message);
    }
    assert!(!standing.message.contains("t.a[10]"));
    seen.taken = taken("retry", &newest, ago(1));
    assert_eq!(reason(&next(&object, &seen)), Reason::Interrupted, "that was before the deletion");
    seen.taken = taken("retry", &newest, now() + SignedDuration::from_secs(1));
    assert_eq!(next(&object, &seen), Step::Release);
    seen.taken.clear();
    assert_eq!(next(&leaving(DeletionPolicy::Retain), &seen), Step::Release);
}

#[test]
fn a_regressed_ledger_does_not_erase_what_was_acknowledged() {
    let mut object = object();
    let state = json!({"state": {"serial": 7, "lineage": "l", "sha256": "newer", "resources": 3}});
    object.status = Some(serde_json::from_value(state.clone()).unwrap());
    let mut seen = world(vec![]);
    (seen.state, seen.regressed) = (self::state(1), Some("serial 4 is older than 7".into()));
    let step = next(&object, &seen);
    let report = super::report::report(&object, &seen, &step, Ok(&super::act::Outcome::Rested), now());
    assert_eq!(report.status.unwrap()["state"], state["state"]);
}

#[test]
fn destroy_lets_go_only_of_what_is_not_its_own_or_is_gone() {
    let object = leaving(DeletionPolicy::Destroy);
    let mut seen = world(vec![]);
    seen.state = state(2).map(|s| StateHead { holder_uid: Some(Uuid::max()), ..s });
    assert_eq!(next(&object, &seen), Step::Release, "another object's");
    seen.regressed = Some("older".into());
    assert_eq!(reason(&next(&object, &seen)), Reason::StateRegressed);
    let mut seen = world(vec![apply_of(&plan(9), RunPhase::Failed, 8)]);
    assert!(plans(&next(&object, &seen)), "an apply without a state may have built");
    let mut nothing = destroying(plan(1));
    nothing.has_changes = Some(false);
    seen.history.0.insert(0, nothing);
    assert_eq!(next(&object, &seen), Step::Release, "the plan found nothing to destroy");
}

#[test]
fn automatic_waits_while_the_gate_is_not_whole() {
    let mut object = object();
    object.spec.approval = ApprovalMode::Automatic;
    let mut seen = world(vec![plan(1)]);
    seen.gate = Some("a policy is missing".into());
    assert_eq!(reason(&next(&object, &seen)), Reason::GateNotInstalled);
}

#[test]
fn destroy_says_what_holds_it() {
    let object = leaving(DeletionPolicy::Destroy);
    let mut seen = world(vec![]);
    seen.state = state(2);
    seen.inputs = Err((Reason::SecretNotFound, "Secret \"vars\"".into()));
    assert_eq!(reason(&next(&object, &seen)), Reason::SecretNotFound);
}

#[test]
fn a_command_without_the_caller_s_name_is_none() {
    let read = |pairs: &[(&str, &str)]| {
        Command::read(Some(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()))
    };
    assert_eq!(read(&[("landfall.dev/approve", "sha256:x")]), None);
    assert_eq!(read(&[("landfall.dev/approve", "sha256:x"), ("landfall.dev/command-by", "")]), None);
    let command = read(&[("landfall.dev/cancel", "r"), ("landfall.dev/command-by", "alice")]).unwrap();
    assert_eq!((command.verb, command.by.as_str()), (Verb::Cancel, "alice"));
}

proptest! {
    #[test]
    fn no_number_of_failures_overflows_the_pause(failures in 0..=u32::MAX, longest in 0..=u64::MAX, id in any::<u128>()) {
        let pause = pause(failures, longest, Uuid::from_u128(id));
        prop_assert!(pause >= SignedDuration::ZERO);
    }

    #[test]
    fn the_pause_lies_between_half_and_all_of_its_ceiling(failures in 1..20u32, id in any::<u128>()) {
        let ceiling = (5i64 << (failures - 1)).min(3600);
        let pause = pause(failures, 3600, Uuid::from_u128(id)).as_millis();
        prop_assert!(pause <= i128::from(ceiling) * 1000 && pause >= i128::from(ceiling) * 500, "{pause}");
    }
}

#[path = "seen_tests.rs"]
mod seen;
