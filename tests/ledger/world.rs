//! What most tests begin with: a cluster, an organization, an object.

use landfall::api::Organization;
use landfall::ledger::{Actor, Event, Ledger, ObjectKind, Subject, Writer};
use serde_json::json;
use uuid::Uuid;

use crate::database::Database;

pub(crate) struct World {
    pub(crate) database: Database,
    pub(crate) ledger: Ledger,
    pub(crate) cluster: Uuid,
}

impl World {
    pub(crate) async fn new() -> Self {
        let database = Database::fresh().await;
        let ledger = database.ledger().await;
        let cluster = Uuid::now_v7();
        ledger.register_cluster(cluster, "test").await.unwrap();
        Self { database, ledger, cluster }
    }

    pub(crate) async fn writer(&self) -> Writer {
        self.ledger.lead(self.cluster, "me").await.unwrap()
    }

    pub(crate) fn subject(&self, organization: &str) -> Subject {
        Subject {
            organization: Organization(organization.into()),
            cluster: self.cluster,
            kind: ObjectKind::TerraformDeployment,
            uid: Uuid::now_v7(),
            namespace: "shop".into(),
            name: "web".into(),
        }
    }
}

pub(crate) fn event(subject: &Subject, number: i64) -> Event {
    Event {
        subject: subject.clone(),
        actor: Actor::User("alice".into()),
        action: "test.happened",
        details: json!({"number": number}),
    }
}
