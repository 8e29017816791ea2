//! The log of a run and its resource events, made from the files that the engine writes. The same files give the same
//! log, at whatever pace they are read, so recovery can say again what a dead runner had said in part.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use super::events;
use super::layout::{Layout, Step};
use crate::access::Redactor;
use crate::run::protocol::ResourceEvent;

/// A log is cut off here; resource events are not.
const LOG_LIMIT: u64 = 16 << 20;
/// What is read in one go.
const CHUNK: usize = 1 << 20;

/// Reads on from where it stopped.
pub(super) struct Transcript {
    layout: Layout,
    redactor: Redactor,
    steps: VecDeque<Step>,
    open: Option<File>,
    offset: u64,
    partial: Vec<u8>,
    written: u64,
    /// Log that nobody has taken yet.
    pub(super) log: Vec<u8>,
    /// Events that nobody has taken yet.
    pub(super) events: Vec<ResourceEvent>,
}

impl Transcript {
    pub(super) fn new(layout: Layout, redactor: Redactor) -> Self {
        Self {
            layout,
            redactor,
            steps: Step::ALL.into(),
            open: None,
            offset: 0,
            partial: Vec::new(),
            written: 0,
            log: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Reads what has come since; `true` when there may be more at once.
    pub(super) fn poll(&mut self) -> bool {
        let Some(step) = self.steps.front().copied() else { return false };
        if self.open.is_none() {
            match File::open(self.layout.output(step)) {
                Ok(file) => self.open = Some(file),
                // A step may be left out, as `plan` is in an apply run.
                Err(_) => return self.later_exists() && self.next_step(),
            }
        }
        if self.read_chunk() > 0 {
            return true;
        }
        self.later_exists() && self.next_step()
    }

    /// Reads to the end; no step is to come.
    pub(super) fn finish(&mut self) {
        loop {
            while self.poll() {}
            if !self.next_step() {
                return;
            }
        }
    }

    fn later_exists(&self) -> bool {
        self.steps.iter().skip(1).any(|step| self.layout.output(*step).exists())
    }

    fn next_step(&mut self) -> bool {
        let rest = std::mem::take(&mut self.partial);
        if !rest.is_empty() {
            self.take_line(&rest);
        }
        self.open = None;
        self.offset = 0;
        self.steps.pop_front().is_some() && !self.steps.is_empty()
    }

    fn read_chunk(&mut self) -> usize {
        let Some(file) = &mut self.open else { return 0 };
        let mut chunk = Vec::new();
        let read =
            file.seek(SeekFrom::Start(self.offset)).and_then(|_| file.take(CHUNK as u64).read_to_end(&mut chunk));
        if let Err(error) = read {
            tracing::warn!(%error, "cannot read the engine's output");
        }
        self.offset += chunk.len() as u64;
        for part in chunk.split_inclusive(|b| *b == b'\n') {
            self.partial.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.partial);
                self.take_line(&line);
            }
        }
        chunk.len()
    }

    fn take_line(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let read = events::read(line.trim_end_matches(['\n', '\r']));
        // An address has keys in it, and an id can be anything.
        self.events.extend(read.event.map(|event| ResourceEvent {
            address: self.redactor.clean(&event.address),
            id: event.id.map(|id| self.redactor.clean(&id)),
            ..event
        }));
        if self.written >= LOG_LIMIT {
            return;
        }
        let mut text = self.redactor.clean(&read.text);
        text.push('\n');
        self.written += text.len() as u64;
        if self.written >= LOG_LIMIT {
            text.push_str("… the log is cut off here\n");
        }
        self.log.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn whole(layout: &Layout) -> (Vec<u8>, usize) {
        let mut transcript = Transcript::new(layout.clone(), Redactor::default());
        transcript.finish();
        (transcript.log, transcript.events.len())
    }

    #[test]
    fn an_event_names_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::at(folder.path().to_owned(), None);
        let line = r#"{"type":"apply_complete","hook":{"resource":{"addr":"a.b[\"s3cret\"]"},"action":"create","id_value":"s3cret"}}"#;
        std::fs::write(layout.output(Step::Apply), line).unwrap();
        let mut transcript = Transcript::new(layout, Redactor::new(["s3cret"]));
        transcript.finish();
        let event = transcript.events.first().unwrap();
        assert_eq!((event.address.as_str(), event.id.as_deref()), ("a.b[\"«redacted»\"]", Some("«redacted»")));
    }

    proptest! {
        #[test]
        fn the_log_is_the_same_at_whatever_pace_it_is_read(
            init in "[a-z\n]{0,40}", apply in "[a-z\n]{0,40}", cuts in proptest::collection::vec(0usize..40, 0..6),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let layout = Layout::at(folder.path().to_owned(), None);
            let mut paced = Transcript::new(layout.clone(), Redactor::default());
            for (step, text) in [(Step::Init, &init), (Step::Apply, &apply)] {
                let mut file = File::create(layout.output(step)).unwrap();
                let mut from = 0;
                for cut in cuts.iter().map(|c| (*c).min(text.len())).filter(|c| *c > 0).chain([text.len()]) {
                    if cut > from {
                        file.write_all(text.as_bytes().get(from..cut).unwrap()).unwrap();
                        from = cut;
                    }
                    while paced.poll() {}
                }
            }
            paced.finish();
            prop_assert_eq!((paced.log, paced.events.len()), whole(&layout));
        }
    }
}
