//! What replicas may never disagree on: who leads a term, and the state at a revision. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft::{Revision, Versioned};

#[derive(Default)]
pub struct Replicas {
    leaders: BTreeMap<u64, u64>,
    states: BTreeMap<Revision, (u32, u64)>,
    /// States that two of them had.
    compared: u64,
}

impl Replicas {
    /// `true`: nobody knew of this leader before.
    pub fn leads(&mut self, term: u64, replica: u64) -> Result<bool, String> {
        let known = self.leaders.len();
        match *self.leaders.entry(term).or_insert(replica) {
            first if first != replica => Err(format!("{first} and {replica} both lead term {term}")),
            _ => Ok(self.leaders.len() > known),
        }
    }

    pub fn terms(&self) -> usize {
        self.leaders.len()
    }

    /// How often a state was the same as another replica's at its revision.
    pub fn compared(&self) -> u64 {
        self.compared
    }

    pub fn state(&mut self, revision: Revision, checksum: u32, replica: u64) -> Result<(), String> {
        match *self.states.entry(revision).or_insert((checksum, replica)) {
            (first, by) if first != checksum => {
                Err(format!("replicas {by} and {replica} differ in the state at revision {revision}"))
            }
            (_, by) => {
                self.compared += u64::from(by != replica);
                Ok(())
            }
        }
    }
}

/// Of all keys of a state, in their order.
pub fn checksum<'a>(objects: impl Iterator<Item = (&'a Bytes, &'a Versioned)>) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    for (key, found) in objects {
        sum.update(key);
        sum.update(&found.revision.to_le_bytes());
        sum.update(&found.created.to_le_bytes());
        sum.update(&found.value);
    }
    sum.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leaders_of_a_term_and_two_states_of_a_revision_are_noticed() {
        let mut replicas = Replicas::default();
        assert!(replicas.leads(1, 1).unwrap());
        assert!(!replicas.leads(1, 1).unwrap());
        assert!(replicas.leads(2, 3).unwrap());
        assert!(replicas.leads(1, 2).is_err());
        replicas.state(5, 77, 1).unwrap();
        replicas.state(5, 77, 1).unwrap();
        assert_eq!(replicas.compared(), 0, "one with itself");
        replicas.state(5, 77, 2).unwrap();
        assert_eq!(replicas.compared(), 1);
        assert!(replicas.state(5, 78, 3).is_err());
    }
}
