//! What a plan would do, read from `show -json`, and whether the guardrails permit it.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;

use crate::access::text;
use crate::api::PlanSummary;
use crate::{Error, Result};

/// Outputs that a summary names; more are counted.
const NAMED: usize = 10;
/// Of a name so many bytes are kept.
const NAME_LIMIT: usize = 80;

#[derive(Deserialize)]
struct Plan {
    terraform_version: Option<String>,
    #[serde(default)]
    resource_changes: Vec<ResourceChange>,
    #[serde(default)]
    output_changes: std::collections::BTreeMap<String, OutputChange>,
}

#[derive(Deserialize)]
struct ResourceChange {
    address: String,
    previous_address: Option<String>,
    mode: Option<String>,
    #[serde(default, rename = "type")]
    resource_type: String,
    provider_name: Option<String>,
    change: Actions,
}

#[derive(Deserialize)]
struct Actions {
    actions: Vec<String>,
    importing: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct OutputChange {
    actions: Vec<String>,
}

/// What one entry does to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Nothing,
    Add,
    Change,
    Destroy,
    Replace,
    Forget,
}

/// An action that is not known counts as a replacement: the strictest reading. What is forgotten and made again is forgotten.
fn effect(actions: &[String]) -> Effect {
    let words: Vec<&str> = actions.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["no-op" | "read" | "open"] => Effect::Nothing,
        ["create"] => Effect::Add,
        ["update"] => Effect::Change,
        ["forget"] | ["create", "forget"] | ["forget", "create"] => Effect::Forget,
        ["delete"] => Effect::Destroy,
        _ => Effect::Replace,
    }
}

fn parse(plan_json: &[u8]) -> Result<Plan> {
    serde_json::from_slice(plan_json).map_err(|e| Error::Integrity(format!("plan JSON: {e}")))
}

/// Outputs that applying the plan would write or remove.
fn outputs(plan: &Plan) -> impl Iterator<Item = &String> {
    plan.output_changes.iter().filter(|(_, output)| effect(&output.actions) != Effect::Nothing).map(|(name, _)| name)
}

fn managed(plan: &Plan) -> impl Iterator<Item = (&ResourceChange, Effect)> {
    plan.resource_changes.iter().filter(|r| r.mode.as_deref() != Some("data")).map(|r| (r, effect(&r.change.actions)))
}

/// Counts of a plan, and names of outputs. What the engine forgets lives on, unmanaged.
///
/// # Errors
/// [`Error::Integrity`] where the text is no plan.
pub fn summary(plan_json: &[u8]) -> Result<PlanSummary> {
    let plan = parse(plan_json)?;
    let mut counts = PlanSummary {
        outputs: u32::try_from(outputs(&plan).count()).unwrap_or(u32::MAX),
        output_names: outputs(&plan).take(NAMED).map(|name| text::line(name, NAME_LIMIT)).collect(),
        ..PlanSummary::default()
    };
    for (_, effect) in managed(&plan) {
        let count = match effect {
            Effect::Nothing => continue,
            Effect::Add => &mut counts.add,
            Effect::Change => &mut counts.change,
            Effect::Destroy => &mut counts.destroy,
            Effect::Replace => &mut counts.replace,
            Effect::Forget => &mut counts.forget,
        };
        *count = count.saturating_add(1);
    }
    Ok(counts)
}

/// Addresses of what the plan has the engine forget.
///
/// # Errors
/// [`Error::Integrity`] where the text is no plan.
pub fn forgets(plan_json: &[u8]) -> Result<BTreeSet<String>> {
    let plan = parse(plan_json)?;
    Ok(managed(&plan).filter(|(_, effect)| *effect == Effect::Forget).map(|(r, _)| r.address.clone()).collect())
}

/// What applying a plan would make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creation {
    /// Address in the module tree.
    pub address: String,
    /// Resource type.
    pub resource_type: String,
    /// Provider's source address.
    pub provider: Option<String>,
}

/// All that the plan would make, replacements included.
///
/// # Errors
/// [`Error::Integrity`] where the text is no plan.
pub fn creations(plan_json: &[u8]) -> Result<Vec<Creation>> {
    let plan = parse(plan_json)?;
    let makes =
        |r: &ResourceChange, effect| effect == Effect::Replace || r.change.actions.iter().any(|a| a == "create");
    let creation = |r: &ResourceChange| Creation {
        address: r.address.clone(),
        resource_type: r.resource_type.clone(),
        provider: r.provider_name.clone(),
    };
    Ok(managed(&plan).filter(|(r, effect)| makes(r, *effect)).map(|(r, _)| creation(r)).collect())
}

