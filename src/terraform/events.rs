//! What the engine says: its event stream (`-json`) and its plain text, made into a log, resource events and errors.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;

use crate::run::protocol::{ResourceAction, ResourceEvent};

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "@message")]
    message: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    hook: Option<Hook>,
    diagnostic: Option<Diagnostic>,
}

#[derive(Deserialize)]
struct Hook {
    resource: Option<Resource>,
    action: Option<String>,
    id_value: Option<String>,
}

#[derive(Deserialize)]
struct Resource {
    addr: String,
    #[serde(default)]
    resource_type: String,
    implied_provider: Option<String>,
}

#[derive(Deserialize)]
struct Diagnostic {
    #[serde(default)]
    severity: String,
    #[serde(default)]
    summary: String,
    #[serde(default)]
    detail: String,
    address: Option<String>,
    range: Option<Range>,
}

#[derive(Deserialize)]
struct Range {
    filename: String,
    start: Position,
}

#[derive(Deserialize)]
struct Position {
    line: u64,
}

/// One line of the engine, read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    /// What the log shows.
    pub(super) text: String,
    /// What happened to a resource.
    pub(super) event: Option<ResourceEvent>,
}

/// Reads a line of either form. An event's other members never come into the log: `outputs` has values in clear.
pub(super) fn read(line: &str) -> Read {
    let Ok(parsed) = serde_json::from_str::<Line>(line) else {
        return Read { text: line.to_owned(), event: None };
    };
    let event = parsed.hook.and_then(|hook| event(parsed.kind.as_deref()?, hook));
    let text = match (&parsed.diagnostic, parsed.message) {
        (Some(diagnostic), _) => diagnostic.block(),
        (None, Some(message)) => message,
        (None, None) => line.to_owned(),
    };
    Read { text, event }
}

fn event(kind: &str, hook: Hook) -> Option<ResourceEvent> {
    use ResourceAction as A;
    let words = match hook.action.as_deref()? {
        "create" => [A::CreateStarted, A::Created, A::CreateFailed],
        "update" => [A::UpdateStarted, A::Updated, A::UpdateFailed],
        "delete" => [A::DeleteStarted, A::Deleted, A::DeleteFailed],
        _ => return None,
    };
    let [started, done, failed] = words;
    let what = match kind {
        "apply_start" => started,
        "apply_complete" => done,
        "apply_errored" => failed,
        _ => return None,
    };
    let resource = hook.resource?;
    Some(ResourceEvent {
        address: resource.addr,
        resource_type: resource.resource_type,
        provider: resource.implied_provider,
        id: hook.id_value,
        what,
    })
}

impl Diagnostic {
    fn block(&self) -> String {
        let kind = if self.severity == "error" { "Error" } else { "Warning" };
        let mut text = format!("{kind}: {}", self.summary);
        if let Some(range) = &self.range {
            text.push_str(&format!("\n  on {} line {}", range.filename, range.start.line));
        }
        if let Some(address) = &self.address {
            text.push_str(&format!("\n  with {address}"));
        }
        if !self.detail.is_empty() {
            text.push_str(&format!("\n{}", self.detail));
        }
        text
    }
}

/// What a step's output says about its failure.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// The first error block: summary, place, detail.
    pub(super) error: Option<String>,
    /// The first value that no variable takes, in the engine's words.
    pub(super) undeclared: Option<String>,
    /// `init` says that the module itself is at fault, and not what it needs from elsewhere.
    pub(super) unfit: bool,
    /// The first error that says that a provider's plugin did not answer a call: it may have done what it was asked.
    pub(super) unanswered: Option<String>,
    /// Addresses whose change was begun, and of whose end nothing is said.
    pub(super) open: Vec<String>,
    /// Addresses whose creation failed after the engine was told to stop: it gave the call up, and what came of that at the
    /// provider nobody heard.
    pub(super) broken_off: Vec<String>,
}

/// Both engines say so before the errors of a module that they cannot read.
fn is_preamble(line: &str) -> bool {
    line.contains(" encountered problems during initiali")
}

/// What both engines say of a plugin that died, hung up, or broke the protocol in the middle of a call.
const UNANSWERED: [&str; 3] = ["Plugin did not respond", "Request cancelled", "Plugin error"];

impl Findings {
    /// Reads a step's output; a file that cannot be read has no findings.
    pub(super) fn of(path: &Path) -> Self {
        Self::since(path, 0)
    }

    /// The same of a step that was told to stop when it had written so much.
    pub(super) fn stopped(path: &Path, cut: Option<u64>) -> Self {
        Self::read(path, 0, cut)
    }

    /// The same from a position on: of the last of several tries.
    pub(super) fn since(path: &Path, from: u64) -> Self {
        Self::read(path, from, None)
    }

