#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;

const MAIN: &str =
    "variable \"size\" {}\nvariable \"count_of\" {\n  default = 2\n}\nresource \"terraform_data\" \"a\" {}\n";

fn module(name: &str, text: &str) -> Module {
    let files = [("main.tf", MAIN), (name, text)];
    Module { files: files.into_iter().map(|(n, t)| (n.to_owned(), t.as_bytes().to_vec())).collect() }
}

fn refusal(name: &str, text: &str) -> String {
    let error = module(name, text).check().expect_err(&format!("{name} was accepted: {text}"));
    assert_eq!(error.reason(), Reason::SourceInvalid);
    error.to_string()
}

#[test]
fn a_backend_is_refused_in_every_file_under_every_name() {
    let native = "terraform {\n  backend \"local\" {\n    path = \"/tmp/x\"\n  }\n}\n";
    let json = r#"{"terraform": {"backend": {"local": {}}}}"#;
    let cases = [
        ("other.tf", native),
        ("zzz_override.tf", native),
        ("override.tf", native),
        ("zzzzz_override.tofu", native),
        ("backend.tofu", native),
        ("modules/child/main.tf", native),
        ("b.tf.json", json),
        ("zzzzz_override.tf.json", json),
        ("b.tofu.json", json),
    ];
    for (name, text) in cases {
        let message = refusal(name, text);
        assert!(message.contains(name) && message.contains("`backend`"), "{message}");
    }
}

#[test]
fn a_backend_is_found_however_it_is_written() {
    let native = [
        "terraform { backend \"http\" {} }",
        "terraform{backend http{}}",
        "terraform /* backend in a comment */ {\n  # }\n  backend \"s3\" {}\n}",
        "terraform {\n}\nterraform {\n  required_version = \">= 1\"\n  cloud {\n  }\n}",
        "locals {\n  a = <<EOT\n}\nEOT\n}\nterraform {\n  backend \"s3\" {}\n}\n",
        "terraform \"label\" {\n  backend \"s3\" {}\n}",
        "terraform {\n  encryption {\n  }\n}",
        "terraform {\n  state_store \"x\" {\n  }\n}",
        "terraform {\r\n  backend \"s3\" {}\r\n}\r\n",
        "terraform {\n  backend = {}\n}",
        "# a\n//b\n/* c\n*/ terraform {\n  backend \"s3\" {}\n}",
    ];
    for text in native {
        refusal("x.tf", text);
    }
    let json = [
        r#"{"terraform": [{"required_version": ">= 1"}, {"backend": {"s3": {}}}]}"#,
        r#"[{"terraform": {"backend": {"s3": {}}}}]"#,
        r#"{"terraform": {"backend": {"s3": {}}}, "terraform": {}}"#,
        r#"{"terraform": {"cloud": {}}}"#,
        r#"{"terr\u0061form": {"b\u0061ckend": {"s3": {}}}}"#,
        r#"{"terraform": [[{"backend": {"s3": {}}}]]}"#,
    ];
    for text in json {
        refusal("x.tf.json", text);
    }
}

