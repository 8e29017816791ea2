#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::json;

use super::*;
use crate::api::CloudCredential;

fn object(namespace: &str, name: &str, generation: i64, extra: serde_json::Value) -> CloudCredential {
    let mut value = json!({
        "apiVersion": "landfall.dev/v1alpha1", "kind": "CloudCredential",
        "metadata": {"namespace": namespace, "name": name, "uid": format!("{namespace}-{name}"), "generation": generation},
        "spec": {"powerdns": {"secretRef": {"name": "s"}, "endpoint": "https://dns.example"}},
    });
    for (key, field) in extra.as_object().unwrap() {
        value
            .as_object_mut()
            .unwrap()
            .entry(key)
            .or_insert(json!({}))
            .as_object_mut()
            .unwrap()
            .extend(field.as_object().unwrap().clone());
    }
    serde_json::from_value(value).unwrap()
}

fn plain(namespace: &str, name: &str, generation: i64) -> CloudCredential {
    object(namespace, name, generation, json!({}))
}

/// Each change in a word.
fn words(mut changes: Vec<Change<CloudCredential>>) -> Vec<String> {
    let mut words: Vec<String> = changes
        .drain(..)
        .map(|change| match change {
            Change::Applied { object, wake } => {
                format!("{}{}", if wake { "wake " } else { "seen " }, object.metadata.name.clone().unwrap())
            }
            Change::Deleted(object) => format!("gone {}", object.metadata.name.clone().unwrap()),
            Change::Listed => "~listed".into(),
        })
        .collect();
    words.sort();
    words
}

fn view(sources: usize) -> (View<CloudCredential>, kube::runtime::reflector::Store<CloudCredential>) {
    let (store, writer) = store::store();
    (View::new(writer, sources), store)
}

#[test]
fn a_status_write_wakes_nobody_and_a_command_does() {
    let (mut view, _) = view(1);
    view.take(0, Event::InitDone);
    assert_eq!(words(view.take(0, Event::Apply(plain("a", "x", 1)))), ["wake x"]);
    let status = object("a", "x", 1, json!({"status": {"usedBy": 3}, "metadata": {"resourceVersion": "7"}}));
    assert_eq!(words(view.take(0, Event::Apply(status))), ["seen x"]);
    let foreign = object("a", "x", 1, json!({"metadata": {"annotations": {"other.dev/a": "1"}}}));
    assert_eq!(words(view.take(0, Event::Apply(foreign))), ["seen x"]);
    let command = object("a", "x", 1, json!({"metadata": {"annotations": {"landfall.dev/reconcile": "1"}}}));
    assert_eq!(words(view.take(0, Event::Apply(command))), ["wake x"]);
    assert_eq!(words(view.take(0, Event::Apply(plain("a", "x", 2)))), ["wake x"]);
    let finalized = object("a", "x", 2, json!({"metadata": {"finalizers": ["f"]}}));
    assert_eq!(words(view.take(0, Event::Apply(finalized.clone()))), ["wake x"]);
    let mut deleted = finalized;
    deleted.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
    assert_eq!(words(view.take(0, Event::Apply(deleted))), ["wake x"]);
}

#[test]
fn a_new_list_wakes_what_changed_and_buries_what_is_missing() {
    let (mut view, store) = view(1);
    view.take(0, Event::Init);
    for name in ["x", "y", "z"] {
        assert!(view.take(0, Event::InitApply(plain("a", name, 1))).is_empty());
    }
    assert_eq!(words(view.take(0, Event::InitDone)), ["wake x", "wake y", "wake z", "~listed"]);
    view.take(0, Event::Init);
    view.take(0, Event::InitApply(plain("a", "x", 1)));
    view.take(0, Event::InitApply(plain("a", "y", 2)));
    assert_eq!(store.len(), 3, "a list that is coming in changes nothing yet");
    assert_eq!(words(view.take(0, Event::InitDone)), ["gone z", "seen x", "wake y", "~listed"]);
    assert_eq!(store.len(), 2);
}