    fn read(path: &Path, from: u64, cut: Option<u64>) -> Self {
        let open = || -> std::io::Result<File> {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(from)).map(|_| file)
        };
        let lines = open().map(|file| BufReader::new(file).split(b'\n'));
        let lines = lines.into_iter().flatten().map_while(Result::ok);
        let mut position = from;
        let lines = lines.map(|line| {
            let at = position;
            position += line.len() as u64 + 1;
            (at, String::from_utf8_lossy(&line).into_owned())
        });
        Self::from_lines(lines, cut)
    }

    /// Of an apply that ended by itself and badly: what keeps anybody from knowing all that it did.
    pub(super) fn unknown(&self) -> Option<String> {
        let open = || {
            let first = self.open.first()?;
            let more = others(&self.open);
            Some(format!("the engine ended and did not say what became of {first}{more}"))
        };
        let broken_off = || {
            let first = self.broken_off.first()?;
            let more = others(&self.broken_off);
            Some(format!(
                "the engine gave up the creation of {first}{more}, which its provider may have done all the same"
            ))
        };
        self.unanswered.clone().or_else(open).or_else(broken_off)
    }

    /// Lines with their positions; `cut` is the position at which the engine was told to stop.
    fn from_lines(lines: impl Iterator<Item = (u64, String)>, cut: Option<u64>) -> Self {
        let (mut findings, mut plain, mut under_way) = (Self::default(), Vec::new(), Vec::new());
        for (at, line) in lines {
            match serde_json::from_str::<Line>(&line) {
                Ok(Line { diagnostic: Some(d), .. }) if d.severity == "error" => {
                    findings.error.get_or_insert_with(|| d.block());
                    if UNANSWERED.contains(&d.summary.as_str()) {
                        findings.unanswered.get_or_insert_with(|| d.block());
                    }
                }
                Ok(Line { kind: Some(kind), hook: Some(hook), .. }) => {
                    let Some(event) = event(&kind, hook) else { continue };
                    if event.what == ResourceAction::CreateFailed && cut.is_some_and(|cut| at >= cut) {
                        findings.broken_off.push(event.address.clone());
                    }
                    follow(&mut under_way, event);
                }
                Ok(Line { diagnostic: Some(d), .. }) if d.summary == "Value for undeclared variable" => {
                    let first = d.detail.lines().next().unwrap_or_default().to_owned();
                    findings.undeclared.get_or_insert(first);
                }
                Ok(_) => {}
                Err(_) => plain.push(line),
            }
        }
        findings.error = findings.error.or_else(|| plain_block(&plain));
        findings.unfit = plain.iter().any(|line| is_preamble(line));
        findings.open = under_way.into_iter().map(|(address, _)| address).collect();
        findings
    }
}

/// How many there are beside the first, in words.
fn others(addresses: &[String]) -> String {
    match addresses.len() {
        0 | 1 => String::new(),
        count => format!(" and {} more", count - 1),
    }
}

/// Keeps the list of what was begun and has not ended.
fn follow(under_way: &mut Vec<(String, ResourceAction)>, event: ResourceEvent) {
    let begun = event.what.begun();
    if begun == event.what {
        under_way.push((event.address, begun));
    } else if let Some(at) = under_way.iter().position(|(address, what)| *address == event.address && *what == begun) {
        under_way.swap_remove(at);
    }
}