#[test]
fn words_that_are_no_blocks_pass() {
    let cases = [
        ("a.tf", "locals {\n  text = <<EOT\nterraform {\n  backend \"s3\" {}\n}\nEOT\n}\n"),
        ("a.tf", "# terraform { backend \"s3\" {} }\n/* terraform { cloud {} } */\n"),
        ("a.tf", "variable \"backend\" {\n  default = 1\n}\nlocals {\n  cloud = 1\n}\n"),
        ("a.tf", "resource \"x\" \"terraform\" {\n  backend {\n  }\n}\n"),
        ("a.tf", "data \"terraform_remote_state\" \"x\" {\n  backend = \"local\"\n}\n"),
        ("a.tf", "terraform {\n  required_version = \">= 1\"\n}\n"),
        ("a.tf.json", r#"{"locals": {"terraform": {"backend": 1}}}"#),
        ("notes.txt", "terraform { backend \"s3\" {} }"),
    ];
    for (name, text) in cases {
        module(name, text).check().unwrap();
    }
}

#[test]
fn a_file_that_cannot_be_read_is_refused_when_it_speaks_of_a_backend_and_left_to_the_engine_when_not() {
    let message = refusal("broken.tf", "terraform {\n  backend \"s3\" {\n");
    assert!(message.contains("broken.tf") && message.contains("line"), "{message}");
    assert!(module("broken.tf", "resource \"x\" {{{\n").check().unwrap().partial);
    assert!(refusal("broken.tf.json", "{").contains("broken.tf.json"));
}

#[test]
fn bytes_that_the_engine_would_change_are_refused() {
    let mut bad = module("a.tf", "");
    bad.files.insert("a.tf".into(), b"locals {\n  a = \"\xff\"\n}\n".to_vec());
    assert!(bad.check().unwrap_err().to_string().contains("a.tf is not UTF-8"));
    assert!(refusal("a.tf", "locals {\n  a = \"e\u{301}\"\n}\n").contains("normal form C"));
    assert!(check_value("v", b"\xff").unwrap_err().to_string().contains("variable v is not UTF-8"));
    assert!(check_value("v", "e\u{301}".as_bytes()).is_err());
    assert_eq!(check_value("v", "é".as_bytes()).unwrap(), "é");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in ["../x.tf", "/x.tf", "a//b.tf", ".terraform/terraform.tfstate", ".x.tf", "", "a b.tf", "a\n.tf"] {
        assert!(refusal(name, "").contains("file name"), "{name}");
    }
    for name in ["terraform.tfstate", "errored.tfstate", "zzzz_landfall_override.tofu.json", OVERRIDE_FILE] {
        assert!(refusal(name, "{}").contains("reserved"), "{name}");
    }
    module(LOCK_FILE, "").check().unwrap();
}

#[test]
fn a_source_without_configuration_is_refused() {
    let files = BTreeMap::from([("readme.md".to_owned(), Vec::new())]);
    assert!(Module { files }.check().is_err());
}

#[test]
fn variables_are_checked_against_their_declarations_in_both_syntaxes() {
    let declared = module("v.tf.json", r#"{"variable": {"color": {"default": null}, "shape": [{}]}}"#).check().unwrap();
    assert!(check_variables(&declared, ["size", "shape"]).is_ok());
    let unknown = check_variables(&declared, ["size", "shape", "sise"]).unwrap_err();
    assert!(unknown.to_string().contains("declares no variable sise"), "{unknown}");
    let missing = check_variables(&declared, ["size"]).unwrap_err();
    assert!(missing.to_string().contains("no value for variable shape"), "{missing}");
}

#[test]
fn outputs_to_publish_are_checked_against_their_declarations_in_both_syntaxes() {
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for (file, text) in [
        ("o.tf", "output \"url\" {\n  value = 1\n}\noutput \"größe\" {\n  value = 2\n}\n"),
        ("o.tf.json", r#"{"output": {"url": {"value": 1}, "größe": [{"value": 2}]}}"#),
    ] {
        let declared = module(file, text).check().unwrap();
        assert!(check_outputs(&declared, &named(&["url", "größe"])).is_ok(), "{file}");
        assert!(check_outputs(&declared, &[]).is_ok(), "{file}");
        let refused = check_outputs(&declared, &named(&["url", "nope"])).unwrap_err();
        assert_eq!(refused.reason(), Reason::SourceInvalid);
        assert!(
            refused.to_string().contains("spec.outputs.include") && refused.to_string().contains("output nope:"),
            "{refused}"
        );
    }
    let unread = module("o.tf", "output {{").check().unwrap();
    assert!(check_outputs(&unread, &named(&["nope"])).is_ok(), "nobody here can tell");
    let child = module("modules/child/o.tf", "output \"url\" {\n  value = 1\n}\n").check().unwrap();
    assert!(check_outputs(&child, &named(&["url"])).is_err(), "an output of a child is none of the root");
}

#[test]
fn an_override_that_adds_a_default_is_a_default() {
    let declared = module("x_override.tf", "variable \"size\" {\n  default = 1\n}\n").check().unwrap();
    assert!(check_variables(&declared, []).is_ok());
}

#[test]
fn a_stored_module_declares_what_it_declared_whatever_init_has_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("main.tf", "variable \"size\" {}\n");
    write(".terraform/modules/modules.json", "{}");
    write(".terraform/modules/x/main.tf", "variable \"inner\" {}\n");
    std::os::unix::fs::symlink("main.tf", folder.path().join("again.tf")).unwrap();
    let tar = snapshot::pack_folder(folder.path(), &|_| true).unwrap();
    let declared = Module::stored(&tar).unwrap();
    assert_eq!(declared.variables.into_keys().collect::<Vec<_>>(), ["size"]);
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic_and_no_backend_slips_by(before in "\\PC{0,40}", after in "\\PC{0,40}") {
        let _ = module("a.tf", &before).check();
        let _ = module("a.tf.json", &before).check();
        // Whatever stands around it: either the block is seen, or the file is refused, or the text swallowed the block.
        let text = format!("{before}\nterraform {{\n  backend \"s3\" {{}}\n}}\n{after}");
        let swallowed = before.contains("/*") || before.contains("<<") || before.contains(['"', '{', '[', '(']);
        prop_assert!(swallowed || module("a.tf", &text).check().is_err());
    }

    #[test]
    fn a_module_survives_its_tar(files in proptest::collection::btree_map("[a-z]{1,8}(/[a-z]{1,150})?\\.tf", any::<Vec<u8>>(), 0..8)) {
        let module = Module { files };
        let tar = module.to_tar().unwrap();
        let to = tempfile::tempdir().unwrap();
        snapshot::unpack(&tar, to.path()).unwrap();
        for (name, bytes) in &module.files {
            prop_assert_eq!(&std::fs::read(to.path().join(name)).unwrap(), bytes);
        }
        prop_assert_eq!(module.to_tar().unwrap(), tar);
    }
}

#[test]
fn no_override_comes_after_ours() {
    let shown = "variable \"size\" {\n  sensitive = false\n}\n";
    for name in ["zzzzz_override.tf", "zzzz_override.tofu", "zzzz_landfall_x_override.tf"] {
        let message = refusal(name, shown);
        assert!(message.contains(name) && message.contains("reserved"), "{message}");
    }
    for name in ["zz_override.tf", "override.tf", "zzzzz.tf", "modules/child/zzzzz_override.tf"] {
        module(name, shown.replace("size", "other").as_str()).check().unwrap();
    }
}
