//! The generic machinery under every kind: observe, decide, act, report.

pub mod commands;
pub mod conditions;
mod context;
pub mod finalizer;
mod kind;
pub mod patch;
pub mod wake;

pub use context::{Clock, Context, Stores};
pub use kind::{Announcement, Kind, Next, Object, Report};
