//! What users see of a deployment: phase, conditions, Events.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::Value;

use super::*;
use crate::Error;
use crate::reconcile::Next;

/// The same object with the status that the report leaves behind.
fn with_status(object: &TerraformDeployment, status: &Value) -> TerraformDeployment {
    let mut object = object.clone();
    object.status = Some(serde_json::from_value(status.clone()).unwrap());
    object
}

fn words(report: &Report) -> Vec<(bool, &str)> {
    report.events.iter().map(|event| (event.warning, event.reason)).collect()
}

/// Name, object, what is seen of the world, phase, Events (whether a Warning, and the reason).
type Row = (&'static str, TerraformDeployment, Observed, &'static str, Vec<(bool, &'static str)>);

/// Worlds in which a deployment rests.
fn standings() -> Vec<Row> {
    let automatic = |limit| {
        let mut object = object();
        object.spec.approval = ApprovalMode::Automatic;
        object.spec.guardrails = Some(Guardrails { max_destroy: Some(IntOrString::Int(limit)) });
        object
    };
    let with = |mode| {
        let mut object = object();
        object.spec.approval = mode;
        object
    };
    let suspended = {
        let mut object = object();
        object.spec.suspend = true;
        object
    };
    let changed = |change: fn(&mut Observed), runs: Vec<Run>| {
        let mut seen = world(runs);
        change(&mut seen);
        seen
    };
    let applied = || {
        let plan = plan(2);
        vec![apply_of(&plan, RunPhase::Succeeded, 1), plan]
    };
    let destroys = || {
        let mut plan = plan(1);
        plan.summary = Some(PlanSummary { destroy: 1, ..PlanSummary::default() });
        vec![plan]
    };
    let nothing = || {
        let mut plan = plan(1);
        plan.has_changes = Some(false);
        vec![plan]
    };
    let failed = |kind| {
        let mut failed = run(kind, RunPhase::Failed, 0);
        failed.message = Some("Error: no".into());
        failed
    };
    let unfit = Run { reason: Some(Reason::SourceInvalid), ..failed(RunKind::Plan) };
    let died = || {
        let first = plan(9);
        vec![plan(7), apply_of(&first, RunPhase::Interrupted, 8), first]
    };
    let running = |kind| changed(|seen| seen.liveness = ALIVE, vec![run(kind, RunPhase::Apply, 1)]);
    let missing = |seen: &mut Observed| seen.inputs = Err((Reason::SecretNotFound, "no Secret".into()));
    let mut gone = leaving(DeletionPolicy::Destroy);
    gone.metadata.finalizers = None;
    let warning = |reason| vec![(true, reason)];
    vec![
        ("blocked at first", object(), changed(missing, vec![]), "Pending", warning("SecretNotFound")),
        ("blocked after a plan", object(), changed(missing, vec![plan(1)]), "Pending", warning("SecretNotFound")),
        ("blocked after an apply", object(), changed(missing, applied()), "Pending", warning("SecretNotFound")),
        ("suspended", suspended, world(applied()), "Pending", vec![]),
        (
            "older database",
            object(),
            changed(|s| s.regressed = Some("serial 4 is older than 7".into()), vec![]),
            "Pending",
            warning("StateRegressed"),
        ),
        ("no place", object(), changed(|s| s.turn = FULL, vec![]), "Pending", vec![]),
        ("planning", object(), running(RunKind::Plan), "Planning", vec![]),
        ("applying", object(), running(RunKind::Apply), "Applying", vec![]),
        ("waits", object(), world(vec![plan(1)]), "AwaitingApproval", vec![(false, "ApprovalRequired")]),
        ("plan only", with(ApprovalMode::PlanOnly), world(vec![plan(1)]), "AwaitingApproval", vec![]),
        ("breached", automatic(0), world(destroys()), "AwaitingApproval", warning("GuardrailBreached")),
        (
            "gate",
            automatic(5),
            changed(|s| s.gate = Some("a policy is missing".into()), vec![plan(1)]),
            "AwaitingApproval",
            warning("GateNotInstalled"),
        ),
        ("interrupted", automatic(5), changed(|s| s.past.needs_a_person = true, died()), "Interrupted", vec![]),
        ("applied", object(), world(applied()), "Applied", vec![(false, "Applied")]),
        (
            "foreign Secret",
            publishing(object()),
            changed(|s| s.outputs = Ownership::Foreign, applied()),
            "Applied",
            warning("OutputsSecretNotOwned"),
        ),
        ("nothing", object(), world(nothing()), "NoChanges", vec![]),
        ("failed plan", object(), world(vec![failed(RunKind::Plan)]), "Failed", warning("PlanFailed")),
        (
            "no more attempts",
            object(),
            world(vec![failed(RunKind::Plan); 6]),
            "Failed",
            vec![(true, "PlanFailed"), (true, "RetriesExhausted")],
        ),
        ("wrong in itself", object(), world(vec![unfit]), "Failed", warning("SourceInvalid")),
        ("cancelled", object(), world(vec![run(RunKind::Plan, RunPhase::Cancelled, 1)]), "Cancelled", vec![]),
        ("gone", gone, world(vec![]), "Destroyed", vec![]),
    ]
}

#[test]
fn each_standing_has_its_phase_and_its_event_and_says_it_once() {
    for (name, object, seen, phase, events) in standings() {
        // Whatever stood there before must not shine through.
        let before = with_status(&object, &json!({"phase": "Planning"}));
        let first = reported(&before, &seen);
        let status = first.status.clone().unwrap();
        assert_eq!(status["phase"], phase, "{name}");
        assert_eq!(words(&first), events, "{name}");
        for condition in status["conditions"].as_array().unwrap() {
            assert!(condition["message"].as_str().unwrap().len() > 8, "{name}: {condition}");
        }
        let again = reported(&with_status(&object, &status), &seen);
        assert_eq!(again.status.as_ref(), Some(&status), "{name}");
        assert_eq!(words(&again), vec![], "{name}: nothing has changed");
    }
}

#[test]
fn a_run_that_ended_badly_is_told_once_whatever_comes_next() {
    let first = plan(9);
    let dead = apply_of(&first, RunPhase::Interrupted, 8);
    let running = json!({"lastRun": {"id": dead.id.to_string(), "kind": "Apply", "phase": "Running"}});
    let before = with_status(&object(), &running);
    let seen = world(vec![dead, first]);
    let step = next(&before, &seen);
    assert!(plans(&step));
    let told = report(&before, &seen, &step, Ok(&Outcome::Done), now());
    assert_eq!(words(&told), [(true, "Interrupted")]);
    assert!(told.events[0].message.contains("the next plan needs a person"), "{}", told.events[0].message);
    let after = with_status(&before, told.status.as_ref().unwrap());
    assert_eq!(words(&report(&after, &seen, &step, Ok(&Outcome::Done), now())), vec![]);
}

#[test]
fn an_apply_that_ended_badly_is_not_told_any_more_when_a_plan_has_found_the_world_in_order() {
    let applied = |seen: &Observed| {
        let status = reported(&object(), seen).status.unwrap();
        let condition =
            status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Applied").unwrap().clone();
        (condition["status"].as_str().unwrap().to_owned(), condition["reason"].as_str().unwrap().to_owned())
    };
    let told = |status: &str, reason: &str| (status.to_owned(), reason.to_owned());
    for phase in [RunPhase::Interrupted, RunPhase::Failed] {
        let first = plan(9);
        let dead = Run { reason: Some(Reason::Interrupted), ..apply_of(&first, phase, 8) };
        assert_eq!(applied(&world(vec![plan(7), dead.clone(), first.clone()])), told("False", "Interrupted"));
        let nothing = Run { has_changes: Some(false), ..plan(7) };
        let mut seen = world(vec![nothing.clone(), dead, first]);
        assert_eq!(applied(&seen), told("True", "NoChanges"));
        seen.past.needs_a_person = phase == RunPhase::Interrupted;
        let expected = if seen.past.needs_a_person { ("False", "Interrupted") } else { ("True", "NoChanges") };
        assert_eq!(applied(&seen), told(expected.0, expected.1), "no plan tells what a dead run left over");
        seen.history.0.insert(0, apply_of(&nothing, RunPhase::Succeeded, 1));
        assert_eq!(applied(&seen), told("True", "Applied"));
    }
}

#[test]
fn what_only_others_can_mend_is_tried_again_before_long() {
    let altered = Error::condition(Reason::OutputsSecretNotOwned, "Secret \"web\" is changed while it is written");
    let told = report(&object(), &world(vec![]), &Step::PublishOutputs, Err(&altered), now());
    assert_eq!(told.next, Next::Backoff, "nothing wakes the object when a webhook goes");
    let damaged = Error::Integrity("a key is missing".into());
    let told = report(&object(), &world(vec![]), &Step::PublishOutputs, Err(&damaged), now());
    assert_eq!(told.next, Next::After(std::time::Duration::from_secs(600)));
}

#[test]
fn a_step_that_was_not_done_is_no_phase_of_its_own() {
    let phase = |error: &Error, before: &str, seen: &Observed| {
        let object = with_status(&object(), &json!({"phase": before}));
        let report = report(&object, seen, &next(&object, seen), Err(error), now());
        report.status.unwrap()["phase"].as_str().unwrap().to_owned()
    };
    let found = Error::condition(Reason::StateFound, "adopt it");
    let away = Error::condition(Reason::LedgerUnavailable, "away");
    assert_eq!(phase(&found, "Applied", &world(vec![])), "Pending", "a plan that could not be begun");
    assert_eq!(phase(&away, "Applied", &world(vec![])), "Applied", "what passes by itself changes nothing");
    let mut approved = world(vec![plan(1)]);
    approved.approval = super::approved();
    assert_eq!(phase(&found, "Planning", &approved), "AwaitingApproval");
}

#[test]
fn a_mishap_of_the_api_server_takes_nothing_back_and_a_refusal_is_told() {
    let refused = |code: u16| {
        let status = json!({"status": "Failure", "message": "no", "reason": "x", "code": code});
        Error::from(kube::Error::Api(Box::new(serde_json::from_value(status).unwrap())))
    };
    let ready = json!({"conditions": [{"type": "Ready", "status": "True", "reason": "Applied", "message": "",
        "lastTransitionTime": "2026-11-20T11:00:00Z", "observedGeneration": GENERATION}]});
    let object = with_status(&object(), &ready);
    for (code, expected) in [(500, "Applied"), (409, "Applied"), (429, "Applied"), (403, "Forbidden")] {
        let reports = [
            super::super::report::unobserved(&object, &refused(code), now()),
            report(&object, &world(vec![]), &Step::PublishOutputs, Err(&refused(code)), now()),
        ];
        for report in reports {
            assert_eq!(report.next, Next::Backoff);
            assert_eq!(report.status.unwrap()["conditions"][0]["reason"], expected, "{code}");
        }
    }
}
