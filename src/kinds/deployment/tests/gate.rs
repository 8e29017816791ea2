//! Approval, and what it does not lift.

use super::*;

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
    seen.past.needs_a_person = true;
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

/// An object that lets nothing be destroyed, and a plan that destroys.
fn breached() -> (TerraformDeployment, Observed) {
    let (mut object, mut seen) = (object(), world(vec![plan(1)]));
    object.spec.guardrails = Some(Guardrails { max_destroy: Some(IntOrString::Int(0)) });
    seen.history.0[0].summary = Some(PlanSummary { destroy: 1, ..PlanSummary::default() });
    (object, seen)
}

#[test]
fn an_approval_does_not_lift_a_guardrail() {
    let (object, mut seen) = breached();
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
fn an_approval_under_plan_only_is_discarded_and_told_why() {
    let command = Command { verb: Verb::Approve, value: "sha256:x".into(), by: "alice".into() };
    let mut seen = world(vec![plan(1)]);
    seen.command = Some(command.clone());
    let plan_only = |mut object: TerraformDeployment| {
        object.spec.approval = ApprovalMode::PlanOnly;
        object
    };
    let why = Refusal::Pointless("spec.approval is PlanOnly, nothing is applied".into());
    assert_eq!(next(&plan_only(object()), &seen), Step::Discard { command: command.clone(), why });
    let leaving = plan_only(leaving(DeletionPolicy::Destroy));
    assert_eq!(next(&leaving, &seen), Step::Take(command), "a destroy plan is applied when it is approved");
    seen.command = Some(Command { verb: Verb::Retry, value: "r".into(), by: "alice".into() });
    assert!(matches!(next(&plan_only(object()), &seen), Step::Take(_)), "any other command counts");
}

#[test]
fn an_approval_of_what_a_guardrail_stops_is_discarded_and_told_why() {
    let (mut object, mut seen) = breached();
    let digest = seen.history.0[0].digest.clone().unwrap();
    let command = Command { verb: Verb::Approve, value: digest, by: "alice".into() };
    seen.command = Some(command.clone());
    match next(&object, &seen) {
        Step::Discard { command: discarded, why: Refusal::Pointless(why) } => {
            assert_eq!(discarded, command);
            assert!(why.contains("spec.guardrails.maxDestroy"), "{why}");
        }
        step => panic!("{step:?}"),
    }
    object.spec.guardrails = None;
    assert_eq!(next(&object, &seen), Step::Take(command.clone()));
    seen.ceiling = Some(IntOrString::Int(0));
    assert!(matches!(next(&object, &seen), Step::Discard { .. }), "nor does one lie ready for a higher ceiling");
    let of = |digest: &str| Some(Command { value: digest.to_owned(), ..command.clone() });
    seen.command = of("sha256:x");
    assert!(matches!(next(&object, &seen), Step::Take(_)), "the ledger answers for other digests");
    seen.command = of(&command.value);
    let mut mended = plan(0);
    mended.digest = Some(format!("sha256:{:064x}", 2));
    seen.history.0.insert(0, mended);
    assert!(matches!(next(&object, &seen), Step::Take(_)), "and for a plan that is not the newest any more");
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
    let step = next(&object, &seen);
    assert!(matches!(step, Step::Apply { approved_by: None, .. }), "the ledger says, not what was read");
    seen.past.needs_a_person = true;
    assert_eq!(reason(&next(&object, &seen)), Reason::Interrupted);
    seen.approval = approved();
    assert!(matches!(next(&object, &seen), Step::Apply { approved_by: Some(_), .. }));
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
fn a_refused_approval_is_told_until_another_one_is_taken() {
    let handled = |taken: Vec<Taken>| {
        let mut seen = world(vec![plan(1)]);
        seen.taken = taken;
        let report = reported(&object(), &seen);
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
fn an_approval_is_shown_with_its_own_plan_alone() {
    let mut object = object();
    let old = json!({"digest": format!("sha256:{:064x}", 7), "by": "alice", "at": "2026-11-20T11:00:00Z"});
    object.status = Some(serde_json::from_value(json!({"approval": old})).unwrap());
    let mut seen = world(vec![plan(1)]);
    let shown = |seen: &Observed| {
        let report = reported(&object, seen);
        report.status.unwrap()["approval"]["digest"].clone()
    };
    assert!(shown(&seen).is_null());
    seen.approval = approved();
    assert_eq!(shown(&seen), json!(seen.history.0[0].digest));
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
fn a_command_without_the_caller_s_name_is_none() {
    let read = |pairs: &[(&str, &str)]| {
        Command::read(Some(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()))
    };
    assert_eq!(read(&[("landfall.dev/approve", "sha256:x")]), None);
    assert_eq!(read(&[("landfall.dev/approve", "sha256:x"), ("landfall.dev/command-by", "")]), None);
    let command = read(&[("landfall.dev/cancel", "r"), ("landfall.dev/command-by", "alice")]).unwrap();
    assert_eq!((command.verb, command.by.as_str()), (Verb::Cancel, "alice"));
}
