//! The agents' sessions with this replica: who is there, what they must run, tunnels to their containers.
//!
//! - `references`: what a Pod needs on its node (pure);
//! - `work`: which items each node must have, kept change by change (pure);
//! - `message`: cuts a set into messages (pure);
//! - [`push`]: sends work, on the leader only;
//! - `registry`: the sessions and heartbeats;
//! - `service`: the gRPC door;
//! - `tunnel`: one stream of a container.

mod message;
pub mod push;
mod references;
mod registry;
mod service;
mod tunnel;
mod work;

pub use push::run_pusher;
pub use registry::{Applied, Config, Connected, Sessions};
pub use tunnel::{Ended, OpenError, Output, Tunnel, TunnelReceiver, TunnelSender};

impl crate::leader::Heartbeats for Sessions {
    fn snapshot(&self) -> std::collections::BTreeMap<String, control::Liveness> {
        Sessions::snapshot(self)
    }
}
