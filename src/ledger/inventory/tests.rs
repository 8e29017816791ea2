//! What the inventory makes of events and states.

use super::*;

fn event(address: &str, id: Option<&str>, what: ResourceAction) -> ResourceEvent {
    ResourceEvent { address: address.into(), resource_type: "t".into(), provider: None, id: id.map(Into::into), what }
}

fn instance(address: &str, id: &str) -> Instance {
    Instance { address: address.into(), resource_type: "t".into(), provider: "p".into(), id: Some(id.into()) }
}

fn seen(inventory: &Inventory) -> Vec<(&str, Option<&str>, Standing)> {
    inventory.entries.iter().map(|e| (e.address.as_str(), e.id.as_deref(), e.standing)).collect()
}

#[test]
fn what_a_dead_run_created_and_no_state_knows_stays_as_a_leftover() {
    let (dead, next) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let mut inventory = Inventory::default();
    inventory.event(&event("t.a", None, ResourceAction::CreateStarted), dead);
    inventory.event(&event("t.a", Some("1"), ResourceAction::Created), dead);
    inventory.event(&event("t.b", None, ResourceAction::CreateStarted), dead);
    inventory.event(&event("t.c", None, ResourceAction::CreateStarted), dead);
    inventory.settle(&[instance("t.c", "3")], dead, true, &[]);
    let expected = [
        ("t.a", Some("1"), Standing::Leftover),
        ("t.b", None, Standing::Leftover),
        ("t.c", Some("3"), Standing::Managed),
    ];
    assert_eq!(seen(&inventory), expected);

    inventory.event(&event("t.a", None, ResourceAction::CreateStarted), next);
    inventory.event(&event("t.a", Some("9"), ResourceAction::Created), next);
    inventory.settle(&[instance("t.a", "9"), instance("t.c", "3")], next, false, &[]);
    assert_eq!(seen(&inventory).last(), Some(&("t.a", Some("9"), Standing::Managed)));
    assert_eq!(seen(&inventory).first(), Some(&("t.a", Some("1"), Standing::Leftover)));
}

#[test]
fn what_a_lost_run_may_have_made_unheard_is_a_leftover_unless_the_state_has_it() {
    let (first, lost) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let mut inventory = Inventory::default();
    inventory.settle(&[instance("t.replaced", "1")], first, false, &[]);
    inventory.event(&event("t.told", None, ResourceAction::CreateStarted), lost);
    inventory.told.insert("t.told".into());
    inventory.event(&event("t.replaced", Some("1"), ResourceAction::DeleteStarted), lost);
    let unheard = ["t.told", "t.kept", "t.silent", "t.replaced"].map(|address| Creation {
        address: address.into(),
        resource_type: "t".into(),
        provider: None,
    });
    inventory.settle(&[instance("t.kept", "2"), instance("t.replaced", "1")], lost, true, &unheard);
    let expected = [
        ("t.replaced", Some("1"), Standing::Managed),
        ("t.told", None, Standing::Leftover),
        ("t.silent", None, Standing::Leftover),
        ("t.replaced", None, Standing::Leftover),
        ("t.kept", Some("2"), Standing::Managed),
    ];
    assert_eq!(seen(&inventory), expected);
}

#[test]
fn a_replacement_is_two_resources_at_one_address() {
    let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let mut inventory = Inventory::default();
    inventory.settle(&[instance("t.a", "old")], first, false, &[]);
    inventory.event(&event("t.a", None, ResourceAction::CreateStarted), second);
    inventory.event(&event("t.a", Some("new"), ResourceAction::Created), second);
    inventory.event(&event("t.a", Some("old"), ResourceAction::DeleteStarted), second);
    inventory.event(&event("t.a", Some("old"), ResourceAction::Deleted), second);
    inventory.settle(&[instance("t.a", "new")], second, false, &[]);
    assert_eq!(seen(&inventory), [("t.a", Some("old"), Standing::Gone), ("t.a", Some("new"), Standing::Managed)]);
}

#[test]
fn what_a_dead_run_deleted_does_not_come_back_with_an_old_state() {
    let (first, dead) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let mut inventory = Inventory::default();
    inventory.settle(&[instance("t.a", "1"), instance("t.b", "2")], first, false, &[]);
    inventory.event(&event("t.a", Some("1"), ResourceAction::Deleted), dead);
    inventory.event(&event("t.b", Some("2"), ResourceAction::DeleteStarted), dead);
    inventory.settle(&[instance("t.a", "1"), instance("t.b", "2")], dead, true, &[]);
    assert_eq!(seen(&inventory), [("t.a", Some("1"), Standing::Gone), ("t.b", Some("2"), Standing::Managed)]);
}

#[test]
fn a_run_that_ended_by_itself_leaves_what_its_state_says() {
    let run = Uuid::from_u128(1);
    let mut inventory = Inventory::default();
    inventory.event(&event("t.a", None, ResourceAction::CreateStarted), run);
    inventory.event(&event("t.a", None, ResourceAction::CreateFailed), run);
    inventory.event(&event("t.b", None, ResourceAction::CreateStarted), run);
    inventory.event(&event("t.b", None, ResourceAction::CreateFailed), run);
    inventory.settle(&[instance("t.b", "tainted")], run, false, &[]);
    assert_eq!(seen(&inventory), [("t.a", None, Standing::Gone), ("t.b", Some("tainted"), Standing::Managed)]);
}

#[test]
fn a_creation_of_which_no_end_was_told_is_a_leftover_whatever_became_of_its_run() {
    let (run, next) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let mut inventory = Inventory::default();
    inventory.event(&event("t.a", None, ResourceAction::CreateStarted), run);
    inventory.settle(&[], run, false, &[]);
    assert_eq!(seen(&inventory), [("t.a", None, Standing::Leftover)]);
    inventory.settle(&[instance("t.a", "1")], next, false, &[]);
    assert_eq!(seen(&inventory), [("t.a", None, Standing::Leftover), ("t.a", Some("1"), Standing::Managed)]);
}

#[test]
fn what_the_engine_forgot_lives_on_and_can_come_back() {
    let (first, second, third) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
    let mut inventory = Inventory::default();
    inventory.settle(&[instance("t.a", "1"), instance("t.b", "2"), instance("t.c", "3")], first, false, &[]);
    inventory.forgotten = ["t.a".to_owned(), "t.b".to_owned()].into();
    inventory.settle(&[instance("t.b", "new")], second, false, &[]);
    let expected = [
        ("t.a", Some("1"), Standing::Forgotten),
        ("t.b", Some("2"), Standing::Forgotten),
        ("t.c", Some("3"), Standing::Gone),
        ("t.b", Some("new"), Standing::Managed),
    ];
    assert_eq!(seen(&inventory), expected, "t.c is missed by a refresh");
    inventory.forgotten.clear();
    inventory.settle(&[instance("t.a", "1"), instance("t.b", "new")], third, false, &[]);
    let expected = [("t.a", Some("1"), Standing::Managed), ("t.b", Some("2"), Standing::Forgotten)];
    assert_eq!(seen(&inventory).get(..2), Some(&expected[..]), "t.a was imported");
}
