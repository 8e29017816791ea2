//! What a run is made of, without effects: what runner and controller say to each other, the plan, its digest, the state.

pub mod digest;
pub mod plan;
pub mod protocol;
pub mod secrets;
pub mod state;
pub mod token;
