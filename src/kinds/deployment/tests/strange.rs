//! Strange objects in strange worlds: each is decided on, and told, without a panic.

use std::time::Duration;

use super::*;
use crate::kinds::deployment::Deployment;
use crate::kinds::objects::{Dice, any};
use crate::kinds::strange::each_is_decided_on_and_told;
use crate::run::state::Output;

fn any_run(dice: &mut Dice) -> Run {
    use RunPhase::{Apply, Cancelled, Failed, Finishing, Init, Interrupted, Pending, Plan, Succeeded};
    let phase = *dice.pick(&[
        Pending,
        Init,
        Plan,
        Apply,
        Finishing,
        Succeeded,
        Succeeded,
        Succeeded,
        Failed,
        Failed,
        Cancelled,
        Interrupted,
    ]);
    let minutes = *dice.pick(&[-100_000, -1, 0, 1, 60, 24 * 60 + 1, 1_000_000]);
    let mut run = run(*dice.pick(&[RunKind::Plan, RunKind::Plan, RunKind::Apply]), phase, minutes);
    run.change = *dice.pick(&[Change::Apply, Change::Destroy]);
    run.generation = *dice.pick(&[GENERATION, GENERATION, 0, i64::MIN, i64::MAX]);
    run.attempt = *dice.pick(&[0, 1, i32::MAX, i32::MIN]);
    run.facts = dice
        .pick(&[json!({"inputDigest": "same"}), json!({"serviceAccount": "aws"}), json!({}), json!([]), json!(null)])
        .clone();
    run.digest = dice.chance(70).then(|| dice.pick(&["sha256:0", "", "\u{0}"]).to_string());
    let counts = [
        PlanSummary::default(),
        PlanSummary {
            add: 1,
            change: u32::MAX,
            destroy: u32::MAX,
            replace: u32::MAX,
            forget: u32::MAX,
            outputs: 1,
            output_names: Vec::new(),
        },
    ];
    run.summary = dice.chance(80).then(|| dice.pick(&counts).clone());
    run.has_changes = *dice.pick(&[None, Some(true), Some(false)]);
    run.state_serial = *dice.pick(&[None, Some(0), Some(4), Some(i64::MAX)]);
    run.message = dice.chance(50).then(|| "\u{202e}Error: \u{0}".repeat(dice.below(2000)));
    run.reason = *dice.pick(&[None, Some(Reason::Timeout), Some(Reason::PlanFailed)]);
    run
}

fn any_world(dice: &mut Dice) -> Observed {
    let plan = plan(1);
    let mut runs: Vec<Run> = match dice.below(4) {
        0 => vec![plan],
        1 => vec![apply_of(&plan, RunPhase::Succeeded, 0), plan],
        _ => (0..dice.below(6)).map(|_| any_run(dice)).collect(),
    };
    if let (true, [first, .., last]) = (dice.chance(30), runs.as_mut_slice()) {
        first.plan = Some(last.id);
    }
    let mut seen = world(runs);
    let value = dice.next();
    let verb = *dice.pick(&[Verb::Approve, Verb::Cancel, Verb::Retry, Verb::Reconcile]);
    let command = Command { verb, value: format!("{value:x}\u{0}"), by: String::new() };
    seen.command = dice.chance(10).then_some(command);
    seen.gate = dice.chance(20).then(|| "policy landfall-commands is missing".to_owned());
    seen.liveness = *dice.pick(&[
        ALIVE,
        Liveness::Alive { holds: true },
        Liveness::Absent,
        Liveness::Remains(Duration::MAX),
        Liveness::Shell { late: Some(SignedDuration::MAX) },
    ]);
    seen.turn = if dice.chance(70) { Turn::Now } else { FULL };
    if dice.chance(25) {
        let reason = *dice.pick(&[Reason::SourceInvalid, Reason::CredentialNotReady, Reason::SecretKeyMissing]);
        seen.inputs = Err((reason, "\u{0}".repeat(5000)));
    }
    if dice.chance(15) {
        seen.placement = Err((Reason::ExecutorNotPermitted, "\u{0}".repeat(5000)));
    }
    seen.yields = dice.chance(20);
    (seen.hitch, seen.outdated) = (dice.chance(20).then(|| "\u{0}".to_owned()), dice.chance(20));
    seen.state = dice.chance(60).then(|| state(*dice.pick(&[0, 1, u32::MAX])).unwrap());
    if let (true, Some(state)) = (dice.chance(20), &mut seen.state) {
        state.holder_uid = None;
        state.serial = i64::MAX;
    }
    seen.found_state = dice.chance(10).then(|| FoundState { lineage: "\u{0}".to_owned(), serial: i64::MIN });
    seen.leftovers = vec!["\u{0}".to_owned(); usize::from(dice.chance(20))];
    seen.past = Past { needs_a_person: dice.chance(20), applied: dice.chance(50) };
    seen.regressed = dice.chance(10).then(String::new);
    seen.approval = dice.chance(40).then(|| approved().unwrap());
    let taken_at = ago(*dice.pick(&[-1_000_000, 0, 1_000_000]));
    let word: &&str = dice.pick(&["retry", "approveRefused", "approve", ""]);
    seen.taken = if dice.chance(40) { taken(word, "x", taken_at) } else { vec![] };
    let limits = [
        IntOrString::Int(i32::MIN),
        IntOrString::Int(0),
        IntOrString::String("101%".into()),
        IntOrString::String("x".into()),
    ];
    seen.ceiling = dice.chance(20).then(|| dice.pick(&limits).clone());
    seen.outputs = *dice.pick(&[Ownership::NotWanted, Ownership::Fresh, Ownership::Stale, Ownership::Foreign]);
    seen.former_outputs = dice.chance(20).then(|| "\u{0}".to_owned());
    let value = any("TerraformDeployment", "v", dice);
    seen.values = Outputs::from([("\u{0}".to_owned(), Output { value, sensitive: dice.chance(50) })]);
    seen
}

/// As the watch reads it: from text, with what the API server adds.
fn any_object(seed: u64, dice: &mut Dice) -> Option<TerraformDeployment> {
    let mut object = any("TerraformDeployment", &format!("strange-{seed}"), dice);
    object["metadata"]["generation"] = json!(GENERATION);
    object["metadata"]["uid"] = json!(Uuid::nil());
    let mut object: TerraformDeployment = serde_json::from_str(&object.to_string()).ok()?;
    object.metadata.finalizers = dice.chance(95).then(|| vec![FINALIZER.into()]);
    object.metadata.deletion_timestamp = dice.chance(30).then(|| Time(ago(*dice.pick(&[-1_000_000, 0, 1_000_000]))));
    Some(object)
}

#[test]
fn every_strange_object_is_decided_on_and_told() {
    let steps = each_is_decided_on_and_told::<Deployment>(any_object, any_world, |_, _| vec![Outcome::Done], now());
    assert!(steps.len() >= 12, "a step that is never taken: {steps:?}");
}
