//! What must hold of a run, judged from what was seen. One promise per file. Pure.
//!
//! Of a store: [`acknowledged`], [`changes`], [`fences`], [`linear`], [`members`], [`past`], [`recency`], [`replicas`], [`set`].
//! Of a cluster: [`bounds`], [`homes`], [`identities`], [`pods`], [`settled`], [`terms`], [`versions`]. Of both: [`diagnosis`],
//! [`repairs`], [`tasks`]. How both name a change: [`words`].

pub mod acknowledged;
pub mod bounds;
pub mod changes;
pub mod diagnosis;
pub mod fences;
pub mod homes;
pub mod identities;
pub mod linear;
pub mod members;
pub mod past;
pub mod pods;
pub mod recency;
pub mod repairs;
pub mod replicas;
pub mod set;
pub mod settled;
pub mod tasks;
pub mod terms;
pub mod versions;
pub mod words;
