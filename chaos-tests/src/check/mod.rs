//! What must hold of a run, judged from what was seen. One promise per file. Pure.

pub mod changes;
pub mod linear;
pub mod recency;
pub mod replicas;
pub mod set;
