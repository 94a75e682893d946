//! Which replicas' states are the odd ones, from their digests at one index. Pure.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody differs (or too few are known for a difference).
    Agreed,
    /// A majority of the voters has one state, these have another.
    Odd { odd: BTreeSet<u64>, right: u64 },
    /// There are different states, and none of them is known to be a majority's.
    Undecided,
}

/// `digests`: of the replicas that gave theirs, learners included.
pub fn judge(voters: &BTreeSet<u64>, digests: &BTreeMap<u64, u64>) -> Verdict {
    let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
    for (replica, digest) in digests {
        *votes.entry(*digest).or_default() += usize::from(voters.contains(replica));
    }
    if votes.len() <= 1 {
        return Verdict::Agreed;
    }
    match votes.into_iter().find(|(_, count)| count * 2 > voters.len()) {
        Some((right, _)) => {
            let odd = digests.iter().filter(|(_, digest)| **digest != right).map(|(replica, _)| *replica);
            Verdict::Odd { odd: odd.collect(), right }
        }
        None => Verdict::Undecided,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(voters: u64, digests: &[(u64, u64)]) -> Verdict {
        judge(&(1..=voters).collect(), &digests.iter().copied().collect())
    }

    #[test]
    fn a_majority_decides_who_is_odd() {
        let odd = |ids: &[u64]| Verdict::Odd { odd: ids.iter().copied().collect(), right: 7 };
        assert_eq!(of(3, &[(1, 7)]), Verdict::Agreed);
        assert_eq!(of(3, &[(1, 7), (2, 7), (3, 7)]), Verdict::Agreed);
        assert_eq!(of(3, &[(1, 7), (2, 8), (3, 7)]), odd(&[2]));
        assert_eq!(of(3, &[(1, 8), (2, 7), (3, 7)]), odd(&[1]), "the leader is judged like the others");
        assert_eq!(of(3, &[(1, 7), (2, 8)]), Verdict::Undecided, "the third could say either");
        assert_eq!(of(3, &[(1, 7), (2, 8), (3, 9)]), Verdict::Undecided);
        assert_eq!(of(2, &[(1, 7), (2, 8)]), Verdict::Undecided);
        assert_eq!(of(5, &[(1, 7), (2, 7), (3, 7), (4, 8), (5, 9)]), odd(&[4, 5]));
        assert_eq!(of(3, &[(1, 7), (2, 7), (9, 8)]), odd(&[9]), "a learner can be odd");
        assert_eq!(of(3, &[(1, 7), (8, 8), (9, 8)]), Verdict::Undecided, "learners are no majority");
        assert_eq!(of(1, &[(1, 7), (9, 8)]), odd(&[9]));
    }
}
