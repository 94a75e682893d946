//! How much lies where in the log, in steps: enough to tell which entry is so many bytes before its end. Pure.

use std::collections::VecDeque;

const STEP_BYTES: u64 = 1 << 20;

#[derive(Debug)]
pub struct Extent {
    step_bytes: u64,
    /// The first entry of each step, and all bytes ever pushed before it.
    steps: VecDeque<(u64, u64)>,
    end: u64,
}

impl Default for Extent {
    fn default() -> Extent {
        Extent { step_bytes: STEP_BYTES, steps: VecDeque::new(), end: 0 }
    }
}

impl Extent {
    /// Counts in smaller steps from now on, where the log is to be much smaller than it is in production.
    pub fn step(&mut self, bytes: u64) {
        self.step_bytes = bytes.clamp(1, STEP_BYTES);
    }

    /// The next entry of the log.
    pub fn push(&mut self, index: u64, bytes: u64) {
        if self.steps.back().is_none_or(|(_, before)| self.end - before >= self.step_bytes) {
            self.steps.push_back((index, self.end));
        }
        self.end += bytes;
    }

    /// The log ends before `index` now. Counts up to a step too much from then on.
    pub fn truncate(&mut self, index: u64) {
        while let Some((_, before)) = self.steps.back().filter(|(first, _)| *first >= index) {
            self.end = *before;
            self.steps.pop_back();
        }
    }

    /// The log begins behind `index` now.
    pub fn purge(&mut self, index: u64) {
        while self.steps.get(1).is_some_and(|(first, _)| *first <= index + 1) {
            self.steps.pop_front();
        }
    }

    /// Up to a step too many.
    pub fn bytes(&self) -> u64 {
        self.steps.front().map_or(0, |(_, before)| self.end - before)
    }

    /// The last entry that can go if at least `kept` bytes are to stay.
    pub fn before(&self, kept: u64) -> Option<u64> {
        let (first, _) = self.steps.iter().rev().find(|(_, before)| self.end - before >= kept)?;
        first.checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_which_entry_is_so_far_before_the_end() {
        let mut extent = Extent::default();
        assert_eq!((extent.bytes(), extent.before(1)), (0, None));
        (1..=100).for_each(|index| extent.push(index, 500_000));
        assert_eq!(extent.bytes(), 50_000_000);
        let upto = extent.before(10_000_000).unwrap();
        assert!((77..=80).contains(&upto), "{upto}");
        extent.purge(upto);
        assert!((10_000_000..12_000_000).contains(&extent.bytes()), "{}", extent.bytes());
        assert_eq!(extent.before(20_000_000), None);
        extent.truncate(98);
        assert!((9_000_000..12_000_000).contains(&extent.bytes()), "{}", extent.bytes());
        extent.truncate(0);
        assert_eq!(extent.bytes(), 0);
        extent.push(7, 10);
        extent.purge(7);
        extent.push(8, 3 << 20);
        extent.push(9, 1);
        extent.purge(8);
        assert_eq!(extent.bytes(), 1, "one great entry is a step of its own");
    }
}
