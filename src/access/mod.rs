//! Whose an object is, which references are permitted, and whether the gate stands.

mod gate;

pub use gate::{Flaw, Gate};
