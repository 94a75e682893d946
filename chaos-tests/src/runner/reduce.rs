//! A failure is reduced to the faults that it needs. Pure, but for the runs that it is given.

/// Runs that reducing one failure may take.
const RUNS_MAX: usize = 60;

/// Leaves out one of `count` faults after the other while what is left still fails. `fails`: runs these faults alone,
/// by their numbers.
pub fn reduce(count: usize, mut fails: impl FnMut(&[usize]) -> bool) -> Vec<usize> {
    let mut needed: Vec<usize> = (0..count).collect();
    let (mut runs, mut progress) = (0, true);
    while progress {
        progress = false;
        for n in (0..needed.len()).rev() {
            if runs == RUNS_MAX {
                return needed;
            }
            let mut fewer = needed.clone();
            fewer.remove(n);
            runs += 1;
            if fails(&fewer) {
                needed = fewer;
                progress = true;
            }
        }
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of so many faults if a run fails with those that `is_enough` says, and the number of runs.
    fn reduced(count: usize, is_enough: impl Fn(&[usize]) -> bool) -> (Vec<usize>, usize) {
        let mut runs = 0;
        let needed = reduce(count, |faults| {
            runs += 1;
            is_enough(faults)
        });
        (needed, runs)
    }

    #[test]
    fn only_the_faults_that_are_needed_stay() {
        let both = |faults: &[usize]| faults.contains(&2) && faults.contains(&5);
        let (needed, runs) = reduced(9, both);
        assert_eq!(needed, [2, 5]);
        assert!(runs <= 9 + 2, "each once, and the two once more: {runs}");
    }

    #[test]
    fn a_fault_that_another_makes_needless_goes_in_a_later_round() {
        // The last one is needed only while the second is there.
        let masked = |faults: &[usize]| faults.contains(&0) && (!faults.contains(&1) || faults.contains(&2));
        assert_eq!(reduced(3, masked).0, [0]);
    }

    #[test]
    fn a_failure_that_needs_no_fault_keeps_none_and_one_that_is_never_met_again_keeps_all() {
        assert!(reduced(5, |_| true).0.is_empty());
        assert_eq!(reduced(5, |_| false).0, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn the_runs_are_bounded_and_what_is_left_still_fails() {
        let (needed, runs) = reduced(100, |faults| faults.contains(&0));
        assert_eq!((needed, runs), ((0..100 - RUNS_MAX).collect(), RUNS_MAX));
    }
}
