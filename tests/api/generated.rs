//! Files that derive from the code are as the code says.

use crate::harness::top;

#[test]
fn generated_files_are_current() {
    for artifact in landfall::cli::artifacts().unwrap() {
        let found = std::fs::read_to_string(top().join(&artifact.path)).unwrap_or_default();
        assert!(found == artifact.content, "{} is not current; run `make generate`", artifact.path);
    }
}

#[test]
fn the_installation_lists_every_generated_definition() {
    let kustomization = std::fs::read_to_string(top().join("crds/kustomization.yaml")).unwrap();
    for definition in landfall::api::definitions() {
        let file = format!("- {}.yaml", definition.spec.names.plural);
        assert!(kustomization.lines().any(|line| line == file), "crds/kustomization.yaml lacks `{file}`");
    }
}

#[tokio::test]
async fn the_installation_applies_to_a_real_api_server() {
    crate::harness::install().await;
    let namespace = crate::harness::namespace().await;
    crate::harness::grant(&namespace, crate::harness::User::Bob, &["landfall-editor"]).await;
}
