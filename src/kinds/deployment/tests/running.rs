//! A run under way: started, stopped, given up, recovered.

use std::time::Duration;

use super::*;
use crate::run::protocol::{Holder, PodIdentity};

#[test]
fn a_run_that_was_committed_and_never_started_is_started() {
    let pending = run(RunKind::Apply, RunPhase::Pending, 1);
    let id = pending.id;
    let mut seen = world(vec![pending]);
    assert_eq!(next(&object(), &seen), Step::Start(id));
    seen.liveness = ALIVE;
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
        seen.liveness = ALIVE;
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
        seen.liveness = ALIVE;
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

/// Its pod may be the only place where the last state is: who does not reach the run API looks like who hangs.
#[test]
fn an_apply_whose_pod_may_hold_states_is_waited_for_and_a_person_may_end_it() {
    use RunPhase as P;
    let day = 24 * 60;
    let (waits, stop, kill) = ("undelivered", "stop", "kill");
    for (phase, since, cancelled, told, expected) in [
        (P::Init, 21, None, None, stop),
        (P::Apply, 65, None, None, "runs"),
        (P::Apply, 66, None, None, waits),
        (P::Apply, day + 65, None, None, waits),
        (P::Apply, day + 66, None, None, stop),
        (P::Apply, 80, Some(5), None, waits),
        (P::Apply, 80, Some(6), None, stop),
        (P::Apply, 80, Some(20), Some(6), kill),
        (P::Apply, 80, Some(20), Some(12), "in vain"),
        (P::Finishing, 16, None, None, waits),
        (P::Finishing, day + 16, None, None, stop),
    ] {
        let mut hung = run(RunKind::Apply, phase, since);
        (hung.cancel_requested_at, hung.terminated_at) = (cancelled.map(ago), told.map(ago));
        hung.holder = Some(Holder::Pod(PodIdentity { pod: "p".into(), pod_uid: "1".into() }));
        let id = hung.id;
        let mut seen = world(vec![hung]);
        seen.liveness = Liveness::Alive { holds: true };
        let found = match next(&object(), &seen) {
            Step::Stop { kill: false, .. } => stop,
            Step::Stop { standing, .. } if standing.message.contains(&format!("landfall.dev/run={id}")) => "in vain",
            Step::Stop { .. } => kill,
            Step::Rest(standing) if standing.message.contains("should have ended") => {
                let says = if cancelled.is_none() {
                    "`landfall cancel` ends it sooner"
                } else {
                    "Its cancel was requested at"
                };
                assert!(standing.action_required && standing.message.contains(says), "{}", standing.message);
                waits
            }
            Step::Rest(_) => "runs",
            other => panic!("{other:?}"),
        };
        assert_eq!(found, expected, "{phase:?} {since} {cancelled:?} {told:?}");
    }
}

#[test]
fn what_is_said_of_an_overdue_run_stays_the_same_until_something_is_done() {
    let since = |liveness: Liveness, phase: RunPhase, later: i64| {
        let mut hung = run(RunKind::Apply, phase, 120);
        (hung.id, hung.read_at) = (Uuid::nil(), hung.read_at + SignedDuration::from_secs(later));
        let mut seen = world(vec![hung]);
        seen.liveness = liveness;
        match next(&object(), &seen) {
            Step::Rest(standing) | Step::Stop { standing, .. } => standing,
            other => panic!("{other:?}"),
        }
    };
    for phase in [RunPhase::Init, RunPhase::Apply, RunPhase::Finishing] {
        for holds in [true, false] {
            let alive = Liveness::Alive { holds };
            assert_eq!(since(alive, phase, 0), since(alive, phase, 30), "{phase:?} {holds}");
        }
        let remains = |seconds| since(Liveness::Remains(Duration::from_secs(seconds)), phase, 0);
        assert_eq!(remains(400), remains(430), "{phase:?}");
        let shell = |late| since(Liveness::Shell { late }, phase, 0);
        assert_eq!(shell(None), shell(Some(SignedDuration::from_secs(30))), "{phase:?}");
    }
}

#[test]
fn what_outlives_runner_and_engine_is_killed_after_a_grace() {
    let left = run(RunKind::Apply, RunPhase::Apply, 1);
    let (id, grace) = (left.id, left.limits.grace);
    let mut seen = world(vec![left]);
    for (remains, killed) in [(0, false), (grace - 1, false), (grace, true)] {
        seen.liveness = Liveness::Remains(Duration::from_secs(remains));
        let step = next(&object(), &seen);
        assert_eq!(matches!(step, Step::Stop { run, kill: true, .. } if run == id), killed, "{remains}: {step:?}");
    }
}

#[test]
fn a_pod_without_its_runner_is_killed_at_once_and_its_node_is_blamed_only_when_it_should_have_heard() {
    let mut left = run(RunKind::Apply, RunPhase::Apply, 1);
    left.holder = Some(Holder::Pod(PodIdentity { pod: "p".into(), pod_uid: "1".into() }));
    let (id, margin) = (left.id, SignedDuration::from_secs(i64::try_from(left.limits.grace).unwrap() + 30));
    let mut seen = world(vec![left]);
    for (late, vain) in [
        (None, false),
        (Some(SignedDuration::ZERO), false),
        (Some(margin), false),
        (Some(margin + SignedDuration::from_secs(1)), true),
    ] {
        seen.liveness = Liveness::Shell { late };
        match next(&object(), &seen) {
            Step::Stop { run, kill: true, standing } => {
                assert_eq!((run, standing.message.contains("delete the Node")), (id, vain), "{late:?}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_run_that_ends_each_of_its_runners_is_given_up() {
    let mut pending = run(RunKind::Apply, RunPhase::Pending, 1);
    pending.handed_over = 2;
    let id = pending.id;
    let mut seen = world(vec![pending]);
    assert_eq!(next(&object(), &seen), Step::Start(id));
    seen.history.0[0].handed_over = 3;
    assert_eq!(next(&object(), &seen), Step::GiveUp(id, Untaken::Refused));
    seen.liveness = ALIVE;
    assert_eq!(reason(&next(&object(), &seen)), Reason::Progressing, "the third may still take it");
}

#[test]
fn a_plan_of_which_nothing_is_on_its_way_gives_its_place_to_others_that_wait() {
    for (kind, minutes, yields, expected) in [
        (RunKind::Plan, 3, true, true),
        (RunKind::Plan, 1, true, false),
        (RunKind::Plan, 3, false, false),
        (RunKind::Apply, 3, true, false),
    ] {
        for liveness in [Liveness::Absent, ALIVE] {
            let mut seen = world(vec![run(kind, RunPhase::Pending, minutes)]);
            let id = seen.history.0[0].id;
            (seen.yields, seen.liveness) = (yields, liveness);
            let step = next(&object(), &seen);
            assert_eq!(step == Step::GiveUp(id, Untaken::Yielded), expected, "{kind:?} {minutes} {yields}: {step:?}");
        }
    }
}

/// A shortage takes nobody's retries.
#[test]
fn a_place_that_was_given_up_is_no_failure_until_it_has_been_again_and_again() {
    let gave = || Run { reason: Some(Reason::RunnerNotStarted), ..run(RunKind::Plan, RunPhase::Failed, 60 * 24) };
    let limit = usize::try_from(object().spec.retry.limit).unwrap();
    assert!(plans(&next(&object(), &world((0..=limit).map(|_| gave()).collect()))));
    assert_eq!(reason(&next(&object(), &world((0..21).map(|_| gave()).collect()))), Reason::RetriesExhausted);
    let mut just = gave();
    just.phase_at = now();
    assert_eq!(
        reason(&next(&object(), &world(vec![just]))),
        Reason::RunnerNotStarted,
        "it rests before it comes again"
    );
}

#[test]
fn what_does_not_begin_is_told_with_the_next_step() {
    let mut seen = world(vec![run(RunKind::Plan, RunPhase::Pending, 1)]);
    (seen.hitch, seen.liveness) = (Some("no node takes it".into()), ALIVE);
    let Step::Rest(standing) = next(&object(), &seen) else { panic!("rested was expected") };
    assert_eq!(standing.reason, Reason::RunnerNotStarted);
    for part in ["no node takes it", "spec.runner", "landfall cancel"] {
        assert!(standing.message.contains(part), "{}", standing.message);
    }
}

#[test]
fn a_deletion_gives_up_what_no_runner_has_taken_and_waits_for_what_one_has() {
    for liveness in [Liveness::Absent, ALIVE] {
        let mut seen = world(vec![run(RunKind::Plan, RunPhase::Pending, 1)]);
        seen.liveness = liveness;
        let id = seen.history.0[0].id;
        assert_eq!(next(&leaving(DeletionPolicy::Retain), &seen), Step::GiveUp(id, Untaken::Deleted), "{liveness:?}");
        // A destroy is what the deletion waits for, as long as one is wanted.
        seen.history.0[0].change = Change::Destroy;
        assert_eq!(next(&leaving(DeletionPolicy::Retain), &seen), Step::GiveUp(id, Untaken::Deleted), "{liveness:?}");
        assert!(!matches!(next(&leaving(DeletionPolicy::Destroy), &seen), Step::GiveUp(..)), "{liveness:?}");
    }
    let mut seen = world(vec![run(RunKind::Plan, RunPhase::Plan, 1)]);
    seen.liveness = ALIVE;
    let Step::Rest(standing) = next(&leaving(DeletionPolicy::Retain), &seen) else { panic!("rested was expected") };
    assert!(standing.message.contains("the deletion waits for its end, and `landfall cancel`"), "{}", standing.message);
}