/// The first block of plain text that begins with `Error: `, without the box around it. The block with which `init` says
/// only that there are others is passed over, where there are others.
fn plain_block(lines: &[String]) -> Option<String> {
    let bare = lines.iter().map(|line| line.trim_start_matches(['│', '╷', '╵', ' ']).trim_end());
    let mut blocks: Vec<Vec<&str>> = Vec::new();
    let mut inside = false;
    for line in bare {
        if line.starts_with("Error: ") {
            inside = true;
            blocks.push(vec![line]);
        } else if line.starts_with("Warning: ") {
            inside = false;
        } else if inside && !line.is_empty() {
            blocks.last_mut().into_iter().for_each(|block| block.push(line));
        }
    }
    let preamble = |block: &&Vec<&str>| block.first().is_some_and(|line| is_preamble(line));
    let first = blocks.iter().find(|block| !preamble(block)).or(blocks.first());
    first.map(|block| block.join("\n"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn findings(text: &str) -> Findings {
        stopped(text, None)
    }

    fn stopped(text: &str, cut: Option<u64>) -> Findings {
        let at = |line: &str| line.as_ptr() as u64 - text.as_ptr() as u64;
        Findings::from_lines(text.lines().map(|line| (at(line), line.to_owned())), cut)
    }

    #[test]
    fn resource_events_are_read_with_their_ids() {
        let line = r#"{"@level":"info","@message":"a.b: Creation complete","type":"apply_complete","hook":{"resource":{"addr":"a.b","resource_type":"a","implied_provider":"p"},"action":"create","id_key":"id","id_value":"i-1"}}"#;
        let read = read(line);
        assert_eq!(read.text, "a.b: Creation complete");
        let event = read.event.unwrap();
        assert_eq!((event.address.as_str(), event.what), ("a.b", ResourceAction::Created));
        assert_eq!((event.provider.as_deref(), event.id.as_deref()), (Some("p"), Some("i-1")));
    }

    #[test]
    fn values_of_outputs_do_not_come_into_the_log() {
        let line = r#"{"@message":"Outputs: 1","type":"outputs","outputs":{"o":{"value":"hidden"}}}"#;
        assert_eq!(read(line), Read { text: "Outputs: 1".into(), event: None });
    }

    #[test]
    fn the_first_error_is_told_with_its_place() {
        let text = r#"{"@level":"warn","@message":"w","type":"diagnostic","diagnostic":{"severity":"warning","summary":"w"}}
{"@level":"error","@message":"Error: No","type":"diagnostic","diagnostic":{"severity":"error","summary":"No","detail":"Because.","address":"a.b","range":{"filename":"main.tf","start":{"line":3,"column":1,"byte":1},"end":{"line":3,"column":1,"byte":1}}}}
{"@level":"error","@message":"Error: Second","type":"diagnostic","diagnostic":{"severity":"error","summary":"Second"}}"#;
        assert_eq!(findings(text).error.unwrap(), "Error: No\n  on main.tf line 3\n  with a.b\nBecause.");
    }

    #[test]
    fn a_plain_error_is_taken_out_of_its_box() {
        let text = "Initializing...\n╷\n│ Error: Bad\n│ \n│   on main.tf line 1:\n│    1: x {\n│ \n│ Why.\n╵\n╷\n│ Error: Other\n╵\n";
        assert_eq!(findings(text).error.unwrap(), "Error: Bad\non main.tf line 1:\n1: x {\nWhy.");
        let preamble = "Error: Terraform encountered problems during initialisation, including\nMore.\n\n";
        assert_eq!(findings(&format!("{preamble}Error: Bad\n")).error.unwrap(), "Error: Bad");
        assert!(findings(preamble).error.unwrap().contains("encountered") && findings(preamble).unfit);
        let opentofu = "OpenTofu encountered problems during initialization, including problems\n\nError: Bad\n";
        assert!(findings(opentofu).unfit && !findings(text).unfit);
        assert_eq!(findings("\nError: Bad\n\nWhy.\n\nError: Other\n").error.unwrap(), "Error: Bad\nWhy.");
    }

    #[test]
    fn a_value_that_no_variable_takes_is_found() {
        let text = r#"{"type":"diagnostic","diagnostic":{"severity":"warning","summary":"Value for undeclared variable","detail":"No \"x\".\nMore."}}"#;
        assert_eq!(findings(text).undeclared.unwrap(), "No \"x\".");
    }

    #[test]
    fn what_was_begun_and_has_no_end_and_what_no_plugin_answered_is_not_known() {
        let hook = |kind: &str, address: &str, action: &str| {
            let hook = serde_json::json!({"resource": {"addr": address}, "action": action});
            serde_json::json!({"type": kind, "hook": hook}).to_string()
        };
        let error = |summary: &str| {
            let diagnostic = serde_json::json!({"severity": "error", "summary": summary, "address": "t.a"});
            serde_json::json!({"type": "diagnostic", "diagnostic": diagnostic}).to_string()
        };
        let begun = hook("apply_start", "t.a", "create");
        let text = |lines: &[&String]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        let unknown = |lines: &[&String]| findings(&text(lines)).unknown();
        assert_eq!(unknown(&[&begun, &hook("apply_complete", "t.a", "create")]), None);
        let errored = hook("apply_errored", "t.a", "create");
        assert_eq!(unknown(&[&begun, &errored, &error("Quota exceeded")]), None, "the provider said no");
        assert_eq!(unknown(&[&hook("apply_start", "data.t.a", "read")]), None);
        let other = hook("apply_start", "t.b", "delete");
        let said = unknown(&[&begun, &other, &hook("apply_complete", "t.a", "delete")]).unwrap();
        assert_eq!(said, "the engine ended and did not say what became of t.a and 1 more");
        let refused = text(&[&begun, &errored]);
        let all =
            text(&[&begun, &errored, &hook("apply_start", "t.b", "create"), &hook("apply_errored", "t.b", "create")]);
        let stopped = stopped(&all, Some(refused.len() as u64));
        assert_eq!(stopped.broken_off, ["t.b"], "what had failed before the stop was refused by the provider");
        assert!(stopped.unknown().unwrap().contains("gave up the creation of t.b,"));
        for summary in UNANSWERED {
            let said = unknown(&[&begun, &errored, &error("Quota exceeded"), &error(summary)]).unwrap();
            assert_eq!(said, format!("Error: {summary}\n  with t.a"));
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read(line in "\\PC*") {
            let _ = read(&line);
            let _ = findings(&line);
        }
    }
}
