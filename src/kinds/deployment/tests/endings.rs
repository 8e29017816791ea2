//! Objects that are being deleted.

use super::*;

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
    seen.history.0.clear();
    assert_eq!(reason(&next(&object, &seen)), Reason::Interrupted, "the namespace is of another organization now");
}

#[test]
fn destroy_lets_go_only_of_what_is_not_its_own_or_is_gone() {
    let object = leaving(DeletionPolicy::Destroy);
    let mut seen = world(vec![]);
    seen.state = state(2).map(|s| StateHead { holder_uid: Some(Uuid::max()), ..s });
    assert_eq!(next(&object, &seen), Step::Release, "another object's");
    seen.regressed = Some("older".into());
    assert_eq!(reason(&next(&object, &seen)), Reason::StateRegressed);
    let mut seen = world(vec![]);
    assert_eq!(next(&object, &seen), Step::Release, "nothing was ever applied");
    seen.past.applied = true;
    assert!(plans(&next(&object, &seen)), "an apply without a state may have built, however long ago");
    let mut nothing = destroying(plan(1));
    nothing.has_changes = Some(false);
    seen.history.0.insert(0, nothing);
    assert_eq!(next(&object, &seen), Step::Release, "the plan found nothing to destroy");
}

#[test]
fn destroy_says_what_holds_it() {
    let object = leaving(DeletionPolicy::Destroy);
    let mut seen = world(vec![]);
    seen.state = state(2);
    seen.inputs = Err((Reason::SecretNotFound, "Secret \"vars\"".into()));
    assert_eq!(reason(&next(&object, &seen)), Reason::SecretNotFound);
}