#[test]
fn an_object_made_again_under_its_name_is_woken() {
    let (mut view, _) = view(1);
    view.take(0, Event::InitDone);
    view.take(0, Event::Apply(plain("a", "x", 1)));
    let again = object("a", "x", 1, json!({"metadata": {"uid": "other"}}));
    assert_eq!(words(view.take(0, Event::Apply(again))), ["wake x"]);
}

#[test]
fn the_store_of_several_namespaces_is_filled_when_all_have_listed() {
    let (mut view, store) = view(2);
    view.take(0, Event::InitApply(plain("a", "x", 1)));
    assert!(view.take(0, Event::InitDone).is_empty());
    assert!(view.take(0, Event::Apply(plain("a", "y", 1))).is_empty());
    assert!(view.take(0, Event::Delete(plain("a", "x", 1))).is_empty());
    view.take(1, Event::InitApply(plain("b", "x", 1)));
    assert_eq!(words(view.take(1, Event::InitDone)), ["wake x", "wake y", "~listed"]);
    view.take(0, Event::Init);
    assert_eq!(words(view.take(0, Event::InitDone)), ["gone y", "~listed"], "the other namespace is left alone");
    assert_eq!(store.state().len(), 1);
}

/// A managed-fields entry of a manager, for a subresource, at a second.
fn entry(manager: &str, subresource: &str, second: i64, fields: serde_json::Value) -> serde_json::Value {
    json!({"manager": manager, "subresource": subresource, "operation": "Update",
           "time": jiff::Timestamp::from_second(second).unwrap().to_string(), "fieldsV1": fields})
}

fn slimmed(managed_fields: serde_json::Value) -> CloudCredential {
    let metadata = json!({"annotations": {LAST_APPLIED: "canary", "other": "1"}, "managedFields": managed_fields});
    let mut credential = object("a", "x", 1, json!({"metadata": metadata}));
    slim(&mut credential);
    credential
}

#[test]
fn of_the_managed_fields_only_the_requester_and_commands_are_kept() {
    let annotations = json!({"f:metadata": {"f:annotations": {"f:landfall.dev/retry": {}, "f:canary": {}}}});
    let credential = slimmed(json!([
        entry("kubectl-create", "", 1, json!({"f:spec": {"f:canary": {}}})),
        entry("argocd", "", 2, json!({"f:spec": {}, "f:metadata": {"f:labels": {"f:canary": {}}}})),
        entry("kubectl-annotate", "", 3, annotations),
        entry("canary", "", 4, json!({"f:metadata": {"f:finalizers": {}}})),
        entry("canary", "status", 5, json!({"f:spec": {}, "f:status": {}})),
    ]));
    assert_eq!(requester(&credential), Some("argocd"));
    assert_eq!(annotated_at(&credential, "landfall.dev/retry"), jiff::Timestamp::from_second(3).ok());
    assert_eq!(annotated_at(&credential, "landfall.dev/approve"), None);
    assert!(!serde_json::to_string(&credential).unwrap().contains("canary"));
    assert_eq!(credential.metadata.annotations.unwrap().into_keys().collect::<Vec<_>>(), ["other"]);
}

#[test]
fn who_names_himself_like_the_controller_is_told_as_such_and_who_is_unknown_is_unknown() {
    let former = entry("argocd", "", 1, json!({"f:spec": {}}));
    let forged = slimmed(json!([former, entry("landfall", "", 2, json!({"f:spec": {}}))]));
    assert_eq!(requester(&forged), Some("landfall"));
    let stripped = slimmed(json!([entry("argocd", "", 1, json!({"f:metadata": {"f:labels": {}}}))]));
    assert_eq!(requester(&stripped), None);
}

#[test]
fn a_command_that_is_set_again_is_as_old_as_before() {
    let owns = || json!({"f:metadata": {"f:annotations": {"f:landfall.dev/approve": {}}}});
    let credential = slimmed(json!([entry("first", "", 1, owns()), entry("again", "", 9, owns())]));
    assert_eq!(annotated_at(&credential, "landfall.dev/approve"), jiff::Timestamp::from_second(1).ok());
    let mut timeless = entry("odd", "", 1, owns());
    timeless.as_object_mut().unwrap().remove("time");
    let credential = slimmed(json!([timeless, entry("again", "", 9, owns())]));
    assert_eq!(annotated_at(&credential, "landfall.dev/approve"), None);
}
