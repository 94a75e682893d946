//! Who uses a cluster over the SDK, from outside, in the simulated world and on real hosts alike:
//!
//! - [`clients`]: ConfigMaps as registers and as a set that grows;
//! - [`refusal`]: what a failed write says (pure);
//! - [`gaps`]: how long nobody could write.

pub mod clients;
pub mod gaps;
pub mod refusal;
