//! Does a process come to hold more and more while nothing goes wrong and one thing is done over and over? Pure.
//!
//! It is looked at all the while. The first fifth of the work warms up: caches fill, and the allocator finds its size. The least
//! that was held in the second fifth is compared with the least of the last one. What comes and goes (a write buffer, a call
//! under way) has been at its least in both; what is kept has not.

use std::collections::BTreeMap;
use std::fmt;

use super::held::{Excess, Held};

/// What is done over and over. All that it takes should be given back each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    Connect,
    Watch,
    Read,
    /// The last, because it makes objects large.
    Write,
}

/// Connections of the work that is under way, and those that are being closed, come and go.
const SOCKETS_MAX: u64 = 8;
/// RocksDB opens and closes tables as it likes; while much is written, up to 128 of them.
const FILES_MAX: u64 = 16;
const FILES_MAX_OF_WRITES: u64 = 64;
/// tokio's threads for what blocks.
const THREADS_MAX: u64 = 8;
/// A leak shows every time. What the allocator does does not.
const TRIES: u32 = 3;

impl Work {
    pub const ALL: [Work; 4] = [Work::Connect, Work::Watch, Work::Read, Work::Write];

    /// So often at each replica. With [`Work::bytes_max`] it comes to some MiB that the allocator may be off by.
    pub fn times(self) -> u64 {
        match self {
            Work::Connect => 1_000,
            Work::Watch => 6_000,
            Work::Read => 8_000,
            Work::Write => 8_000,
        }
    }

    /// Who keeps more than this of each leaks. One kilobyte is found, and eight of a connection, which holds tens of them.
    fn bytes_max(self) -> u64 {
        match self {
            Work::Connect => 4 << 10,
            Work::Watch => 700,
            Work::Read => 600,
            Work::Write => 700,
        }
    }

    /// How many of `all` one replica has to do with: whatever is written comes to each of them.
    fn of_each(self, all: u64, replicas: u64) -> u64 {
        if self == Work::Write { all } else { all / replicas }
    }

    fn most(self, count: u64) -> Held {
        let files = if self == Work::Write { FILES_MAX_OF_WRITES } else { FILES_MAX };
        let memory_kib = count * self.bytes_max() / 1024;
        Held { memory_kib, sockets: SOCKETS_MAX, files, threads: THREADS_MAX }
    }

    fn plural(self) -> &'static str {
        match self {
            Work::Connect => "connections",
            Work::Watch => "watches",
            Work::Read => "reads",
            Work::Write => "writes",
        }
    }
}

/// One look at a process, when so much of the work was done.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub done: u64,
    pub pid: u32,
    pub held: Held,
}

/// Of one process, over this many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    work: Work,
    count: u64,
    before: Held,
    after: Held,
}

impl Growth {
    /// `all`: how many are done in the end, at all replicas together. An error says why nothing can be told.
    pub fn of(work: Work, looks: &[Look], all: u64, replicas: u64) -> Result<Growth, String> {
        if looks.iter().any(|look| look.pid != looks[0].pid) {
            return Err("it was started anew though nothing went wrong".into());
        }
        let fifth = |done: u64| done * 5 / all.max(1);
        let least = |wanted: &dyn Fn(u64) -> bool| {
            let held = looks.iter().filter(|look| wanted(fifth(look.done))).map(|look| look.held);
            held.reduce(Held::least).ok_or("it was not looked at often enough, or ended")
        };
        let before = least(&|fifth| fifth == 1)?;
        let after = least(&|fifth| fifth >= 4)?;
        Ok(Growth { work, count: work.of_each(all, replicas) * 3 / 5, before, after })
    }

    /// What is kept of it, in words.
    pub fn leak(&self) -> Option<String> {
        let excess = self.after.beyond(&self.before, &self.work.most(self.count));
        let say = |Excess { what, before, now, most }: &Excess| {
            format!("{before} -> {now} {what}, and {most} more would have been well")
        };
        let said: Vec<String> = excess.iter().map(say).collect();
        (!said.is_empty()).then(|| format!("over {} {}: {}", self.count, self.work.plural(), said.join("; ")))
    }

    fn kib(&self) -> u64 {
        self.after.memory_kib.saturating_sub(self.before.memory_kib)
    }
}

/// Who was beyond what is well each time that the work was done.
#[derive(Default)]
pub struct Suspects {
    tries: u32,
    leaks: BTreeMap<String, String>,
}

impl Suspects {
    /// Whether it is to be done once more. An error says who leaks.
    pub fn take(&mut self, growths: &BTreeMap<String, Growth>) -> Result<bool, String> {
        let before = std::mem::take(&mut self.leaks);
        let was_one = |name: &str| self.tries == 0 || before.contains_key(name);
        let leaks = growths.iter().filter(|(name, _)| was_one(name));
        self.leaks = leaks.filter_map(|(name, growth)| Some((name.clone(), growth.leak()?))).collect();
        self.tries += 1;
        match self.tries < TRIES || self.leaks.is_empty() {
            true => Ok(!self.leaks.is_empty()),
            false => {
                let leaks = self.leaks.iter().map(|(name, leak)| format!("{name} leaks {leak}"));
                Err(leaks.collect::<Vec<_>>().join("; "))
            }
        }
    }
}

/// The largest of each sort of work, and whose it was.
#[derive(Default)]
pub struct Largest(BTreeMap<Work, (String, Growth)>);

impl Largest {
    pub fn take(&mut self, name: &str, growth: Growth) {
        let known = self.0.get(&growth.work).map(|(_, known)| known.kib());
        if known.is_none_or(|known| growth.kib() > known) {
            self.0.insert(growth.work, (name.to_owned(), growth));
        }
    }
}

impl fmt::Display for Largest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, Growth { work, count, before, after }) in self.0.values() {
            writeln!(f, "calm, over {count} {}: most of all grew {name}, {}", work.plural(), after.since(before))?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "growth_tests.rs"]
mod tests;
