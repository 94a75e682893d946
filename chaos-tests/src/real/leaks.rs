//! What a process holds: memory, open files, threads. What has grown too much since the first round is a leak. Reads /proc;
//! [`Leaks::take`] decides.

use std::collections::BTreeMap;
use std::{fmt, io};

/// So much more than after the first round no process may hold, however long it has run. Measured: replicas hold 40 to 80 MiB
/// at any age, 30 to 65 files and 5 to 9 threads, agents less.
const GROWTH_MAX: Held = Held { memory_mib: 128, files: 128, threads: 16 };

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    /// Resident.
    memory_mib: u64,
    files: u64,
    threads: u64,
}

impl Held {
    fn by(pid: u32) -> io::Result<Held> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default()
        };
        let files = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
        Ok(Held { memory_mib: number("VmRSS:").div_ceil(1024), files, threads: number("Threads:") })
    }

    fn parts(&self) -> [(&'static str, u64); 3] {
        [("MiB of memory", self.memory_mib), ("open files", self.files), ("threads", self.threads)]
    }
}

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
        let parts = series.first.parts().into_iter().zip(held.parts()).zip(GROWTH_MAX.parts());
        let grown = parts.filter(|(((_, first), (_, now)), (_, most))| *now > first + most);
        let say = |(((what, first), (_, now)), (_, most))| {
            let rounds = series.rounds;
            format!(
                "{name} leaks: {now} {what} after {rounds} rounds, {first} after the first; {most} more are allowed"
            )
        };
        grown.map(say).collect()
    }
}

impl fmt::Display for Leaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, Series { first, last, rounds }) in &self.0 {
            let parts = first.parts().into_iter().zip(last.parts());
            let parts: Vec<_> = parts.map(|((what, first), (_, last))| format!("{first} -> {last} {what}")).collect();
            writeln!(f, "{name} after the first of {rounds} rounds and the last: {}", parts.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_beyond_the_bound_is_named_with_both_numbers() {
        let (mut leaks, first) = (Leaks::default(), Held { memory_mib: 40, files: 100, threads: 20 });
        assert!(leaks.take("replica-1", first).is_empty());
        let most = Held { memory_mib: 40 + GROWTH_MAX.memory_mib, ..first };
        assert!(leaks.take("replica-1", most).is_empty());
        assert!(leaks.take("replica-2", Held { files: 5000, ..first }).is_empty(), "its own first round counts");
        let found = leaks.take("replica-1", Held { memory_mib: 40, files: 900, threads: 99 });
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].starts_with("replica-1 leaks: 900 open files after 3 rounds, 100 after the first"),
            "{found:?}"
        );
    }

    #[test]
    fn what_this_process_holds_is_read() {
        let before = Held::by(std::process::id()).unwrap();
        let files: Vec<_> = (0..300).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let memory = vec![1u8; 64 << 20];
        let held = Held::by(std::process::id()).unwrap();
        assert!(held.files >= before.files + 250, "{before:?} {held:?}");
        assert!(held.memory_mib >= before.memory_mib + 50 && held.threads > 0, "{before:?} {held:?}");
        drop((files, std::hint::black_box(memory)));
    }
}
