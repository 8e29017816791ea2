//! What is there before the chart is installed: the image on the node, namespaces, and a database with the controller's login.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use url::Url;

use crate::cluster::Services;
use crate::harness::{User, env};
use crate::helm::HOME;
use crate::runners;

/// The namespace of those who use what is installed.
pub(crate) const TEAM: &str = "team";

pub(crate) struct Ground {
    pub(crate) client: Client,
    pub(crate) services: Services,
    /// The controller's login, as this machine reaches it.
    pub(crate) database: Url,
}

impl Ground {
    /// With these files in the image beside its own, each at its path here.
    pub(crate) async fn lay(files: &[PathBuf]) -> Self {
        runners::import(files);
        let (client, services) = (User::Admin.client().await, Services::begin().await);
        for name in [HOME, TEAM] {
            let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        }
        let database = database(&client, &services).await;
        Self { client, services, database }
    }

    /// Values of the chart that fit it.
    pub(crate) fn values() -> Value {
        json!({
            "image": {"repository": "landfall.test/landfall", "tag": "test", "pullPolicy": "Never"},
            "database": {"existingSecret": "landfall-database"},
        })
    }
}

/// A database with the controller's login, and the Secret with both URLs as pods see them.
async fn database(client: &Client, services: &Services) -> Url {
    let mut here = Url::parse(&env("DATABASE_SUPERUSER_URL")).unwrap();
    let mut admin = PgConnection::connect(here.as_str()).await.unwrap();
    admin.execute("CREATE DATABASE landfall").await.unwrap();
    let login =
        "CREATE ROLE landfall_writer NOLOGIN; CREATE ROLE landfall LOGIN PASSWORD 'test' IN ROLE landfall_writer";
    admin.execute(login).await.unwrap();
    here.set_path("/landfall");
    let migrator = seen_from_pods(&here, services);
    here.set_username("landfall").unwrap();
    here.set_password(Some("test")).unwrap();
    let urls = json!({"url": seen_from_pods(&here, services), "migrator-url": migrator});
    let secret = json!({"metadata": {"name": "landfall-database"}, "stringData": urls});
    let secrets: Api<Secret> = Api::namespaced(client.clone(), HOME);
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    here
}

fn seen_from_pods(url: &Url, services: &Services) -> String {
    let mut url = url.clone();
    url.set_ip_host(services.postgres.ip()).unwrap();
    url.set_port(Some(services.postgres.port())).unwrap();
    url.to_string()
}