/// Which version of the engine made the plan. No other one applies it: the engines see to that themselves.
///
/// # Errors
/// [`Error::Integrity`] where the text is no plan.
pub fn engine_version(plan_json: &[u8]) -> Result<Option<String>> {
    Ok(parse(plan_json)?.terraform_version)
}

/// Whether applying the plan would write anything: resources, moves, imports or outputs.
///
/// # Errors
/// [`Error::Integrity`] where the text is no plan.
pub fn has_changes(plan_json: &[u8]) -> Result<bool> {
    let plan = parse(plan_json)?;
    let resources = managed(&plan)
        .any(|(r, e)| e != Effect::Nothing || r.previous_address.is_some() || r.change.importing.is_some());
    Ok(resources || outputs(&plan).next().is_some())
}

/// Which limit a plan breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the plan destroys, replaces or forgets {found} of {resources} resources; {limit_of} permits {limit}")]
pub struct Breach {
    /// Resources destroyed, replaced or forgotten.
    pub found: u32,
    /// Managed resources in the state.
    pub resources: u32,
    /// The limit as it was written.
    pub limit: String,
    /// Whose limit it is: `spec.guardrails.maxDestroy` or the installation's ceiling.
    pub limit_of: &'static str,
}

/// Whether a plan keeps to the object's own limit and to the installation's ceiling. A limit that is neither a count nor a
/// percentage permits nothing.
///
/// # Errors
/// The first limit that is broken, the installation's first.
pub fn guardrail(
    max_destroy: Option<&IntOrString>,
    ceiling: Option<&IntOrString>,
    resources_in_state: u32,
    summary: &PlanSummary,
) -> Result<(), Breach> {
    let found = summary.destroy.saturating_add(summary.replace).saturating_add(summary.forget);
    let limits = [(ceiling, "the installation's ceilings.maxDestroy"), (max_destroy, "spec.guardrails.maxDestroy")];
    for (limit, limit_of) in limits {
        if let Some(limit) = limit
            && !permits(limit, found, resources_in_state)
        {
            let limit = match limit {
                IntOrString::Int(count) => count.to_string(),
                IntOrString::String(text) => text.clone(),
            };
            return Err(Breach { found, resources: resources_in_state, limit, limit_of });
        }
    }
    Ok(())
}

