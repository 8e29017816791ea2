//! From a new object to a settled one, and what is in the way.

use super::*;

#[test]
fn a_new_object_is_planned() {
    assert_eq!(next(&object(), &world(vec![])), Step::Plan { change: Change::Apply, attempt: 0 });
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
    seen.former_outputs = Some("first".into());
    assert_eq!(next(&object(), &seen), Step::RemoveOutputs("first".into()), "the former one goes first");
    seen.outputs = Ownership::NotWanted;
    assert_eq!(next(&object(), &seen), Step::RemoveOutputs("first".into()));
    seen.outputs = Ownership::Foreign;
    assert_eq!(reason(&next(&publishing(object()), &seen)), Reason::OutputsSecretNotOwned);
}

#[test]
fn a_secret_of_somebody_else_is_told_before_the_plan_and_before_the_apply() {
    let mut seen = Observed { outputs: Ownership::Foreign, ..world(vec![]) };
    let object = publishing(object());
    let Step::Rest(standing) = next(&object, &seen) else { panic!() };
    assert_eq!((standing.reason, standing.phase), (Reason::OutputsSecretNotOwned, Some(DeploymentPhase::Pending)));
    assert!(standing.message.contains("theirs"), "{}", standing.message);

    seen.history = History(vec![plan(1)]);
    seen.approval = approved();
    let Step::Rest(standing) = next(&object, &seen) else { panic!() };
    let held = (Reason::OutputsSecretNotOwned, Some(DeploymentPhase::AwaitingApproval));
    assert_eq!((standing.reason, standing.phase), held, "it came after the plan");

    seen.state = state(1);
    let leaving = publishing(leaving(DeletionPolicy::Destroy));
    assert!(plans(&next(&leaving, &seen)), "it stands in no way of a destroy");
}

#[test]
fn what_was_built_is_published_whatever_the_next_plan_lacks() {
    let plan = plan(2);
    let mut seen = world(vec![apply_of(&plan, RunPhase::Succeeded, 1), plan.clone()]);
    seen.outputs = Ownership::Stale;
    seen.inputs = Err((Reason::SecretNotFound, "Secret \"vars\"".into()));
    assert_eq!(next(&object(), &seen), Step::PublishOutputs);
    seen.outputs = Ownership::Fresh;
    assert_eq!(reason(&next(&object(), &seen)), Reason::SecretNotFound);
    seen.outputs = Ownership::Stale;
    seen.history.0.insert(0, apply_of(&plan, RunPhase::Interrupted, 1));
    assert_eq!(reason(&next(&object(), &seen)), Reason::SecretNotFound, "nobody knows what it left");
}

#[test]
fn a_plan_that_finds_nothing_settles() {
    let mut plan = plan(1);
    plan.has_changes = Some(false);
    assert_eq!(reason(&next(&object(), &world(vec![plan]))), Reason::NoChanges);
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
    let mut object = object();
    object.spec.suspend = true;
    assert_eq!(reason(&next(&object, &seen)), Reason::Suspended);
}

#[test]
fn others_stand_in_the_way_of_a_run_and_hide_nothing_else() {
    let others = Some(Others { deployments: 3, organizations: 2 });
    let there = |runs| Observed { others, ..world(runs) };
    let Step::Rest(standing) = next(&object(), &there(vec![])) else { panic!() };
    assert_eq!(standing.reason, Reason::ExecutorNotPermitted);
    assert!(standing.message.contains("knows 3 deployments of 2 other organizations;"), "{}", standing.message);
    let one = Observed { others: Some(Others { deployments: 1, organizations: 1 }), ..world(vec![]) };
    let Step::Rest(standing) = next(&object(), &one) else { panic!() };
    assert!(standing.message.contains("knows 1 deployment of 1 other organization;"), "{}", standing.message);
    let full = Observed { turn: FULL, ..there(vec![]) };
    assert_eq!(reason(&next(&object(), &full)), Reason::ExecutorNotPermitted, "a free place would not help");
    assert_eq!(reason(&next(&object(), &there(vec![plan(1)]))), Reason::ApprovalRequired);
    let approved = Observed { approval: approved(), ..there(vec![plan(1)]) };
    assert_eq!(reason(&next(&object(), &approved)), Reason::ExecutorNotPermitted);
    let invalid = Observed { inputs: Err((Reason::SourceInvalid, "main.tf: backend".into())), ..there(vec![]) };
    assert_eq!(reason(&next(&object(), &invalid)), Reason::SourceInvalid);
    let applied = plan(2);
    let settled = there(vec![apply_of(&applied, RunPhase::Succeeded, 1), applied]);
    assert_eq!(reason(&next(&object(), &settled)), Reason::Applied, "nothing is to be run");
}

#[test]
fn a_credential_that_is_not_ready_costs_nothing_until_it_wakes_its_deployments() {
    let mut seen = world(vec![]);
    seen.inputs = Err((Reason::CredentialNotReady, "not proved".into()));
    let Step::Rest(standing) = next(&object(), &seen) else { panic!() };
    assert_eq!(standing.wait, Wait::AtMost(SignedDuration::from_mins(10)));
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
fn without_a_free_place_nothing_starts() {
    let mut seen = world(vec![]);
    seen.turn = FULL;
    assert_eq!(reason(&next(&object(), &seen)), Reason::Progressing);
    let mut seen = world(vec![plan(1)]);
    (seen.turn, seen.approval) = (FULL, approved());
    assert_eq!(reason(&next(&object(), &seen)), Reason::Progressing);
}

#[test]
fn a_regressed_ledger_does_not_erase_what_was_acknowledged() {
    let mut object = object();
    let state = json!({"state": {"serial": 7, "lineage": "l", "sha256": "newer", "resources": 3}});
    object.status = Some(serde_json::from_value(state.clone()).unwrap());
    let mut seen = world(vec![]);
    (seen.state, seen.regressed) = (self::state(1), Some("serial 4 is older than 7".into()));
    let report = reported(&object, &seen);
    assert_eq!(report.status.unwrap()["state"], state["state"]);
}
