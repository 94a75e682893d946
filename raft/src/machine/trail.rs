//! The digests of the state at the newest indexes, for the comparison with other replicas. Pure.

use std::collections::VecDeque;

/// Every index of the newest so many.
const DENSE: usize = 256;
/// Before these, only multiples of this: replicas under load are never at the same index at the same time.
const STEP: u64 = 64;
const SPARSE: usize = 2048;

#[derive(Default)]
pub struct Trail {
    dense: VecDeque<(u64, u64)>,
    sparse: VecDeque<(u64, u64)>,
}

impl Trail {
    /// Indexes come in order; a snapshot may skip some.
    pub fn record(&mut self, index: u64, digest: u64) {
        push(&mut self.dense, DENSE, index, digest);
        if index.is_multiple_of(STEP) {
            push(&mut self.sparse, SPARSE, index, digest);
        }
    }

    pub fn at(&self, index: u64) -> Option<u64> {
        find(&self.dense, index).or_else(|| find(&self.sparse, index))
    }

    /// What to compare: the newest index, and the newest that other replicas know long after it.
    pub fn newest(&self) -> Vec<(u64, u64)> {
        let mut newest: Vec<(u64, u64)> = self.sparse.back().into_iter().chain(self.dense.back()).copied().collect();
        newest.dedup();
        newest
    }
}

fn push(ring: &mut VecDeque<(u64, u64)>, limit: usize, index: u64, digest: u64) {
    if ring.len() == limit {
        ring.pop_front();
    }
    ring.push_back((index, digest));
}

fn find(ring: &VecDeque<(u64, u64)>, index: u64) -> Option<u64> {
    let at = ring.binary_search_by_key(&index, |(index, _)| *index).ok()?;
    Some(ring[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_known_in_full_and_older_ones_in_steps() {
        let mut trail = Trail::default();
        assert!(trail.newest().is_empty());
        for index in 1..=10_000 {
            trail.record(index, index * 3);
        }
        assert_eq!(trail.newest(), [(9984, 29952), (10_000, 30_000)]);
        assert_eq!(trail.at(9_999), Some(29_997));
        assert_eq!(trail.at(9_000), None);
        assert_eq!(trail.at(64), Some(192));
        assert_eq!(trail.at(10_001), None);
        assert_eq!((trail.dense.len(), trail.sparse.len()), (DENSE, 156));
        trail.record(20_032, 1);
        assert_eq!(trail.newest(), [(20_032, 1)], "once, where both are the same");
    }
}
