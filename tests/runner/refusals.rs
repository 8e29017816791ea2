//! What a module may not do, and what nobody may see.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use base64::Engine as _;
use landfall::api::Reason;
use landfall::run::protocol::{RunPhase, SecretText};

use crate::world::{MODULE, World, engines};

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_takes_its_state_elsewhere_ends_before_the_plan() {
    // These come past the check of the source, as a file would that only the engine can read.
    let escapes = [
        ("zzzzz_override.tf", "terraform {\n  backend \"local\" {\n    path = \"{out}\"\n  }\n}\n"),
        ("zzzzz_override.tf.json", r#"{"terraform": {"backend": {"local": {"path": "{out}"}}}}"#),
        ("zzzzz_override.tf", "terraform {\n  backend \"http\" {\n    address = \"http://127.0.0.1:9/\"\n  }\n}\n"),
        ("zzzzz_override.tf", "terraform {\n  backend \"inmem\" {}\n}\n"),
    ];
    for engine in engines() {
        for (name, text) in escapes {
            let world = World::new(engine).await;
            let out = world.folder.path().join("stolen.tfstate");
            let text = text.replace("{out}", &out.display().to_string());
            let plan = world.plan(&[("main.tf", MODULE), (name, &text)], |_| ());
            let result = world.not_succeeded(plan).await;
            let told = (result.phase, result.reason);
            // The engine may refuse the address by itself, since nobody answers there.
            assert!(
                told == (RunPhase::Failed, Some(Reason::SourceInvalid)) || told.1 == Some(Reason::InitFailed),
                "{name}: {result:?}"
            );
            world.api.look(plan, |run| assert!(!run.phases.contains(&RunPhase::Plan), "{name}"));
            assert!(!out.exists() && world.done().is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_no_variable_takes_is_an_error_and_not_a_warning() {
    let world = World::new(engines()[0]).await;
    let plan = world.plan(&[("main.tf", MODULE)], |spec| {
        spec.variables.insert("wrold".into(), SecretText::new("1"));
    });
    let result = world.not_succeeded(plan).await;
    assert_eq!(result.reason, Some(Reason::SourceInvalid));
    assert!(result.message.unwrap().contains("\"wrold\""));
    world.api.look(plan, |run| assert!(!run.artifacts.contains_key("plan")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_syntax_error_is_told_in_the_engines_own_words() {
    for engine in engines() {
        let world = World::new(engine).await;
        let result = world.not_succeeded(world.plan(&[("main.tf", "resource \"x\" {{\n")], |_| ())).await;
        assert_eq!(result.reason, Some(Reason::SourceInvalid));
        let message = result.message.unwrap();
        assert!(message.starts_with("Error: ") && message.contains("main.tf line 1"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_is_wrong_whatever_stands_in_the_world_is_invalid_and_has_not_failed() {
    for engine in engines() {
        let world = World::new(engine).await;
        let wrong = "resource \"terraform_data\" \"a\" { input = local.nothing }";
        let result = world.not_succeeded(world.plan(&[("main.tf", wrong)], |_| ())).await;
        assert_eq!(result.reason, Some(Reason::SourceInvalid), "{result:?}");
        assert!(result.message.unwrap().contains("main.tf line 1"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_plan_is_told_with_its_place() {
    let module = "variable \"world\" {}\nresource \"terraform_data\" \"a\" {\n  lifecycle {\n    precondition {\n      condition     = var.world == \"\"\n      error_message = \"The world is round.\"\n    }\n  }\n}\n";
    let world = World::new(engines()[0]).await;
    let result = world.not_succeeded(world.plan(&[("main.tf", module)], |_| ())).await;
    assert_eq!(result.reason, Some(Reason::PlanFailed));
    let message = result.message.unwrap();
    assert!(message.contains("The world is round.") && message.contains("main.tf line 5"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_of_an_older_state_is_not_applied() {
    for engine in engines() {
        let world = World::new(engine).await;
        let (first, second) = (world.planned(0).await, world.planned(0).await);
        world.succeeded(world.apply(first, |_| ())).await;
        let result = world.not_succeeded(world.apply(second, |_| ())).await;
        assert_eq!(result.reason, Some(Reason::StalePlan), "{result:?}");
        assert_eq!(world.done().len(), 1);
    }
}

const CANARY: &str = "ca\"na${r}y\\ ünd <&>\nsecond line of the canary";

/// The forms in which a secret could stand somewhere.
fn forms() -> Vec<Vec<u8>> {
    let json = serde_json::to_string(CANARY).unwrap();
    let base64 = base64::engine::general_purpose::STANDARD_NO_PAD.encode(CANARY);
    let texts = [
        CANARY.into(),
        json.trim_matches('"').into(),
        hex::encode(CANARY),
        base64,
        "second line of the canary".to_owned(),
    ];
    texts.into_iter().map(String::into_bytes).collect()
}

fn shows_canary(bytes: &[u8]) -> bool {
    forms().iter().any(|form| bytes.windows(form.len()).any(|w| w == form.as_slice()))
}

fn files_below(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_in_no_argument_log_message_or_file_that_is_left() {
    let module = format!(
        "{MODULE}\nvariable \"secret\" {{}}\nresource \"terraform_data\" \"third\" {{\n  input = var.secret\n  provisioner \"local-exec\" {{\n    command = \"env; exit 1\"\n    environment = {{\n      SECRET = var.secret\n    }}\n  }}\n}}\n"
    );
    let script = "tr '\\0' '\\n' < /proc/$$/cmdline >> {folder}/arguments\nexec {engine} \"$@\"";
    let world = World::with_shim(script).await;
    let with_canary = |spec: &mut landfall::run::protocol::RunSpec| {
        spec.variables.insert("secret".into(), SecretText::new(serde_json::to_string(CANARY).unwrap()));
        spec.sensitive.insert("secret".into());
        spec.environment = BTreeMap::from([("AWS_SECRET_ACCESS_KEY".to_owned(), SecretText::new(CANARY))]);
    };
    let plan = world.plan(&[("main.tf", &module)], with_canary);
    world.succeeded(plan).await;
    let apply = world.apply(plan, with_canary);
    let result = world.not_succeeded(apply).await;
    assert_eq!(result.reason, Some(Reason::ApplyFailed));
    assert!(!shows_canary(result.message.unwrap().as_bytes()));
    for run in [plan, apply] {
        world.api.look(run, |run| {
            assert!(!run.log.is_empty() && !shows_canary(&run.log), "{}", String::from_utf8_lossy(&run.log));
        });
    }
    let arguments = std::fs::read(world.folder.path().join("arguments")).unwrap();
    assert!(String::from_utf8_lossy(&arguments).contains("apply") && !shows_canary(&arguments));
    let mut files = Vec::new();
    files_below(world.folder.path(), &mut files);
    for file in files {
        assert!(!shows_canary(&std::fs::read(&file).unwrap()), "{}", file.display());
        let secret = file.starts_with(world.run_folder(apply)) || file.starts_with(world.run_folder(plan));
        assert!(!secret || std::fs::metadata(&file).unwrap().mode() & 0o077 == 0, "{}", file.display());
    }
    // The search finds what is there: the state holds the secret, and only the ledger may have it.
    assert!(world.api.ledger().states.iter().any(|state| shows_canary(state)));
}

/// Its environment leads every module to the backend.
#[tokio::test(flavor = "multi_thread")]
async fn a_module_writes_no_state_while_it_is_planned() {
    let script = r#"
case "$1" in plan)
    curl -s -o '{folder}/said' -w '%{http_code}' -u "$TF_HTTP_USERNAME:$TF_HTTP_PASSWORD" --data '{"version": 4}' \
        "$TF_HTTP_ADDRESS" >'{folder}/code' ;;
esac
exec {engine} "$@""#;
    let world = World::with_shim(script).await;
    let plan = world.planned(0).await;
    let said = |name: &str| std::fs::read_to_string(world.folder.path().join(name)).unwrap();
    assert_eq!((said("code").as_str(), said("said").as_str()), ("403", "a plan run writes no state"));
    assert!(!world.run_folder(plan).join("spool").exists() && world.api.ledger().states.is_empty());
}

/// Whoever looks for a run's processes looks for their session: a runner without one would count as gone while it lives.
#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_leads_no_session_takes_no_run() {
    use std::os::unix::process::CommandExt;

    let world = World::new(engines()[0]).await;
    let spec = world.spec(landfall::run::protocol::RunKind::Plan);
    let token = world.api.create(spec.clone(), std::collections::HashMap::new());
    let folder = world.run_folder(spec.id);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("token"), token.expose()).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_landfall"));
    command.args(["runner", "--run", &spec.id.to_string(), "--api", world.url.as_str(), "--engine-binary", "/none"]);
    // The leader of a process group cannot begin a session.
    let output = command.arg("--dir").arg(&folder).process_group(0).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("leads no session"), "{said}");
    assert!(world.api.look(spec.id, |run| run.holder.is_none()), "it claimed the run all the same");
}
