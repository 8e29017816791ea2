//! Plans and their digests, sources, the engine, the runner, executors.

mod backend;
mod client;
pub mod digest;
mod engine;
pub mod engines;
mod events;
pub mod executor;
mod layout;
pub mod plan;
mod procfs;
pub mod protocol;
pub mod redact;
pub mod runner;
pub mod snapshot;
pub mod source;
mod spool;
pub mod state;
mod syntax;
pub mod token;
mod transcript;
mod work;
