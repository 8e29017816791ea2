//! Gates in the test's own database: a write to one deployment's rows waits at its gate while the test holds it shut.
//! The product knows nothing of them; to it, Postgres is slow there.

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

/// Where a gate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Before the token of a run's runner, without which none is started.
    Start,
    /// Before a state is kept.
    State,
    /// Before an apply is final.
    End,
}

impl Gate {
    const ALL: [Self; 3] = [Self::Start, Self::State, Self::End];

    fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::State => "state",
            Self::End => "end",
        }
    }

    /// Table, event, and when the gate counts.
    fn place(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Start => ("run_secrets", "UPDATE OF token_hash", "true"),
            Self::State => ("terraform_states", "INSERT", "true"),
            Self::End => (
                "terraform_runs",
                "UPDATE OF phase",
                "NEW.kind = 'Apply' AND NEW.phase IN ('Succeeded', 'Failed', 'Cancelled', 'Interrupted')",
            ),
        }
    }
}

/// Builds the gates; all stand open.
pub(crate) async fn build(connection: &mut PgConnection) {
    connection
        .execute(
            "CREATE FUNCTION landfall.wait_at_gate() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
             SET search_path = landfall AS $$
             BEGIN
                 PERFORM pg_advisory_xact_lock_shared(hashtext(TG_ARGV[0]), hashtext(name))
                 FROM terraform_runs WHERE run_id = NEW.run_id AND kind = 'Apply';
                 RETURN NEW;
             END $$",
        )
        .await
        .unwrap();
    for gate in Gate::ALL {
        let (word, (table, event, when)) = (gate.word(), gate.place());
        let trigger = format!(
            "CREATE TRIGGER gate BEFORE {event} ON landfall.{table} FOR EACH ROW WHEN ({when})
             EXECUTE FUNCTION landfall.wait_at_gate('{word}')"
        );
        connection.execute(AssertSqlSafe(trigger)).await.unwrap();
    }
}

/// A gate that is shut for one deployment, until this is dropped or opened.
pub(crate) struct Shut(PgConnection);

impl Shut {
    pub(crate) async fn at(url: &str, gate: Gate, deployment: &str) -> Self {
        let mut connection = PgConnection::connect(url).await.unwrap();
        sqlx::query("SELECT pg_advisory_lock(hashtext($1), hashtext($2))")
            .bind(gate.word())
            .bind(deployment)
            .execute(&mut connection)
            .await
            .unwrap();
        Self(connection)
    }

    pub(crate) async fn open(self) {
        self.0.close().await.unwrap();
    }
}
