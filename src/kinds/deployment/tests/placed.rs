//! How the pods of runs stand: `spec.runner`.

use super::*;

/// A run of the generation before, when the spec said the same but for `spec.runner`.
fn before(mut run: Run) -> Run {
    run.generation -= 1;
    run.facts = json!({"inputDigest": "same", "specDigest": "spec"});
    run
}

fn asking(runner: serde_json::Value) -> TerraformDeployment {
    let mut object = object();
    object.spec.runner = serde_json::from_value(runner).unwrap();
    object
}

fn refused() -> Result<Placement, (Reason, String)> {
    Err((Reason::ExecutorNotPermitted, "spec.runner.serviceAccountName: no".into()))
}

#[test]
fn another_place_makes_no_plan_another_one() {
    let waiting = before(plan(1));
    assert_eq!(reason(&next(&object(), &world(vec![waiting.clone()]))), Reason::ApprovalRequired);
    let mut seen = world(vec![waiting.clone()]);
    seen.approval = approved();
    assert!(matches!(next(&object(), &seen), Step::Apply { .. }));
    let applied = Run { generation: GENERATION - 1, ..apply_of(&waiting, RunPhase::Succeeded, 1) };
    assert_eq!(reason(&next(&object(), &world(vec![applied, waiting.clone()]))), Reason::Applied);

    let mut other = waiting;
    other.facts = json!({"inputDigest": "same", "specDigest": "other"});
    assert!(plans(&next(&object(), &world(vec![other]))), "more than the place has changed");
}

#[test]
fn what_failed_is_tried_in_another_place_at_once() {
    let plan = before(plan(2));
    for phase in [RunPhase::Failed, RunPhase::Interrupted, RunPhase::Cancelled] {
        assert!(plans(&next(&object(), &world(vec![before(run(RunKind::Plan, phase, 0))]))), "{phase:?}");
    }
    let apply = Run { generation: GENERATION - 1, ..apply_of(&plan, RunPhase::Failed, 0) };
    assert!(plans(&next(&object(), &world(vec![apply, plan]))));
}

#[test]
fn what_is_not_permitted_begins_no_run_and_is_told() {
    let first = plan(1);
    let applied = vec![apply_of(&first, RunPhase::Succeeded, 1), first];
    for runs in [vec![], vec![plan(1)], applied] {
        let mut seen = world(runs);
        (seen.placement, seen.approval) = (refused(), approved());
        let Step::Rest(standing) = next(&object(), &seen) else { panic!() };
        assert_eq!((standing.reason, standing.ready), (Reason::ExecutorNotPermitted, false));
        assert!(standing.message.contains("spec.runner.serviceAccountName"), "{}", standing.message);
    }
    let mut seen = world(vec![run(RunKind::Plan, RunPhase::Pending, 1)]);
    seen.placement = refused();
    assert_eq!(reason(&next(&object(), &seen)), Reason::ExecutorNotPermitted, "one that was committed before");
    seen.placement = Ok(Placement::default());
    assert!(matches!(next(&object(), &seen), Step::Start(_)));
    assert_eq!(
        next(&leaving(DeletionPolicy::Retain), &Observed { placement: refused(), ..world(vec![]) }),
        Step::Release
    );
}

#[test]
fn a_run_that_does_not_begin_is_started_anew_when_its_place_is_mended() {
    let pending = run(RunKind::Apply, RunPhase::Pending, 1);
    let id = pending.id;
    let mut seen = world(vec![pending]);
    (seen.liveness, seen.hitch) = (ALIVE, Some("no node takes it".into()));
    assert_eq!(reason(&next(&object(), &seen)), Reason::RunnerNotStarted);
    seen.outdated = true;
    assert_eq!(next(&object(), &seen), Step::Start(id));
    seen.placement = refused();
    assert_eq!(reason(&next(&object(), &seen)), Reason::ExecutorNotPermitted);
    seen.history.0[0].terminated_at = Some(ago(1));
    assert!(matches!(next(&object(), &seen), Step::Stop { .. }), "what is overdue ends all the same");
}

#[test]
fn a_run_stays_with_the_service_account_of_its_plan() {
    let named = |account: &str| asking(json!({"serviceAccountName": account}));
    let mut plan = plan(2);
    plan.facts = json!({"inputDigest": "same", "serviceAccount": "aws"});
    let apply = apply_of(&plan, RunPhase::Pending, 1);
    let pending = Run { phase: RunPhase::Pending, ..plan.clone() };
    for (runs, what) in [(vec![pending], "plan"), (vec![apply, plan], "apply")] {
        let mut seen = world(runs);
        let id = seen.history.0[0].id;
        for (object, expected) in [
            (named("aws"), Step::Start(id)),
            (named("gcp"), Step::GiveUp(id, Untaken::Misplaced)),
            (object(), Step::GiveUp(id, Untaken::Misplaced)),
        ] {
            seen.liveness = Liveness::Absent;
            assert_eq!(next(&object, &seen), expected, "{what}");
            (seen.liveness, seen.outdated) = (ALIVE, false);
            assert_eq!(reason(&next(&object, &seen)), Reason::Progressing, "{what}: it may begin at any moment");
            (seen.hitch, seen.outdated) = (Some("no such account".into()), true);
            assert_eq!(next(&object, &seen), expected, "{what}");
            (seen.hitch, seen.outdated) = (None, false);
        }
    }
    let mut seen = world(vec![run(RunKind::Plan, RunPhase::Pending, 1)]);
    seen.history.0[0].facts = json!({});
    assert_eq!(
        next(&named("aws"), &seen),
        Step::GiveUp(seen.history.0[0].id, Untaken::Misplaced),
        "of a spec that named none"
    );
}
