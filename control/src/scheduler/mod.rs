//! The scheduler: finds the node for a pod. Pure, decides. Read in this order:
//!
//! - [`cluster`]: what it knows of nodes and pods, kept change by change;
//! - [`facts`] and [`resources`]: what one pod asks for and holds;
//! - [`place`]: filters, then scores; the best node or the counted reasons against every one;
//! - [`filters`] with [`node_affinity`], [`taints`], [`neighbours`], [`spread`]: what rules a node out;
//! - [`score`]: what makes one node better than another;
//! - [`controller`]: plans the bindings of everything that waits.

pub mod cluster;
pub mod controller;
pub mod facts;
pub mod filters;
pub mod neighbours;
pub mod node_affinity;
pub mod place;
pub mod reasons;
pub mod resources;
pub mod score;
pub mod spread;
pub mod taints;

pub use cluster::Cluster;
pub use controller::Scheduler;
pub use place::{Placement, place};
pub use reasons::{Reason, Unplaceable};

#[cfg(test)]
pub mod fixtures;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
