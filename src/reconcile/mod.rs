//! The generic machinery under every kind: observe, decide, act, report.

pub mod anchors;
pub mod backoff;
pub mod commands;
pub mod conditions;
mod context;
mod driver;
pub mod finalizer;
mod kind;
mod lease;
pub mod mirror;
pub mod namespaces;
mod owner;
pub mod patch;
pub mod wake;
pub mod watch;
mod watched;

pub use context::{Clock, Context};
pub use driver::{Follow, Followed, Tap, follow, run};
pub use kind::{
    APPLY_STARTED, Announcement, COMMAND_TAKEN, Kind, Next, Object, RECORD_KEPT, Report, WORDS, Word, subject_in,
};
pub use lease::Leadership;
pub use owner::{MANAGED_BY, owns};
