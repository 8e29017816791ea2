//! The gate against objects that somebody has meddled with.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;

/// What is found wrong when the object is as installed but for `change`, a merge into its spec.
fn problem(kind: &str, name: &str, change: Value) -> Option<String> {
    let gate = Gate::embedded().unwrap();
    let expected = gate.expected.iter().find(|e| e.kind == kind && e.name == name).unwrap();
    let mut object = json!({"metadata": {"name": name}, "spec": expected.spec});
    merge(&mut object["spec"], &change);
    expected.problem(Some(&serde_json::from_value(object).unwrap()))
}

fn merge(into: &mut Value, change: &Value) {
    match change {
        Value::Object(fields) if into.is_object() => {
            for (key, value) in fields {
                if value.is_null() {
                    into.as_object_mut().unwrap().remove(key);
                } else {
                    merge(&mut into[key.as_str()], value);
                }
            }
        }
        _ => *into = change.clone(),
    }
}

const POLICY: &str = "ValidatingAdmissionPolicy";
const BINDING: &str = "ValidatingAdmissionPolicyBinding";

fn is_found(kind: &str, change: Value, place: &str) {
    let problem = problem(kind, "landfall-commands", change).unwrap_or_else(|| panic!("nothing found at {place}"));
    assert!(problem.starts_with(&format!("differs at {place};")), "{problem}");
}

#[test]
fn the_objects_as_installed_are_intact() {
    for expected in Gate::embedded().unwrap().expected {
        assert_eq!(problem(&expected.kind, &expected.name, json!({})), None);
    }
}

#[test]
fn every_policy_has_its_binding() {
    let gate = Gate::embedded().unwrap();
    let names = |kind| gate.expected.iter().filter(|e| e.kind == kind).map(|e| e.name.as_str()).collect::<Vec<_>>();
    assert_eq!(names(POLICY), names(BINDING));
    assert!(gate.expected.iter().filter(|e| e.kind == BINDING).all(|e| e.spec["validationActions"] == json!(["Deny"])));
}

#[test]
fn a_missing_object_is_found() {
    for expected in Gate::embedded().unwrap().expected {
        assert!(expected.problem(None).unwrap().starts_with("is missing"));
    }
}

#[test]
fn an_object_on_its_way_out_is_found() {
    let gate = Gate::embedded().unwrap();
    let mut object: DynamicObject =
        serde_json::from_value(json!({"metadata": {"name": "x"}, "spec": gate.expected[0].spec})).unwrap();
    object.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
    assert!(gate.expected[0].problem(Some(&object)).unwrap().starts_with("is being deleted"));
}

#[test]
fn an_object_without_a_spec_is_found() {
    let gate = Gate::embedded().unwrap();
    let object: DynamicObject = serde_json::from_value(json!({"metadata": {"name": "x"}})).unwrap();
    assert!(gate.expected[0].problem(Some(&object)).unwrap().starts_with("differs at spec;"));
}

#[test]
fn a_changed_expression_is_found() {
    let gate = Gate::embedded().unwrap();
    let mut validations = gate.expected[0].spec["validations"].clone();
    validations[2]["expression"] = json!("true");
    is_found(POLICY, json!({"validations": validations}), "spec.validations[2].expression");
    let mut variables = gate.expected[0].spec["variables"].clone();
    variables[1]["expression"] = json!("'alice'");
    is_found(POLICY, json!({"variables": variables}), "spec.variables[1].expression");
}

#[test]
fn a_validation_taken_away_is_found() {
    let gate = Gate::embedded().unwrap();
    let mut validations = gate.expected[0].spec["validations"].clone();
    validations.as_array_mut().unwrap().pop();
    is_found(POLICY, json!({"validations": validations}), "spec.validations");
}

#[test]
fn a_policy_that_fails_open_is_found() {
    is_found(POLICY, json!({"failurePolicy": "Ignore"}), "spec.failurePolicy");
}

#[test]
fn a_binding_that_only_audits_or_warns_is_found() {
    for actions in [json!(["Audit"]), json!(["Warn"]), json!(["Audit", "Warn"]), json!([]), json!(["Deny", "Audit"])] {
        let problem = problem(BINDING, "landfall-commands", json!({"validationActions": actions})).unwrap();
        assert!(problem.starts_with("differs at spec.validationActions"), "{problem}");
    }
}

