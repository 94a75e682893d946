//! What a term begins with: the view of the whole state, and everything to be looked at once. Pure.

use std::panic::{AssertUnwindSafe, catch_unwind};

use api::Key;
use control::{Change, Controller, View};
use raft::State;
use tracing::error;

use super::queue::Queue;

/// Which controller, by its place, is to plan which key.
pub type Work = (usize, Key);

pub struct Prepared {
    pub view: View,
    pub controllers: Vec<Box<dyn Controller>>,
    pub queue: Queue<Work>,
}

impl Prepared {
    /// The view of a whole state; every object counts as new, so that nothing is forgotten.
    pub fn new(state: &State, controllers: Vec<Box<dyn Controller>>) -> Prepared {
        let mut prepared = Prepared { view: View::new(), controllers, queue: Queue::default() };
        let changes: Vec<Change> = state
            .range(b"", None)
            .filter_map(|(key, versioned)| {
                prepared.view.take_in(&Key::decode(key)?, versioned.revision, Some(&versioned.value))
            })
            .collect();
        for change in &changes {
            for (index, controller) in prepared.controllers.iter().enumerate() {
                affected(&**controller, change, &prepared.view)
                    .into_iter()
                    .for_each(|key| prepared.queue.add((index, key)));
            }
        }
        prepared
    }
}

/// Whose plans a change concerns. One object that a controller cannot cope with must not stop all others: every leader
/// would meet it. What it concerns is planned when something else of it changes.
pub fn affected(controller: &dyn Controller, change: &Change, view: &View) -> Vec<Key> {
    catch_unwind(AssertUnwindSafe(|| controller.affected(change, view))).unwrap_or_else(|_| {
        error!(controller = controller.name(), key = %change.key, "looking for what a change concerns panicked: it is passed by");
        Vec::new()
    })
}
