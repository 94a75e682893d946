//! What every process holds at the end of each round: whoever holds much more than after the first has kept something over
//! all its restarts. What a process keeps while it runs is looked for in the calm ([`super::growth`]). [`Leaks::take`] decides.

use std::collections::BTreeMap;
use std::fmt;

use super::held::{Excess, Held};

/// So much more than after the first round no process may hold, however long the run. Measured: replicas hold 40 to 80 MiB
/// at any age (their code too), 30 to 65 files and sockets and 5 to 9 threads, agents less.
const GROWTH_MAX: Held = Held { memory_kib: 128 << 10, sockets: 128, files: 128, threads: 16 };

/// Of every process, by its name.
#[derive(Default)]
pub struct Leaks(BTreeMap<String, Series>);

struct Series {
    first: Held,
    last: Held,
    rounds: u64,
}

impl Leaks {
    /// What these processes hold at the end of a round; an error says what they leak.
    pub fn look(&mut self, processes: &[(String, u32)]) -> Result<(), String> {
        let mut found = Vec::new();
        for (name, pid) in processes {
            let held = Held::by(*pid).map_err(|error| format!("/proc of {name}: {error}"))?;
            found.extend(self.take(name, held));
        }
        if found.is_empty() { Ok(()) } else { Err(found.join("; ")) }
    }

    fn take(&mut self, name: &str, held: Held) -> Vec<String> {
        let series = self.0.entry(name.to_owned()).or_insert(Series { first: held, last: held, rounds: 0 });
        (series.last, series.rounds) = (held, series.rounds + 1);
        let (excess, rounds) = (held.beyond(&series.first, &GROWTH_MAX), series.rounds);
        let say = |Excess { what, before, now, most }| {
            format!(
                "{name} leaks: {now} {what} after {rounds} rounds, {before} after the first; {most} more are allowed"
            )
        };
        excess.into_iter().map(say).collect()
    }
}

impl fmt::Display for Leaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, Series { first, last, rounds }) in &self.0 {
            // One round has nothing to be compared with.
            if *rounds > 1 {
                writeln!(f, "{name} after the first of {rounds} rounds and the last: {}", last.since(first))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_beyond_the_bound_is_named_with_both_numbers() {
        let (mut leaks, first) =
            (Leaks::default(), Held { memory_kib: 40 << 10, sockets: 20, files: 100, threads: 20 });
        assert!(leaks.take("replica-1", first).is_empty());
        let most = Held { memory_kib: first.memory_kib + GROWTH_MAX.memory_kib, ..first };
        assert!(leaks.take("replica-1", most).is_empty());
        assert!(leaks.take("replica-2", Held { files: 5000, ..first }).is_empty(), "its own first round counts");
        let found = leaks.take("replica-1", Held { files: 900, threads: 99, ..first });
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].starts_with("replica-1 leaks: 900 other files after 3 rounds, 100 after the first"),
            "{found:?}"
        );
    }
}
