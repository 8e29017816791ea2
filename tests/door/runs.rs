//! Plan runs in the ledger of a controller, made beside it: of another cluster, so that it leaves them alone.

use landfall::api::{Change, EngineKind, Organization};
use landfall::ledger::{Actor, Keyring, Ledger, NewPlanRun, ObjectKind, Room, Subject, Writer};
use landfall::run::protocol::RunSpec;
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::controller::Home;

/// What a run's token is.
pub(crate) const TOKEN: &str = "token";

pub(crate) struct Runs {
    pub(crate) writer: Writer,
    cluster: Uuid,
}

impl Runs {
    pub(crate) async fn beside(home: &Home) -> Self {
        let keys = Keyring::from_installation(&home.installation.encryption).unwrap();
        let ledger = Ledger::connect(&home.database_url, keys).await.unwrap();
        let cluster = Uuid::now_v7();
        ledger.register_cluster(cluster, "other").await.unwrap();
        Self { writer: ledger.lead(cluster, "test").await.unwrap(), cluster }
    }

    /// A plan run that waits for its runner.
    pub(crate) async fn plan(&self, number: usize) -> Uuid {
        let id = Uuid::now_v7();
        let inputs = json!({
            "id": id, "kind": "Plan", "change": "Apply", "engine": "OpenTofu", "plan_digest": null, "environment": {},
            "variables": {}, "sensitive": [], "limits": {"init": 1, "plan": 1, "apply": 1, "grace": 1},
        });
        let subject = Subject {
            organization: Organization("acme".into()),
            cluster: self.cluster,
            kind: ObjectKind::TerraformDeployment,
            uid: Uuid::now_v7(),
            namespace: "shop".into(),
            name: format!("web-{number}"),
        };
        let new = NewPlanRun {
            id,
            room: Room::of(1000),
            subject,
            change: Change::Apply,
            generation: 1,
            attempt: 0,
            engine: EngineKind::OpenTofu,
            facts: json!({"variablesHmac": "h", "credential": null}),
            requested_by: Actor::Unknown,
            token_hash: Sha256::digest(TOKEN).into(),
            inputs: serde_json::from_value::<RunSpec>(inputs).unwrap(),
            snapshot: b"tar".to_vec(),
        };
        self.writer.create_plan_run(new).await.unwrap();
        id
    }
}
