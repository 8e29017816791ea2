//! Values that are an output of a deployment.

use kube::runtime::reflector::ObjectRef;
use serde_json::Value;

use crate::Result;
use crate::api::{DnsRecord, OutputReference, Reason};
use crate::dns::{Name, RecordSet, RecordType};
use crate::kinds::{Context, Refusal};
use crate::ledger::states::state_key;
use crate::ledger::{ObjectKind, Subject};
use crate::reconcile::subject_in;
use crate::run::state::{Output, state_outputs};

/// The values of the spec, or what the output that it names is in the newest state of its deployment. The deployment's status
/// is not asked.
///
/// # Errors
/// Postgres's; a state that is damaged.
pub(super) async fn values(
    cx: &Context,
    object: &DnsRecord,
    subject: &Subject,
) -> Result<std::result::Result<Vec<String>, Refusal>> {
    let Some(source) = &object.spec.value_from else { return Ok(Ok(object.spec.values.clone())) };
    let output = &source.output;
    let place = ObjectRef::new(&output.deployment).within(&subject.namespace);
    let deployment = cx.stores.deployments.get(&place);
    let organization = || subject.organization.clone();
    let deployment = deployment
        .and_then(|found| subject_in(organization(), cx.cluster, ObjectKind::TerraformDeployment, found.as_ref()));
    let Some(deployment) = deployment else {
        return Ok(Err(waits(output, "this namespace has no such TerraformDeployment; make it, or name another")));
    };
    let key = state_key(&deployment);
    let head = cx.ledger.state_head(&subject.organization, &key).await?;
    if head.and_then(|head| head.holder_uid) != Some(deployment.uid) {
        return Ok(Err(waits(output, "nothing is applied yet; see the TerraformDeployment's conditions")));
    }
    let bytes = cx.ledger.state_bytes(&subject.organization, &key, None).await?;
    let outputs = bytes.map(|bytes| state_outputs(&bytes)).transpose()?.unwrap_or_default();
    Ok(match outputs.get(&output.name).filter(|found| found.sensitive || !found.value.is_null()) {
        None => {
            Err(waits(output, "the state has no such output (yet); name one that the module has, or have it applied"))
        }
        Some(found) => read(found).map_err(|why| refused(output, why)),
    })
}

/// What the spec comes to with these values.
pub(super) fn set(
    object: &DnsRecord,
    (owner, kind): (Name, RecordType),
    values: &[String],
) -> std::result::Result<RecordSet, Refusal> {
    RecordSet::from_spec(owner, kind, object.spec.ttl, values).map_err(|flaw| match &object.spec.value_from {
        None => Refusal::new(Reason::InvalidRecord, flaw.to_string()),
        Some(source) => refused(&source.output, &flaw.to_string().replace("spec.values", "values")),
    })
}

/// Text or a number, or a list of these.
fn read(output: &Output) -> std::result::Result<Vec<String>, &'static str> {
    if output.sensitive {
        return Err("it is sensitive, and what stands in DNS is public; name another, or wrap it in nonsensitive()");
    }
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err("it is neither text nor a number, nor a list of these; have the module give out one of them"),
    };
    match &output.value {
        Value::Array(all) => all.iter().map(one).collect(),
        other => one(other).map(|text| vec![text]),
    }
}

fn waits(output: &OutputReference, why: &str) -> Refusal {
    Refusal::new(Reason::DependencyNotReady, told(output, why))
}

fn refused(output: &OutputReference, why: &str) -> Refusal {
    Refusal::new(Reason::InvalidRecord, told(output, why))
}

