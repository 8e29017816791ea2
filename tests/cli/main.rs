//! The reading commands, against a ledger that the API has filled.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod commands;
#[path = "../harness/database.rs"]
mod database;
mod documents;
mod told;
mod world;

use serde_json::Value;
use sqlx::Executor;

use world::{World, masked};

#[tokio::test]
async fn runs_are_listed_newest_first() {
    let world = World::filled().await;
    let (code, out, _) = world.landfall(&["runs", "tfd/web", "-n", "shop"]);
    assert_eq!(code, 0);
    assert_eq!(
        masked(&out),
        "RUN KIND PHASE CREATED DIGEST RESULT\n\
         ID Plan Cancelled TIME Cancelled\n\
         ID Apply Succeeded TIME DIGEST state serial 1\n\
         ID Plan Succeeded TIME DIGEST 1 to add, 0 to change, 0 to destroy, 1 output to change (said)\n"
    );
    let (_, out, _) = world.landfall(&["runs", "web", "-n", "shop", "--limit", "2", "--json"]);
    let runs: Vec<Value> = serde_json::from_str(&out).unwrap();
    assert_eq!(runs.len(), 2);
    assert_eq!(runs[1]["id"], world.apply.to_string());
    assert_eq!(runs[1]["kind"], "Apply");
}

#[tokio::test]
async fn a_name_without_runs_is_a_negative_answer_that_says_where_was_looked() {
    let world = World::filled().await;
    for command in [&["runs"][..], &["logs"], &["plan"], &["state", "list"]] {
        let (code, out, err) = world.landfall(&[command, &["tfd/other", "-n", "shop"]].concat());
        assert_eq!((code, out.as_str()), (1, ""), "{command:?} {err}");
        assert!(err.contains("tfd/other in namespace shop"), "{err}");
    }
}

