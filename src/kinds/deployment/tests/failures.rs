//! What follows a run that did not end well.

use super::*;

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
fn a_module_that_is_wrong_in_itself_waits_for_another_one() {
    let mut failed = run(RunKind::Plan, RunPhase::Failed, 60);
    (failed.reason, failed.message) = (Some(Reason::SourceInvalid), Some("Error: Unclosed block".into()));
    let seen = world(vec![failed.clone()]);
    let Step::Rest(standing) = next(&object(), &seen) else { panic!("a retry would end the same") };
    assert_eq!((standing.reason, standing.phase), (Reason::SourceInvalid, Some(DeploymentPhase::Failed)));
    assert!(standing.action_required && standing.wait == Wait::AtMost(SignedDuration::from_mins(10)));
    for part in ["Unclosed block", "ConfigMap or Secret", &failed.id.to_string()] {
        assert!(standing.message.contains(part), "{part}: {}", standing.message);
    }
    let mut asked = world(vec![failed.clone()]);
    asked.taken = taken("retry", "x", now());
    assert!(plans(&next(&object(), &asked)));
    failed.facts = json!({"inputDigest": "former"});
    assert!(plans(&next(&object(), &world(vec![failed]))), "another ConfigMap or Secret");
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
fn a_cancelled_run_stays_cancelled_until_someone_asks() {
    let mut seen = world(vec![run(RunKind::Plan, RunPhase::Cancelled, 2)]);
    assert_eq!(reason(&next(&object(), &seen)), Reason::Cancelled);
    seen.taken = taken("retry", "x", ago(1));
    assert!(plans(&next(&object(), &seen)));
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
