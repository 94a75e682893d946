//! What became of the faults of many plans, kind by kind: how many were planned, and how many met somebody. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A suite whose faults miss looks as busy as one whose faults hit. So many runs, and so many faults of a kind in them, tell.
const RUNS_MIN: u64 = 100;
const PLANNED_MIN: u64 = 20;
/// One of so many must meet somebody, at least.
const ONE_IN: u64 = 2;
/// Of these many rightly meet nobody: two hosts may have nothing to say to each other, who is to lead may lead already, and
/// a disk may be read seldom.
const SELDOM: [&str; 5] = ["Bridge", "FailReads", "OneWay", "Reset", "Transfer"];
const SELDOM_ONE_IN: u64 = 10;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(BTreeMap<String, Tally>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    planned: u64,
    felt: u64,
}

impl Faults {
    pub fn planned(&self) -> u64 {
        self.0.values().map(|tally| tally.planned).sum()
    }

    /// Those of one kind.
    pub fn planned_of(&self, kind: &str) -> u64 {
        self.0.get(kind).map_or(0, |tally| tally.planned)
    }

    /// Those that met somebody.
    pub fn felt(&self) -> u64 {
        self.0.values().map(|tally| tally.felt).sum()
    }

    /// One more of this kind was planned.
    pub fn count(&mut self, kind: String, is_felt: bool) {
        self.take(kind, Tally { planned: 1, felt: u64::from(is_felt) });
    }

    pub fn add(&mut self, other: &Faults) {
        other.0.iter().for_each(|(kind, tally)| self.take(kind.clone(), *tally));
    }

    fn take(&mut self, kind: String, more: Tally) {
        let tally = self.0.entry(kind).or_default();
        tally.planned += more.planned;
        tally.felt += more.felt;
    }

    /// In words: each kind that met too few in so many runs.
    pub fn numb(&self, runs: u64) -> Vec<String> {
        let one_in = |kind: &str| if SELDOM.contains(&kind) { SELDOM_ONE_IN } else { ONE_IN };
        let is_numb = |(kind, tally): &(&String, &Tally)| {
            runs >= RUNS_MIN && tally.planned >= PLANNED_MIN && tally.felt * one_in(kind.as_str()) < tally.planned
        };
        let numb = self.0.iter().filter(is_numb);
        numb.map(|(kind, tally)| format!("{} of {} {kind}", tally.felt, tally.planned)).collect()
    }

    /// A line for each kind.
    pub fn table(&self) -> String {
        let mut text = format!("{:<12} {:>7} {:>7}\n", "fault", "planned", "felt");
        for (kind, Tally { planned, felt }) in &self.0 {
            writeln!(text, "{kind:<12} {planned:>7} {felt:>7}").expect("a string has room");
        }
        text
    }

    /// In one line.
    pub fn encode(&self) -> String {
        let words = self.0.iter().map(|(kind, tally)| format!("{kind} {} {}", tally.planned, tally.felt));
        words.collect::<Vec<_>>().join(",")
    }

    pub fn decode(line: &str) -> Option<Faults> {
        let mut faults = Faults::default();
        for one in line.split(',').filter(|one| !one.is_empty()) {
            let mut words = one.split(' ');
            let (kind, planned, felt) = (words.next()?, words.next()?, words.next()?);
            faults.take(kind.to_owned(), Tally { planned: planned.parse().ok()?, felt: felt.parse().ok()? });
        }
        Some(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(kinds: &[(&str, u64, u64)]) -> Faults {
        let mut faults = Faults::default();
        for &(kind, planned, felt) in kinds {
            faults.take(kind.into(), Tally { planned, felt });
        }
        faults
    }

    #[test]
    fn kinds_add_up_each_for_itself() {
        let mut sum = faults(&[("Crash", 3, 2), ("Freeze", 1, 0)]);
        sum.add(&faults(&[("Crash", 4, 4), ("Split", 2, 1)]));
        sum.count("Split".into(), true);
        assert_eq!(sum, faults(&[("Crash", 7, 6), ("Freeze", 1, 0), ("Split", 3, 2)]));
        assert_eq!((sum.planned_of("Split"), sum.planned_of("Deaf")), (3, 0));
        assert_eq!((sum.planned(), sum.felt()), (11, 8));
        let table = "fault        planned    felt\nCrash              7       6\nFreeze             1       0\n\
                     Split              3       2\n";
        assert_eq!(sum.table(), table);
    }

    #[test]
    fn they_survive_the_way_between_processes() {
        for kinds in [&[][..], &[("Crash", 7, 6)], &[("Crash", 7, 6), ("Split", 3, 0)]] {
            let faults = faults(kinds);
            assert_eq!(Faults::decode(&faults.encode()), Some(faults));
        }
        for nonsense in ["Crash", "Crash 7", "Crash 7 x", "Crash 7 6,Split"] {
            assert_eq!(Faults::decode(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_kind_that_misses_is_named_where_enough_of_it_was_planned_in_enough_runs() {
        let numb = |kind, planned, felt| faults(&[("Blackout", 30, 30), (kind, planned, felt)]).numb(RUNS_MIN);
        assert_eq!(numb("Crash", 20, 9), ["9 of 20 Crash"]);
        assert_eq!(numb("Crash", 20, 0), ["0 of 20 Crash"]);
        assert!(numb("Crash", 20, 10).is_empty(), "half of them");
        assert!(numb("Crash", 19, 0).is_empty(), "too few to tell");
        assert!(faults(&[("Crash", 20, 0)]).numb(RUNS_MIN - 1).is_empty(), "too few runs to tell");
    }

    #[test]
    fn of_some_kinds_few_need_to_hit_but_none_is_too_few() {
        for kind in SELDOM {
            let numb = |felt| faults(&[(kind, 40, felt)]).numb(RUNS_MIN);
            assert!(numb(4).is_empty(), "{kind}");
            assert_eq!(numb(3), [format!("3 of 40 {kind}")]);
        }
    }
}
