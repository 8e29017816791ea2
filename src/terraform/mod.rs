//! Plans and their digests, sources, the engine, the runner, executors.

mod syntax;

pub mod digest;
pub mod plan;
pub mod protocol;
pub mod snapshot;
pub mod source;
pub mod state;
pub mod token;
