//! What this process told leaders of its state, and whether a majority's state refutes it. Pure.

use std::collections::VecDeque;

/// A word about what was told longer ago than so many digests is not understood any more.
const MAX: usize = 64;

/// Digests by index, the newest last.
#[derive(Default)]
pub struct Told(VecDeque<(u64, u64)>);

impl Told {
    pub fn note(&mut self, index: u64, digest: u64) {
        if self.0.contains(&(index, digest)) {
            return;
        }
        if self.0.len() == MAX {
            self.0.pop_front();
        }
        self.0.push_back((index, digest));
    }

    /// `right`: a majority's digest at that index. What this process never told was told before it began, of data that may
    /// have been emptied since: the leader will ask for what there is now.
    pub fn is_refuted(&self, index: u64, right: u64) -> bool {
        let newest = self.0.iter().rev().find(|(told, _)| *told == index);
        newest.is_some_and(|(_, digest)| *digest != right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_process_told_can_be_refuted() {
        let mut told = Told::default();
        assert!(!told.is_refuted(5, 7), "it told nothing");
        told.note(5, 8);
        assert!(told.is_refuted(5, 7));
        assert!(!told.is_refuted(5, 8));
        assert!(!told.is_refuted(4, 7));
        told.note(5, 7);
        assert!(!told.is_refuted(5, 7), "the newest counts");
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut told = Told::default();
        (0..=MAX as u64).for_each(|index| told.note(index, 1));
        told.note(MAX as u64, 1);
        assert!(!told.is_refuted(0, 2));
        assert!(told.is_refuted(1, 2) && told.is_refuted(MAX as u64, 2));
        assert_eq!(told.0.len(), MAX);
    }
}
