//! Addresses as directories: whoever makes one has it, so that agents of one engine need not talk. Acts.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

/// A lease this young may be of a container that is just being made.
const YOUNG: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub struct Leases {
    dir: PathBuf,
    first: u32,
    last: u32,
    /// The address taken last. The next one is looked for behind it, so that a freed address rests.
    cursor: Mutex<Option<u32>>,
}

impl Leases {
    pub fn new(dir: PathBuf, first: Ipv4Addr, last: Ipv4Addr) -> Leases {
        Leases { dir, first: first.into(), last: last.into(), cursor: Mutex::new(None) }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn path(&self, address: Ipv4Addr) -> PathBuf {
        self.dir.join(address.to_string())
    }

    /// `None`: all are taken. Agents begin at different places, which the owner's name decides.
    pub fn take(&self, owner: &str) -> io::Result<Option<Ipv4Addr>> {
        std::fs::create_dir_all(&self.dir)?;
        let count = self.last - self.first + 1;
        let mut cursor = self.cursor.lock().expect("nobody panics with it");
        let begin = cursor.map_or((xxh3_64(owner.as_bytes()) % u64::from(count)) as u32, |last| last - self.first + 1);
        for offset in 0..count {
            let address = self.first + (begin + offset) % count;
            match std::fs::create_dir(self.path(address.into())) {
                Ok(()) => {
                    *cursor = Some(address);
                    return Ok(Some(address.into()));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    pub fn reclaim(&self, used: &[PathBuf]) -> io::Result<usize> {
        let entries = match std::fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            entries => entries?,
        };
        let mut freed = 0;
        for entry in entries {
            let entry = entry?;
            let age = entry.metadata().and_then(|meta| meta.modified()).map(|at| at.elapsed().unwrap_or_default());
            if !used.contains(&entry.path()) && age.is_ok_and(|age| age >= YOUNG) {
                super::release(&entry.path())?;
                freed += 1;
            }
        }
        Ok(freed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn leases(dir: &Path) -> Leases {
        Leases::new(dir.join("n1"), [10, 0, 0, 2].into(), [10, 0, 0, 7].into())
    }

    #[test]
    fn no_address_is_given_twice_also_not_by_two_agents_and_a_freed_one_rests() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (leases(dir.path()), leases(dir.path()));
        let mut taken = BTreeSet::new();
        for round in 0..3 {
            for (agent, name) in [(&one, "one"), (&other, "other")] {
                let address = agent.take(name).unwrap().unwrap();
                assert!(taken.insert(address), "{address} was given twice, in round {round}");
            }
        }
        assert_eq!(taken.len(), 6);
        assert_eq!(one.take("one").unwrap(), None);
        super::super::release(&one.path([10, 0, 0, 4].into())).unwrap();
        assert_eq!(other.take("other").unwrap(), Some([10, 0, 0, 4].into()));

        let lone = Leases::new(dir.path().join("n2"), [10, 0, 0, 2].into(), [10, 0, 0, 7].into());
        let first = lone.take("a").unwrap().unwrap();
        super::super::release(&lone.path(first)).unwrap();
        assert_ne!(lone.take("a").unwrap().unwrap(), first);
    }

    #[test]
    fn only_old_leases_that_nobody_has_are_reclaimed() {
        let dir = tempfile::tempdir().unwrap();
        let leases = leases(dir.path());
        assert_eq!(leases.reclaim(&[]).unwrap(), 0);
        let taken: Vec<Ipv4Addr> = (0..3).map(|_| leases.take("a").unwrap().unwrap()).collect();
        for old in &taken[..2] {
            let path = std::fs::File::open(leases.path(*old)).unwrap();
            path.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        }
        assert_eq!(leases.reclaim(&[leases.path(taken[0])]).unwrap(), 1);
        let left: Vec<bool> = taken.iter().map(|address| leases.path(*address).exists()).collect();
        assert_eq!(left, [true, false, true]);
    }
}
