//! A ledger in which a deployment was planned, approved, applied, and planned again.

use std::process::Command;

use base64::Engine as _;
use landfall::api::Organization;
use landfall::api::{Change, EngineKind};
use landfall::installation::Installation;
use landfall::ledger::{
    Actor, ApplyRun, Approval, Keyring, Ledger, NewApplyRun, NewPlanRun, ObjectKind, Room, Subject, Writer, state_key,
};
use landfall::run::protocol::{Artifact, ProcessIdentity, Progress, RunKind, RunPhase, RunResult, RunSpec};
use serde_json::json;
use uuid::Uuid;

use crate::database::Database;

pub(crate) struct World {
    pub(crate) database: Database,
    pub(crate) ledger: Ledger,
    pub(crate) apply: Uuid,
    pub(crate) digest: String,
    directory: tempfile::TempDir,
}

impl World {
    pub(crate) async fn filled() -> Self {
        let database = Database::fresh().await;
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("key");
        std::fs::write(&key, base64::engine::general_purpose::STANDARD.encode([7; 32])).unwrap();
        let file = directory.path().join("landfall.yaml");
        std::fs::write(&file, json!({"encryption": {"current": "k1", "keys": {"k1": key}}}).to_string()).unwrap();
        let keys = Keyring::from_installation(&Installation::load(&file).unwrap().encryption).unwrap();
        let ledger = Ledger::connect(&database.url, keys).await.unwrap();
        let (apply, digest) = fill(&ledger).await;
        Self { database, ledger, apply, digest, directory }
    }

    /// Exit code, standard output, standard error.
    pub(crate) fn landfall(&self, arguments: &[&str]) -> (i32, String, String) {
        self.landfall_as(&self.database.url, arguments)
    }

    pub(crate) fn landfall_as(&self, url: &str, arguments: &[&str]) -> (i32, String, String) {
        let output = self.command(url, arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    pub(crate) fn command(&self, url: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        command.args(arguments).env("DATABASE_URL", url).env("KUBECONFIG", self.directory.path().join("none"));
        command.env("LANDFALL_CONFIG", self.directory.path().join("landfall.yaml"));
        command
    }
}

/// Ids, times and digests by their kind, and runs of spaces as one.
pub(crate) fn masked(text: &str) -> String {
    let word = |word: &str| match word {
        _ if word.parse::<Uuid>().is_ok() => "ID".to_owned(),
        _ if word.parse::<jiff::Timestamp>().is_ok() => "TIME".to_owned(),
        _ if word.starts_with("sha256:") => "DIGEST".to_owned(),
        _ => word.to_owned(),
    };
    let line = |line: &str| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ") + "\n";
    text.lines().map(line).collect()
}

const PLAN_JSON: &str = r#"{"format_version":"1.2","resource_changes":[
    {"address":"t.a","mode":"managed","change":{"actions":["create"],"after":{"token":"s3cret"}}},
    {"address":"t.b","mode":"managed","change":{"actions":["no-op"]}}],
    "output_changes":{"said":{"actions":["update"],"after":"s3cret"},"same":{"actions":["no-op"],"after":"s3cret"}}}"#;
const STATE: &str = r#"{"version":4,"serial":1,"lineage":"lineage-a","outputs":{},"resources":[{"mode":"managed","type":"t","name":"a","provider":"p","instances":[{}]}]}"#;

fn spec(id: Uuid, kind: RunKind) -> RunSpec {
    serde_json::from_value(json!({
        "id": id, "kind": kind, "change": "Apply", "engine": "OpenTofu", "plan_digest": null, "environment": {},
        "variables": {}, "sensitive": [], "limits": {"init": 1, "plan": 1, "apply": 1, "grace": 1},
    }))
    .unwrap()
}

async fn plan(writer: &Writer, subject: &Subject) -> Uuid {
    let id = Uuid::now_v7();
    let new = NewPlanRun {
        id,
        room: Room::of(100),
        subject: subject.clone(),
        change: Change::Apply,
        generation: 1,
        attempt: 0,
        engine: EngineKind::OpenTofu,
        facts: json!({"variablesHmac": "h", "credential": null}),
        requested_by: Actor::FieldManager("kubectl".into()),
        token_hash: [1; 32],
        inputs: spec(id, RunKind::Plan),
        snapshot: b"tar".to_vec(),
    };
    writer.create_plan_run(new).await.unwrap();
    id
}

async fn begin(ledger: &Ledger, run: Uuid, phase: RunPhase) {
    let holder = ProcessIdentity { pid: 1, start_time: 1, boot_id: "b".into() };
    ledger.claim(run, &holder).await.unwrap().unwrap();
    ledger.set_phase(run, &Progress { phase }).await.unwrap().unwrap();
}

async fn end(ledger: &Ledger, run: Uuid) {
    let result = RunResult { phase: RunPhase::Succeeded, reason: None, message: None, exit_code: Some(0) };
    ledger.finish(run, &result).await.unwrap().unwrap();
}

/// A plan that was made; its digest too.
pub(crate) async fn planned(writer: &Writer, subject: &Subject) -> (Uuid, String) {
    let id = plan(writer, subject).await;
    begin(writer, id, RunPhase::Plan).await;
    writer.put_artifact(id, Artifact::Plan, b"plan").await.unwrap().unwrap();
    writer.put_artifact(id, Artifact::PlanJson, PLAN_JSON.as_bytes()).await.unwrap().unwrap();
    end(writer, id).await;
    (id, writer.run(id).await.unwrap().unwrap().digest.unwrap())
}

/// An apply that was begun.
pub(crate) async fn apply(writer: &Writer, subject: &Subject, plan: Uuid, digest: &str, approval: Approval) -> Uuid {
    let id = Uuid::now_v7();
    let new = NewApplyRun {
        id,
        room: Room::of(100),
        subject: subject.clone(),
        plan,
        digest: digest.to_owned(),
        approval,
        generation: 1,
        attempt: 0,
        requested_by: Actor::Controller("me".into()),
        token_hash: [2; 32],
        inputs: spec(id, RunKind::Apply),
    };
    assert_eq!(writer.create_apply_run(new).await.unwrap(), ApplyRun::Created);
    begin(writer, id, RunPhase::Apply).await;
    id
}

pub(crate) async fn fill(ledger: &Ledger) -> (Uuid, String) {
    let cluster = Uuid::now_v7();
    ledger.register_cluster(cluster, "test").await.unwrap();
    let writer = ledger.lead(cluster, "me").await.unwrap();
    let subject = Subject {
        organization: Organization("acme".into()),
        cluster,
        kind: ObjectKind::TerraformDeployment,
        uid: Uuid::now_v7(),
        namespace: "shop".into(),
        name: "web".into(),
    };
    writer.claim_state(&subject, &state_key(&subject), None).await.unwrap();
    let (planned, digest) = planned(&writer, &subject).await;
    writer.record_approval(&subject, &digest, "alice").await.unwrap();
    let id = apply(&writer, &subject, planned, &digest, Approval::Person).await;
    ledger.lock(id, &json!({"ID": "l"})).await.unwrap().unwrap();
    ledger.put_state(id, Some("l"), STATE.as_bytes()).await.unwrap().unwrap();
    ledger.unlock(id, None).await.unwrap().unwrap();
    ledger.append_log(id, 0, b"Apply complete!\n").await.unwrap().unwrap();
    end(ledger, id).await;
    let cancelled = plan(&writer, &subject).await;
    writer.request_cancel(cancelled, &Actor::User("alice".into())).await.unwrap();
    (id, digest)
}
