//! The log and the vote. Read in this order:
//!
//! - [`rows`]: what they look like on the disk;
//! - [`ends`], [`extent`]: what of the log is in memory, and how much lies where;
//! - [`store`]: what openraft writes; [`reader`]: what it reads;
//! - [`votes`], [`keepsake`]: the vote, and its copy beside the tables;
//! - [`mark`]: how far the log was durable.

pub mod ends;
mod extent;
pub mod keepsake;
pub mod mark;
mod reader;
pub mod rows;
mod store;
mod votes;

pub use store::LogStore;
