//! Sources, the engine, the runner, executors.

mod backend;
mod client;
mod engine;
pub mod engines;
mod events;
pub mod executor;
mod layout;
mod lock_file;
mod procfs;
pub mod runner;
pub mod snapshot;
pub mod source;
mod spool;
mod syntax;
mod transcript;
mod verdict;
mod work;