#[test]
fn a_narrowed_match_is_found() {
    let selector = json!({"matchLabels": {"guarded": "yes"}});
    is_found(
        POLICY,
        json!({"matchConstraints": {"namespaceSelector": selector}}),
        "spec.matchConstraints.namespaceSelector.matchLabels",
    );
    is_found(
        POLICY,
        json!({"matchConstraints": {"objectSelector": selector}}),
        "spec.matchConstraints.objectSelector.matchLabels",
    );
    is_found(POLICY, json!({"matchConstraints": {"matchPolicy": "Exact"}}), "spec.matchConstraints.matchPolicy");
    is_found(
        POLICY,
        json!({"matchConstraints": {"excludeResourceRules": [{"resources": ["*"]}]}}),
        "spec.matchConstraints.excludeResourceRules",
    );
    is_found(BINDING, json!({"matchResources": {"namespaceSelector": selector}}), "spec.matchResources");
}

#[test]
fn a_narrowed_rule_is_found() {
    let gate = Gate::embedded().unwrap();
    let mut rules = gate.expected[0].spec["matchConstraints"]["resourceRules"].clone();
    rules[0]["operations"] = json!(["CREATE", "CREATE"]);
    is_found(
        POLICY,
        json!({"matchConstraints": {"resourceRules": rules}}),
        "spec.matchConstraints.resourceRules[0].operations[1]",
    );
}

#[test]
fn parameters_and_conditions_that_were_added_are_found() {
    is_found(POLICY, json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}), "spec.paramKind");
    is_found(POLICY, json!({"matchConditions": [{"name": "never", "expression": "false"}]}), "spec.matchConditions");
    is_found(BINDING, json!({"paramRef": {"name": "x"}}), "spec.paramRef");
}

#[test]
fn a_binding_to_another_policy_is_found() {
    is_found(BINDING, json!({"policyName": "landfall-use"}), "spec.policyName");
}

#[test]
fn what_the_api_server_fills_in_is_no_difference() {
    let bare = json!({"matchConstraints": {"resourceRules": [{"resources": ["a"]}]}, "failurePolicy": "Fail"});
    let filled = json!({"failurePolicy": "Fail", "matchConstraints": {
        "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
        "resourceRules": [{"resources": ["a"], "scope": "*"}],
    }});
    assert_eq!(with_defaults(&bare), with_defaults(&filled));
}

#[test]
fn a_command_from_before_the_policies_is_not_obeyed() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let whole = Standing::Whole(at(100));
    assert_eq!(whole.objection(None, at(110)), None);
    assert_eq!(whole.objection(Some(Some(at(104))), at(110)), None);
    for given in [Some(at(50)), Some(at(100)), Some(at(103)), None] {
        let why = whole.objection(Some(given), at(110)).unwrap_or_else(|| panic!("{given:?} is obeyed"));
        assert!(why.contains("1970-01-01T00:01:43Z; give it again"), "{why}");
    }
    let flawed = Standing::Flawed(Flaw { object: "a/b".into(), problem: "is missing".into() });
    assert_eq!(flawed.objection(None, at(110)).unwrap(), "a/b is missing");
    assert_eq!(flawed.objection(Some(Some(at(106))), at(110)).unwrap(), "a/b is missing");
}

#[test]
fn a_command_from_the_future_is_not_obeyed_beyond_what_clocks_differ_by() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let whole = Standing::Whole(at(100));
    assert_eq!(whole.objection(Some(Some(at(260))), at(200)), None);
    for given in [at(261), Timestamp::MAX] {
        let why = whole.objection(Some(Some(given)), at(200)).unwrap();
        assert!(why.contains("it is 1970-01-01T00:03:20Z") && why.ends_with("when the clocks agree"), "{why}");
    }
    assert_eq!(whole.objection(Some(Some(at(300))), Timestamp::MAX), None);
}

#[test]
fn a_policy_counts_from_its_last_change_and_one_without_a_time_from_never() {
    let meta = |value| serde_json::from_value::<ObjectMeta>(value).unwrap();
    let (made, changed) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    let entry = |time, subresource| json!({"manager": "m", "time": time, "subresource": subresource});
    let object = json!({"creationTimestamp": made, "managedFields": [entry(made, ""), entry(changed, "")]});
    assert_eq!(changed_at(&meta(object)).to_string(), changed);
    let object = json!({"creationTimestamp": made, "managedFields": [entry(changed, "status")]});
    assert_eq!(changed_at(&meta(object)).to_string(), made);
    assert_eq!(changed_at(&meta(json!({}))), Timestamp::MAX);
}
