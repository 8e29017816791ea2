//! Plans and their digests, sources, the engine, the runner, executors.

pub mod digest;
pub mod plan;
pub mod protocol;
pub mod snapshot;
pub mod source;
mod syntax;