fn told(OutputReference { deployment, name }: &OutputReference, why: &str) -> String {
    format!("spec.valueFrom: output {name:?} of TerraformDeployment {deployment:?}: {why}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn given(value: Value, sensitive: bool) -> std::result::Result<Vec<String>, &'static str> {
        let state = json!({"outputs": {"o": {"value": value, "type": "string", "sensitive": sensitive}}});
        let outputs = state_outputs(state.to_string().as_bytes()).unwrap();
        read(outputs.get("o").unwrap())
    }

    #[test]
    fn text_numbers_and_lists_of_them_are_values() {
        assert_eq!(given(json!("192.0.2.1"), false).unwrap(), ["192.0.2.1"]);
        assert_eq!(given(json!(["192.0.2.1", "192.0.2.2"]), false).unwrap(), ["192.0.2.1", "192.0.2.2"]);
        assert_eq!(given(json!(7), false).unwrap(), ["7"]);
        for value in
            [json!(null), json!(true), json!({}), json!({"a": "192.0.2.1"}), json!([["a"]]), json!(["a", null])]
        {
            assert!(given(value.clone(), false).unwrap_err().contains("neither text"), "{value}");
        }
        assert!(given(json!("192.0.2.1"), true).unwrap_err().contains("sensitive"));
        assert!(given(json!({}), true).unwrap_err().contains("sensitive"));
    }

    #[test]
    fn what_is_wrong_with_a_value_is_told_of_the_output() {
        let source = json!({"valueFrom": {"output": {"deployment": "web", "name": "ip"}}});
        let object = crate::kinds::record::tests::object_with(source, false);
        let refusal = |values: Value| {
            let owner = Name::parse("www.example.com").unwrap();
            set(&object, (owner, RecordType::A), &given(values, false).unwrap()).unwrap_err()
        };
        let head = "spec.valueFrom: output \"ip\" of TerraformDeployment \"web\": values";
        for (values, rest) in [
            (json!("web.example.com"), "[0]: "),
            (json!(["192.0.2.1", "nothing"]), "[1]: "),
            (json!(["192.0.2.1", "192.0.2.1"]), "[1]: is the same as values[0]"),
            (json!([]), ": a set has 1 to 100 values; here are 0"),
            (json!(vec!["192.0.2.1"; 101]), ": a set has 1 to 100 values; here are 101"),
        ] {
            let refusal = refusal(values);
            assert_eq!(refusal.reason, Reason::InvalidRecord);
            assert!(refusal.message.starts_with(&format!("{head}{rest}")), "{}", refusal.message);
        }
    }

    #[test]
    fn what_was_written_for_who_waits_is_still_its_own_and_who_has_nothing_keeps_nobody() {
        use jiff::Timestamp;

        use crate::kinds::record::decide::{Step, Verdict, decide};
        use crate::kinds::record::tests::{claim_of, object_with, seen, set_of, written};
        let mut seen = seen();
        let step = |seen: &crate::kinds::record::Seen, deleted: bool| {
            decide(&object_with(json!({}), deleted), seen, Timestamp::UNIX_EPOCH)
        };
        let waits = Refusal::new(Reason::DependencyNotReady, "x");
        seen.set = Err(waits.clone());
        assert_eq!(step(&seen, false), Step::Rest(Verdict::Unaccepted(waits.clone())), "nothing is asked of anybody");
        seen.rivals = vec![claim_of("older", 1)];
        assert_eq!(step(&seen, false), Step::Rest(Verdict::Unaccepted(waits.clone())), "and nothing is claimed");
        let mut fact = written(&set_of(&["192.0.2.1"]));
        fact.written = None;
        seen.fact = Some(fact);
        assert_eq!(step(&seen, false), Step::Yield);
        seen.fact = Some(written(&set_of(&["192.0.2.1"])));
        assert!(matches!(step(&seen, false), Step::Rest(Verdict::Unprogrammed(r)) if r.reason == Reason::Conflict));
        seen.rivals.clear();
        assert_eq!(step(&seen, false), Step::Rest(Verdict::Unaccepted(waits)), "no step takes it away or gives it up");
        seen.look = Ok(crate::zones::Look { whose: crate::zones::Whose::Ours, ..seen.look.clone().unwrap() });
        assert_eq!(step(&seen, true), Step::Remove, "but its own deletion");
    }
}
