//! The ledger, the run API, the runner and a real engine together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall::api::{Change, EngineKind};
use landfall::ledger::{
    Actor, ApplyRun, Approval, NewApplyRun, NewPlanRun, Room, Run, Standing, Subject, Writer, state_key,
};
use landfall::run::protocol::{RunKind, RunPhase, RunSpec, SecretText};
use landfall::run::state::state_outputs;
use landfall::terraform::executor::{EngineSettings, Local};
use landfall::terraform::source::Module;
use landfall::web::runs::{RunApi, Waker, router};
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::given::spec;
use crate::world::World;

const MODULE: &str = r#"
variable "token" {}
resource "terraform_data" "one" {
  input = "a"
}
resource "terraform_data" "many" {
  for_each = toset(["x", "y"])
}
output "name" {
  value = terraform_data.one.output
}
output "token" {
  value     = var.token
  sensitive = true
}
"#;

struct Nobody;

impl Waker for Nobody {
    fn run_changed(&self, _: &Subject) {}
}

struct Landfall {
    writer: Writer,
    subject: Subject,
    local: Local,
    _folder: tempfile::TempDir,
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `make test`"))
}

impl Landfall {
    async fn new(world: &World) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (writer, subject) = (world.writer().await, world.subject("acme"));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let api = router(RunApi::new(world.ledger.clone(), Arc::new(Nobody)));
        tokio::spawn(async move { axum::serve(listener, api).await });
        let folder = tempfile::tempdir().unwrap();
        let binaries = BTreeMap::from([(EngineKind::OpenTofu, env("TOFU").into())]);
        let config = Some(env("ENGINE_CLI_CONFIG").into());
        let engines = EngineSettings { binaries, cli_config: config, ..EngineSettings::default() };
        let local = Local::new(folder.path(), url, env!("CARGO_BIN_EXE_landfall").into(), engines).unwrap();
        writer.claim_state(&subject, &state_key(&subject), None).await.unwrap();
        Self { writer, subject, local, _folder: folder }
    }

    fn spec(&self, kind: RunKind, change: Change) -> RunSpec {
        RunSpec {
            variables: [("token".into(), SecretText::new("\"s3cret\""))].into(),
            sensitive: ["token".into()].into(),
            environment: BTreeMap::new(),
            limits: landfall::run::protocol::Limits { init: 60, plan: 60, apply: 60, grace: 60 },
            ..spec(Uuid::now_v7(), kind, change, "")
        }
    }

    async fn finished(&self, run: Uuid) -> Run {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let found = self.writer.run(run).await.unwrap().unwrap();
            if found.phase.is_final() {
                return found;
            }
            assert!(Instant::now() < deadline, "{found:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn plan(&self, change: Change) -> Run {
        let files = [("main.tf".to_owned(), MODULE.as_bytes().to_vec())].into();
        let (token, inputs) = (SecretText::new("t0ken"), self.spec(RunKind::Plan, change));
        let id = inputs.id;
        let new = NewPlanRun {
            id,
            room: Room::of(100),
            subject: self.subject.clone(),
            change,
            generation: 1,
            attempt: 0,
            engine: EngineKind::OpenTofu,
            facts: json!({"variablesHmac": "h", "credential": null}),
            requested_by: Actor::Unknown,
            token_hash: Sha256::digest(token.expose()).into(),
            inputs,
            snapshot: Module { files }.to_tar().unwrap(),
        };
        self.writer.create_plan_run(new).await.unwrap();
        self.local.start(id, EngineKind::OpenTofu, &token).unwrap();
        self.finished(id).await
    }

    async fn apply(&self, plan: &Run) -> Run {
        let (token, digest) = (SecretText::new("t0ken"), plan.digest.clone().unwrap());
        self.writer.record_approval(&self.subject, &digest, "alice").await.unwrap();
        let mut inputs = self.spec(RunKind::Apply, plan.change);
        inputs.plan_digest = Some(digest.clone());
        let id = inputs.id;
        let new = NewApplyRun {
            id,
            room: Room::of(100),
            subject: self.subject.clone(),
            plan: plan.id,
            digest,
            approval: Approval::Person,
            generation: 1,
            attempt: 0,
            requested_by: Actor::Unknown,
            token_hash: Sha256::digest(token.expose()).into(),
            inputs,
        };
        assert_eq!(self.writer.create_apply_run(new).await.unwrap(), ApplyRun::Created);
        self.local.start(id, EngineKind::OpenTofu, &token).unwrap();
        self.finished(id).await
    }

    async fn live(&self) -> Vec<String> {
        let all = self.writer.inventory(self.subject.uid).await.unwrap();
        let mut live: Vec<_> = all.into_iter().filter(|r| r.standing != Standing::Gone).collect();
        assert!(live.iter().all(|r| r.standing == Standing::Managed && r.id.is_some()), "{live:?}");
        live.sort_by(|a, b| a.address.cmp(&b.address));
        live.into_iter().map(|r| r.address).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_is_planned_approved_applied_and_destroyed_by_a_real_engine() {
    let world = World::new().await;
    let landfall = Landfall::new(&world).await;
    let plan = landfall.plan(Change::Apply).await;
    assert_eq!(plan.phase, RunPhase::Succeeded, "{plan:?}");
    assert_eq!((plan.summary.as_ref().unwrap().add, plan.has_changes, plan.state_serial), (3, Some(true), Some(0)));
    let log = String::from_utf8(landfall.writer.log(plan.id, 0).await.unwrap().0).unwrap();
    assert!(log.contains("terraform_data.one"), "{log}");

    let apply = landfall.apply(&plan).await;
    assert_eq!(apply.phase, RunPhase::Succeeded, "{apply:?}");
    let addresses = [r#"terraform_data.many["x"]"#, r#"terraform_data.many["y"]"#, "terraform_data.one"];
    assert_eq!(landfall.live().await, addresses);
    let key = state_key(&landfall.subject);
    let organization = &landfall.subject.organization;
    let head = landfall.writer.state_head(organization, &key).await.unwrap().unwrap();
    assert_eq!((head.resources, Some(head.serial), head.run), (3, apply.state_serial, apply.id));
    assert!(landfall.writer.lock_info(organization, &key).await.unwrap().is_none());
    let outputs =
        state_outputs(&landfall.writer.state_bytes(organization, &key, None).await.unwrap().unwrap()).unwrap();
    assert_eq!((&outputs["name"].value, outputs["token"].sensitive), (&json!("a"), true));

    let again = landfall.plan(Change::Apply).await;
    assert_eq!((again.phase, again.has_changes), (RunPhase::Succeeded, Some(false)), "{again:?}");
    assert_eq!(again.state_lineage, Some(head.lineage));

    let destroy = landfall.plan(Change::Destroy).await;
    assert_eq!(destroy.summary.as_ref().unwrap().destroy, 3, "{destroy:?}");
    let destroyed = landfall.apply(&destroy).await;
    assert_eq!(destroyed.phase, RunPhase::Succeeded, "{destroyed:?}");
    assert!(landfall.live().await.is_empty());
    let reports = landfall::ledger::audit::verify(world.ledger.pool(), None, &[]).await.unwrap();
    assert!(reports.iter().all(|report| report.damage.is_none()), "{reports:?}");
}
