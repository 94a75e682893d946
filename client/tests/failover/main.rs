//! The client and replicas in memory that freeze, break off, or answer otherwise than they should. Time is virtual.

mod frozen;
mod outcome;
mod replica;
mod script;
mod watch;