fn permits(limit: &IntOrString, found: u32, resources: u32) -> bool {
    if found == 0 {
        return true;
    }
    match limit {
        IntOrString::Int(count) => i64::from(found) <= i64::from(*count),
        IntOrString::String(text) => match text.strip_suffix('%').map(str::parse::<u32>) {
            Some(Ok(percent)) => u64::from(found) * 100 <= u64::from(percent.min(100)) * u64::from(resources),
            _ => text.parse::<u32>().is_ok_and(|count| found <= count),
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn plan(actions: &[&[&str]]) -> Vec<u8> {
        let changes: Vec<_> = actions
            .iter()
            .enumerate()
            .map(|(n, a)| json!({"address": format!("x.y[{n}]"), "mode": "managed", "change": {"actions": a}}))
            .collect();
        json!({"format_version": "1.2", "resource_changes": changes}).to_string().into_bytes()
    }

    #[test]
    fn each_action_counts_once_and_replacement_in_either_order() {
        let json = plan(&[
            &["no-op"],
            &["create"],
            &["update"],
            &["delete"],
            &["delete", "create"],
            &["create", "delete"],
            &["read"],
            &["forget"],
            &["create", "forget"],
        ]);
        assert_eq!(
            summary(&json).unwrap(),
            PlanSummary { add: 1, change: 1, destroy: 1, replace: 2, forget: 2, ..PlanSummary::default() }
        );
        assert_eq!(forgets(&json).unwrap(), ["x.y[7]".to_owned(), "x.y[8]".to_owned()].into());
        let made: Vec<_> = creations(&json).unwrap().into_iter().map(|creation| creation.address).collect();
        assert_eq!(made, ["x.y[1]", "x.y[4]", "x.y[5]", "x.y[8]"]);
    }

    #[test]
    fn an_action_of_tomorrow_is_read_in_the_strictest_way() {
        assert_eq!(summary(&plan(&[&["obliterate"]])).unwrap().replace, 1);
    }

    #[test]
    fn data_sources_are_not_changes() {
        let json =
            json!({"resource_changes": [{"address": "data.a.b", "mode": "data", "change": {"actions": ["create"]}}]});
        assert_eq!(summary(json.to_string().as_bytes()).unwrap(), PlanSummary::default());
    }

    #[test]
    fn outputs_moves_and_imports_are_changes_too() {
        let entry = |extra: serde_json::Value| {
            let mut e = json!({"address": "a.b", "mode": "managed", "change": {"actions": ["no-op"]}});
            e.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            json!({"resource_changes": [e]}).to_string()
        };
        assert!(!has_changes(entry(json!({})).as_bytes()).unwrap());
        assert!(has_changes(entry(json!({"previous_address": "a.c"})).as_bytes()).unwrap());
        let import = json!({"change": {"actions": ["no-op"], "importing": {"id": "x"}}});
        assert!(has_changes(entry(import).as_bytes()).unwrap());
        let output = json!({"output_changes": {"o": {"actions": ["create"]}}}).to_string();
        assert!(has_changes(output.as_bytes()).unwrap());
    }

    #[test]
    fn outputs_are_counted_and_named_and_never_shown() {
        let change = |actions: &[&str]| json!({"actions": actions, "before": "s3cret", "after": "s3cret"});
        let changes = json!({"same": change(&["no-op"]), "new": change(&["create"]), "old": change(&["delete"])});
        let told = |changes: &serde_json::Value| {
            summary(json!({"output_changes": changes}).to_string().as_bytes()).unwrap().to_string()
        };
        assert_eq!(told(&changes), "0 to add, 0 to change, 0 to destroy, 2 outputs to change (new, old)");
        let more = (0..12).map(|n| (format!("more_{n:02}"), change(&["update"]))).collect();
        assert!(told(&more).ends_with(", 12 outputs to change (more_00, more_01, more_02, more_03, more_04, more_05, more_06, more_07, more_08, more_09, 2 more)"));
    }

    #[test]
    fn what_is_no_plan_is_an_error_and_not_an_empty_plan() {
        assert!(summary(b"").is_err());
        assert!(summary(br#"{"resource_changes": [{"address": "a"}]}"#).is_err());
    }

    fn of(destroy: u32, replace: u32) -> PlanSummary {
        PlanSummary { destroy, replace, ..PlanSummary::default() }
    }

    fn count(n: i32) -> IntOrString {
        IntOrString::Int(n)
    }

    fn share(text: &str) -> IntOrString {
        IntOrString::String(text.into())
    }

    #[test]
    fn limits_hold_by_count_and_by_share_and_replacements_count() {
        assert!(guardrail(Some(&count(2)), None, 9, &of(1, 1)).is_ok());
        assert!(guardrail(Some(&count(1)), None, 9, &of(1, 1)).is_err());
        assert!(guardrail(Some(&share("10%")), None, 20, &of(2, 0)).is_ok());
        assert!(guardrail(Some(&share("10%")), None, 19, &of(2, 0)).is_err());
        assert!(guardrail(Some(&share("10%")), None, 0, &of(0, 0)).is_ok());
        assert!(guardrail(None, None, 9, &of(9, 0)).is_ok());
        let forgets = PlanSummary { forget: 1, ..PlanSummary::default() };
        let breach = guardrail(Some(&count(0)), None, 9, &forgets).unwrap_err();
        assert!(breach.to_string().contains("forgets 1 of 9"), "{breach}");
    }

    #[test]
    fn the_ceiling_cannot_be_left_out_by_an_object() {
        let breach = guardrail(Some(&share("100%")), Some(&count(0)), 9, &of(1, 0)).unwrap_err();
        assert_eq!(breach.limit_of, "the installation's ceilings.maxDestroy");
        assert!(guardrail(None, Some(&count(0)), 9, &of(1, 0)).is_err());
    }

    proptest! {
        #[test]
        fn a_limit_that_cannot_be_read_permits_nothing(text in "\\PC*", found in 1u32..) {
            prop_assume!(text.trim_end_matches('%').parse::<u32>().is_err());
            prop_assert!(guardrail(Some(&share(&text)), None, u32::MAX, &of(found, 0)).is_err());
        }

        #[test]
        fn more_destruction_never_becomes_permitted(limit in 0u32..=100, resources: u32, found: u32) {
            let limit = share(&format!("{limit}%"));
            if guardrail(Some(&limit), None, resources, &of(found, 0)).is_err() {
                prop_assert!(guardrail(Some(&limit), None, resources, &of(found.saturating_add(1), 0)).is_err());
            }
        }
    }
}