#[tokio::test]
async fn a_plan_is_shown_by_addresses_and_never_by_values() {
    let world = World::filled().await;
    let (code, out, err) = world.landfall(&["plan", "tfd/web", "-n", "shop"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(
        masked(&out),
        "Plan ID of TIME\ndigest DIGEST\n1 to add, 0 to change, 0 to destroy, 1 output to change (said)\nACTION RESOURCE\ncreate t.a\nupdate output.said\n"
    );
    assert!(out.contains(&world.digest), "the whole digest, to be approved");
    let (_, out, _) = world.landfall(&["plan", "tfd/web", "-n", "shop", "--json"]);
    let plan: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        plan["changes"],
        serde_json::json!([
            {"address": "t.a", "actions": ["create"]}, {"address": "output.said", "actions": ["update"]}
        ])
    );
    assert!(!out.contains("s3cret"), "{out}");
}

#[tokio::test]
async fn a_log_comes_out_as_the_engine_wrote_it() {
    let world = World::filled().await;
    let run = world.apply.to_string();
    let (code, out, _) = world.landfall(&["logs", "tfd/web", "-n", "shop", "--run", &run, "--follow"]);
    assert_eq!((code, out.as_str()), (0, "Apply complete!\n"));
    let (_, out, _) = world.landfall(&["logs", "tfd/web", "-n", "shop", "--run", &run, "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["log"], "Apply complete!\n");
    let (code, _, err) = world.landfall(&["logs", "tfd/web", "-n", "shop", "--run", "nonsense"]);
    assert_eq!(code, 2);
    assert!(err.contains("\"nonsense\" is no run id"), "{err}");
    let (code, _, err) = world.landfall(&["logs", "tfd/web", "-n", "shop", "--run", &uuid::Uuid::nil().to_string()]);
    assert_eq!(code, 1);
    assert!(err.contains("no such run of this deployment; see `landfall runs`"), "{err}");
}

#[tokio::test]
async fn history_tells_who_and_marks_what_nobody_vouches_for() {
    let world = World::filled().await;
    let (code, out, _) = world.landfall(&["history", "tfd/web", "-n", "shop"]);
    assert_eq!(code, 0);
    assert_eq!(
        masked(&out),
        "TIME WHO WHAT OBJECT DETAILS\n\
         TIME controller state.claimed tfd/shop/web\n\
         TIME kubectl (unverified) plan.started tfd/shop/web change=Apply\n\
         TIME runner run.claimed tfd/shop/web\n\
         TIME runner plan.created tfd/shop/web DIGEST +1 ~0 -0 ±0 change=Apply exitCode=0\n\
         TIME alice approval.given tfd/shop/web DIGEST\n\
         TIME controller intent.made tfd/shop/web approvedBy=alice call=terraform.apply why=plan DIGEST of generation 1\n\
         TIME controller apply.started tfd/shop/web DIGEST +1 ~0 -0 ±0 approvedBy=alice change=Apply\n\
         TIME runner run.claimed tfd/shop/web\n\
         TIME runner apply.running tfd/shop/web DIGEST\n\
         TIME runner state.written tfd/shop/web serial=1\n\
         TIME runner intent.concluded tfd/shop/web call=terraform.apply outcome=Done\n\
         TIME runner apply.succeeded tfd/shop/web DIGEST change=Apply serial=1 exitCode=0\n\
         TIME kubectl (unverified) plan.started tfd/shop/web change=Apply\n\
         TIME alice plan.cancelled tfd/shop/web change=Apply reason=Cancelled serial=1\n"
    );
    let (_, out, err) = world.landfall(&["history", "--since", "1h", "--limit", "1", "--json"]);
    let rows: Vec<Value> = serde_json::from_str(&out).unwrap();
    assert_eq!((rows.len(), &rows[0]["action"]), (1, &Value::from("plan.cancelled")));
    assert!(err.contains("older events are left out"), "{err}");
    let (_, _, err) = world.landfall(&["history", "--since", "1h"]);
    assert_eq!(err, "", "nothing is left out");
    let (code, _, _) = world.landfall(&["history", "pod/web"]);
    assert_eq!(code, 2);
}

#[tokio::test]
async fn states_are_listed_with_their_serials() {
    let world = World::filled().await;
    let (code, out, _) = world.landfall(&["state", "list", "tfd/web", "-n", "shop"]);
    assert_eq!(code, 0);
    assert_eq!(masked(&out), "SERIAL RESOURCES BYTES WRITTEN RUN LINEAGE\n1 1 146 TIME ID lineage-a\n");
    let (_, out, _) = world.landfall(&["state", "list", "tfd/web", "-n", "shop", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()[0]["lineage"], "lineage-a");
}

#[tokio::test]
async fn verify_says_ok_and_names_the_event_that_somebody_edited() {
    let world = World::filled().await;
    let (code, out, _) = world.landfall(&["audit", "verify"]);
    assert_eq!((code, out.as_str()), (0, "acme: ok, 14 events\n"));
    let mut admin = world.database.superuser().await;
    admin.execute("UPDATE activity_log SET actor = 'mallory' WHERE seq = 5").await.unwrap();
    let (code, out, err) = world.landfall(&["audit", "verify"]);
    assert_eq!(code, 1);
    assert!(out.starts_with("acme: damaged: event 5 was edited (Edited)"), "{out}");
    assert!(err.contains("1 of 1 chains damaged"), "{err}");
    let (code, out, _) = world.landfall(&["audit", "verify", "--organization", "acme", "--json"]);
    let reports: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &reports[0]["damage"]["seq"], &reports[0]["damage"]["kind"]), (1, &5.into(), &"Edited".into()));
}

#[tokio::test]
async fn a_reader_of_another_organization_sees_nothing_and_an_absent_database_is_code_3() {
    let world = World::filled().await;
    let (_, url) = world.database.login("landfall_reader").await;
    let (code, out, _) = world.landfall_as(&url, &["runs", "tfd/web", "-n", "shop"]);
    assert_eq!((code, out.as_str()), (1, ""));
    let (code, out, _) = world.landfall_as(&url, &["history", "--json"]);
    assert_eq!((code, out.as_str()), (0, "[]\n"));
    let (code, _, err) = world.landfall_as("postgres://u:p@127.0.0.1:1/none", &["history"]);
    assert_eq!(code, 3, "{err}");
    let (code, _, err) = world.landfall_as("", &["history"]);
    assert_eq!(code, 3);
    assert!(err.contains("set DATABASE_URL"), "{err}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{url}\n")).unwrap();
    let output = world.command("", &["history", "--json"]).env("DATABASE_URL_FILE", file.path()).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "[]\n");
}

#[tokio::test]
async fn a_deployment_without_a_run_says_what_it_waits_for() {
    let world = World::filled().await;
    let mut admin = world.database.superuser().await;
    admin
        .execute(
            "INSERT INTO terraform_deployments (cluster_id, uid, organization_id, namespace, name, generation, resource_version,
                                                spec, labels, escaped, phase, reason, message)
             SELECT cluster_id, gen_random_uuid(), 'acme', 'shop', 'waits', 1, 1, '{}', '{}', false, 'Pending', 'SourceNotFound',
                    'there is no ConfigMap \"module\"' FROM clusters",
        )
        .await
        .unwrap();
    for command in [&["runs"][..], &["logs"], &["plan"], &["state", "list"]] {
        let (code, _, err) = world.landfall(&[command, &["tfd/waits", "-n", "shop"]].concat());
        assert_eq!(code, 1, "{command:?} {err}");
        let said = "tfd/waits in namespace shop has no run yet; it is Pending, SourceNotFound: there is no ConfigMap \"module\"";
        assert!(err.contains(said), "{err}");
    }
}

