//! What a term begins with: the view of the whole state, and everything to be looked at once. Pure.

use api::Key;
use control::{Controller, View};
use raft::State;

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
        let changes: Vec<control::Change> = state
            .range(b"", None)
            .filter_map(|(key, versioned)| {
                prepared.view.take_in(&Key::decode(key)?, versioned.revision, Some(&versioned.value))
            })
            .collect();
        for change in &changes {
            for (index, controller) in prepared.controllers.iter().enumerate() {
                let affected = controller.affected(change, &prepared.view);
                affected.into_iter().for_each(|key| prepared.queue.add((index, key)));
            }
        }
        prepared
    }
}
