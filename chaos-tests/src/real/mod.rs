//! Real replicas on real disks behind real links, under the same workload and the same judges as in the simulation. Read
//! in this order:
//!
//! - [`plan`]: what goes wrong, and when (pure);
//! - [`actions`]: what is done for each fault (pure);
//! - [`hosts`]: does it, to the hosts of `deploy/hosts.sh`;
//! - [`disk`]: what can be done to the files of a replica; [`noticed`]: whether it has noticed that (pure);
//! - [`namespace`]: what each round has for itself;
//! - [`watchers`]: who watches, over the network from outside; who writes is in [`crate::users`], and [`scaler`]: who keeps the
//!   controllers busy;
//! - [`onlookers`]: who asks each replica of itself, and reads its log; [`said`]: what a line of that says (pure);
//!   [`testimony`]: all that replicas say of themselves, held together (pure);
//! - [`pods`]: a Deployment that must be whole, where engines run;
//! - [`run`]: episode after episode, with everything well in between; [`round`]: who is at work meanwhile;
//! - [`ending`]: what must hold once all faults have ended;
//! - [`calm`]: what is done over and over while nothing goes wrong;
//! - [`growth`]: whether a process keeps some of it (pure);
//! - [`held`]: what a process holds at present;
//! - [`leaks`]: what no process may hold more of than after the first round.

pub mod actions;
pub mod calm;
pub mod disk;
pub mod ending;
pub mod growth;
pub mod held;
pub mod hosts;
pub mod leaks;
pub mod namespace;
pub mod noticed;
pub mod onlookers;
pub mod plan;
pub mod pods;
pub mod round;
pub mod run;
pub mod said;
pub mod scaler;
pub mod testimony;
pub mod watchers;
