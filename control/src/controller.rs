//! What every controller is: a name, the keys a change concerns, and a plan for a key. Pure.

use api::Key;

use crate::plan::Plan;
use crate::view::{Change, View};

/// Plans from the state, not from the event: an event only wakes. Same view, same plan.
pub trait Controller: Send + Sync {
    /// Lower case with dashes, such as `replicaset`; the author of its writes is `system:kontiki:<name>`.
    fn name(&self) -> &'static str;

    /// The keys whose plan may differ because of `change`. `view` is the state after it. A new leader calls
    /// this once for every object that exists (with `before: None`), so nothing is forgotten.
    fn affected(&self, change: &Change, view: &View) -> Vec<Key>;

    fn plan(&self, view: &View, key: &Key) -> Plan;
}
