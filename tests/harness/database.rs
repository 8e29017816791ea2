//! A fresh database for each test: copied from a template that the test process migrates once.
// Each test crate uses a part of it.
#![allow(dead_code, unreachable_pub)]

use std::sync::atomic::{AtomicU32, Ordering};

use landfall::ledger::{self, Keyring, Ledger};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};
use tokio::sync::OnceCell;
use uuid::Uuid;

static TEMPLATE: OnceCell<String> = OnceCell::const_new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// One database, dropped with `DROP DATABASE … WITH (FORCE)` when the bed goes down; a test need not clean up.
pub struct Database {
    /// URL of the superuser in this database.
    pub url: String,
    /// Its name.
    pub name: String,
}

impl Database {
    /// Copies the template.
    pub async fn fresh() -> Self {
        let template = TEMPLATE.get_or_init(make_template).await;
        let name = format!("{template}_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut admin = PgConnection::connect(&superuser_url()).await.unwrap();
        admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE {template}"))).await.unwrap();
        // What ALTER DATABASE has set is not copied with a template.
        admin
            .execute(AssertSqlSafe(format!("ALTER DATABASE {name} SET search_path = landfall, public")))
            .await
            .unwrap();
        Self { url: url_of(&name), name }
    }

    /// A migrated one on another server than the bed's.
    pub async fn on(superuser: &str) -> Self {
        let name = make_template_on(superuser).await;
        Self { url: url_on(superuser, &name), name }
    }

    /// The ledger as the controller sees it.
    pub async fn ledger(&self) -> Ledger {
        Ledger::connect(&self.url, Keyring::for_test()).await.unwrap()
    }

    /// A connection as superuser: the one who may do damage.
    pub async fn superuser(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    /// A new login role that is a member of `group`, and its URL.
    pub async fn login(&self, group: &str) -> (String, String) {
        let role = format!("t_{}", Uuid::new_v4().simple());
        let mut admin = self.superuser().await;
        let statement = format!("CREATE ROLE {role} LOGIN PASSWORD 'test' IN ROLE {group}");
        admin.execute(AssertSqlSafe(statement)).await.unwrap();
        let options: PgConnectOptions = self.url.parse().unwrap();
        let url = options.username(&role).password("test").to_url_lossy().to_string();
        (role, url)
    }
}

/// The server of the test bed.
pub fn superuser_url() -> String {
    std::env::var("DATABASE_SUPERUSER_URL").expect("DATABASE_SUPERUSER_URL is not set: run `make test`")
}

fn url_of(database: &str) -> String {
    url_on(&superuser_url(), database)
}

fn url_on(superuser: &str, database: &str) -> String {
    let options: PgConnectOptions = superuser.parse().unwrap();
    options.database(database).to_url_lossy().to_string()
}

/// An empty database, not migrated.
pub async fn empty() -> String {
    let name = format!("e_{}", Uuid::new_v4().simple());
    let mut admin = PgConnection::connect(&superuser_url()).await.unwrap();
    admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
    url_of(&name)
}

async fn make_template() -> String {
    make_template_on(&superuser_url()).await
}

async fn make_template_on(superuser: &str) -> String {
    let name = format!("t_{}", Uuid::new_v4().simple());
    let mut admin = PgConnection::connect(superuser).await.unwrap();
    admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
    ledger::migrate(&url_on(superuser, &name)).await.unwrap();
    name
}