#[tokio::test]
async fn a_limit_is_within_its_range() {
    let world = World::filled().await;
    for (command, range) in [(&["history"][..], "1..=10000"), (&["runs", "tfd/web"], "1..=1000")] {
        for limit in ["0", "10001", "-1", "x"] {
            let (code, _, err) = world.landfall(&[command, &["--limit", limit]].concat());
            assert_eq!(code, 2, "{command:?} {limit}");
            assert!(limit == "x" || limit == "-1" || err.contains(range), "{err}");
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_database_url_is_said_without_its_password() {
    let world = World::filled().await;
    let (role, good) = world.database.login("landfall_reader").await;
    let cases = [
        (
            "postgres://u:canary@127.0.0.1:1/none".to_owned(),
            "database \"none\" at 127.0.0.1:1 as \"u\": Connection refused",
        ),
        (good.replace(":test@", ":canary@"), "password authentication failed"),
        (good.replace(&world.database.name, "nowhere"), "\"nowhere\""),
        ("postgres://u:canary@host:x/none".to_owned(), "write postgres://USER:PASSWORD@HOST:PORT/DATABASE"),
        ("canary".to_owned(), "write postgres://"),
        (format!("{good}?sslmode=canary-mode"), "DATABASE_URL is no URL of Postgres"),
    ];
    for (url, says) in cases {
        let (code, _, err) = world.landfall_as(&url, &["history"]);
        assert_eq!(code, 3, "{err}");
        assert!(err.contains("DATABASE_URL") && err.contains(says), "{role}: {says}: {err}");
        assert!(!err.contains("canary@") && !err.contains(":canary") && err.lines().count() == 1, "{err}");
    }
}

#[tokio::test]
async fn of_two_clusters_with_the_same_names_one_is_told_of_and_never_both() {
    let world = World::filled().await;
    let ours = world.ledger.run(world.apply).await.unwrap().unwrap().subject.cluster.to_string();
    let (other, digest) = world::fill(&world.ledger).await;
    let theirs = world.ledger.run(other).await.unwrap().unwrap().subject.cluster.to_string();
    for command in [&["runs"][..], &["logs"], &["plan"], &["state", "list"], &["history"]] {
        let asked = [command, &["tfd/web", "-n", "shop"]].concat();
        let (code, out, err) = world.landfall(&asked);
        assert_eq!((code, out.as_str()), (2, ""), "{command:?}: {err}");
        assert!(err.contains("--cluster") && err.contains(&ours) && err.contains(&theirs), "{err}");
        let (code, _, err) = world.landfall(&[&asked[..], &["--cluster", &ours]].concat());
        assert_eq!(code, 0, "{command:?}: {err}");
    }
    let (_, out, _) = world.landfall(&["plan", "tfd/web", "-n", "shop", "--cluster", &theirs]);
    assert!(out.contains(&digest) && !out.contains(&world.digest), "{out}");
    let (_, out, _) = world.landfall(&["history", "--cluster", &theirs, "--json"]);
    assert_eq!(serde_json::from_str::<Vec<Value>>(&out).unwrap().len(), 14);
    let (code, _, err) =
        world.landfall(&["runs", "tfd/web", "-n", "shop", "--cluster", &uuid::Uuid::nil().to_string()]);
    assert_eq!(code, 1);
    assert!(err.contains("of cluster 00000000"), "{err}");
}

#[tokio::test]
async fn a_run_is_found_by_its_id_however_many_came_after_it() {
    let world = World::filled().await;
    let run = world.apply.to_string();
    let many = format!(
        "INSERT INTO terraform_runs (run_id, organization_id, cluster_id, deployment_uid, namespace, name, kind, change, phase, generation,
                                     attempt, engine, limits, requested_by_kind, created_at, finished_at)
         SELECT gen_random_uuid(), organization_id, cluster_id, deployment_uid, namespace, name, 'Plan', change, 'Failed', 1, 0, engine, limits,
                'unknown', now(), now() FROM terraform_runs, generate_series(1, 1100) WHERE run_id = '{run}'"
    );
    world.database.superuser().await.execute(sqlx::AssertSqlSafe(many)).await.unwrap();
    let (code, out, err) = world.landfall(&["logs", "tfd/web", "-n", "shop", "--run", &run]);
    assert_eq!((code, out.as_str()), (0, "Apply complete!\n"), "{err}");
    let (code, _, err) = world.landfall(&["logs", "tfd/other", "-n", "shop", "--run", &run]);
    assert_eq!(code, 1, "another deployment's: {err}");
}

#[tokio::test]
async fn damage_is_a_negative_answer_and_a_bad_file_of_anchors_is_wrong_usage() {
    let world = World::filled().await;
    let mut admin = world.database.superuser().await;
    admin.execute("UPDATE run_artifacts SET sealed = '\\x01' WHERE name = 'plan-json'").await.unwrap();
    let (code, _, err) = world.landfall(&["plan", "tfd/web", "-n", "shop"]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("damaged"), "{err}");
    for path in ["/dev/null", "/nowhere/anchors.json"] {
        let (code, _, err) = world.landfall(&["audit", "verify", "--anchors", path]);
        assert_eq!(code, 2, "{err}");
        assert!(err.contains("--anchors") && err.contains(path), "{err}");
    }
}
