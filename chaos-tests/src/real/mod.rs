//! Real replicas on real disks behind real links, under the same workload and the same judges as in the simulation. Read
//! in this order:
//!
//! - [`plan`]: what goes wrong, and when (pure);
//! - [`actions`]: what is done for each fault (pure);
//! - [`hosts`]: does it, to the hosts of `deploy/hosts.sh`;
//! - [`disk`]: what can be done to the files of a replica that is down;
//! - [`clients`], [`watchers`]: the users, over the network from outside; [`refusal`]: what a failed write says (pure);
//! - [`pods`]: a Deployment that must be whole, where engines run;
//! - [`gaps`]: how long nobody could write;
//! - [`run`]: episode after episode, with everything well in between;
//! - [`ending`]: what must hold once all faults have ended;
//! - [`leaks`]: what no process may hold more and more of.

pub mod actions;
pub mod clients;
pub mod disk;
pub mod ending;
pub mod gaps;
pub mod hosts;
pub mod leaks;
pub mod plan;
pub mod pods;
pub mod refusal;
pub mod run;
pub mod watchers;
