//! Plans and their digests, sources, the engine, the runner, executors.

pub mod protocol;
