//! Addresses as directories: whoever makes one has it, so that agents of one engine need not talk. Acts.
//!
//! A file in it names the owner. Containers that have ended outlive the directories when the host restarts, so one of them may
//! name an address that somebody else has by now: only the owner gives it back.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::Lease;

/// A lease this young may be of a container that is just being made.
const YOUNG: Duration = Duration::from_secs(300);
/// Holds the owner's name. Leases that an older version gave out have none until [`Leases::reclaim`] finds their containers.
pub const OWNER: &str = "owner";

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
            if claim(&self.path(address.into()), owner)? {
                *cursor = Some(address);
                return Ok(Some(address.into()));
            }
        }
        Ok(None)
    }

    /// Frees what is not among these leases of containers and not of this very moment. Where the directory of one of them is
    /// gone, or names nobody, it is given back to its container. Of two containers with one address the first has it.
    pub fn reclaim(&self, held: &[Lease]) -> io::Result<usize> {
        for lease in held.iter().filter(|lease| self.has(&lease.dir)) {
            std::fs::create_dir_all(&lease.dir)?;
            sign(&lease.dir, &lease.owner)?;
        }
        let entries = match std::fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            entries => entries?,
        };
        let mut freed = 0;
        for entry in entries {
            let entry = entry?;
            let age = entry.metadata().and_then(|meta| meta.modified()).map(|at| at.elapsed().unwrap_or_default());
            let is_held = held.iter().any(|lease| lease.dir == entry.path());
            if !is_held && age.is_ok_and(|age| age >= YOUNG) {
                super::clear(&entry.path())?;
                freed += 1;
            }
        }
        Ok(freed)
    }

    /// A container's label may say anything.
    fn has(&self, lease: &Path) -> bool {
        lease.parent() == Some(self.dir.as_path()) && super::address(lease).is_some()
    }
}

/// False when somebody has it.
fn claim(lease: &Path, owner: &str) -> io::Result<bool> {
    match std::fs::create_dir(lease) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(error),
    }
    let signed = sign(lease, owner);
    if signed.is_err() {
        let _ = super::clear(lease);
    }
    signed
}

/// False when somebody's name is there.
fn sign(lease: &Path, owner: &str) -> io::Result<bool> {
    let file = File::options().write(true).create_new(true).open(lease.join(OWNER));
    match file.and_then(|mut file| file.write_all(owner.as_bytes())) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn leases(dir: &Path) -> Leases {
        Leases::new(dir.join("n1"), [10, 0, 0, 2].into(), [10, 0, 0, 7].into())
    }

    fn lease(dir: PathBuf, owner: &str) -> Lease {
        Lease { dir, owner: owner.into() }
    }

    fn release(dir: PathBuf, owner: &str) {
        super::super::release(&lease(dir, owner)).unwrap();
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
        ["one", "other"].into_iter().for_each(|owner| release(one.path([10, 0, 0, 4].into()), owner));
        assert_eq!(other.take("other").unwrap(), Some([10, 0, 0, 4].into()));

        let lone = Leases::new(dir.path().join("n2"), [10, 0, 0, 2].into(), [10, 0, 0, 7].into());
        let first = lone.take("a").unwrap().unwrap();
        release(lone.path(first), "a");
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
        assert_eq!(leases.reclaim(&[lease(leases.path(taken[0]), "a")]).unwrap(), 1);
        let left: Vec<bool> = taken.iter().map(|address| leases.path(*address).exists()).collect();
        assert_eq!(left, [true, false, true]);
    }

    #[test]
    fn an_address_is_given_back_by_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let only = Ipv4Addr::new(10, 0, 0, 2);
        let leases = || Leases::new(dir.path().join("n1"), only, only);
        let place = leases().path(only);
        assert_eq!(leases().take("old").unwrap(), Some(only));
        // The host restarts, and the next one to ask gets the same address.
        std::fs::remove_dir_all(dir.path().join("n1")).unwrap();
        assert_eq!(leases().take("new").unwrap(), Some(only));
        release(place.clone(), "old");
        assert!(place.exists(), "somebody else has it");
        release(place.clone(), "new");
        assert!(!place.exists());
        release(place, "new");
    }

    #[test]
    fn a_container_keeps_its_address_when_the_directory_is_gone_and_nobody_else_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let leases = leases(dir.path());
        let place = |last: u8| leases.path([10, 0, 0, last].into());
        assert_eq!(leases.reclaim(&[lease(place(3), "running"), lease(place(3), "ended")]).unwrap(), 0);
        release(place(3), "ended");
        assert!(place(3).exists(), "the first has it");

        let taken = leases.path(leases.take("new").unwrap().unwrap());
        assert_eq!(leases.reclaim(&[lease(taken.clone(), "old"), lease(place(3), "running")]).unwrap(), 0);
        release(taken.clone(), "old");
        assert!(taken.exists());

        for foreign in [dir.path().join("n2/10.0.0.5"), dir.path().join("n1/.."), dir.path().join("n1/x")] {
            leases.reclaim(&[lease(foreign, "a")]).unwrap();
        }
        assert!(!dir.path().join("n2").exists() && !dir.path().join("n1/x").exists());
        assert!(!dir.path().join(OWNER).exists());
    }

    #[test]
    fn a_lease_of_an_older_version_is_given_back_once_its_container_was_found() {
        let dir = tempfile::tempdir().unwrap();
        let leases = leases(dir.path());
        let place = leases.path([10, 0, 0, 4].into());
        std::fs::create_dir_all(&place).unwrap();
        release(place.clone(), "a");
        assert!(place.exists(), "nobody knows whose it is");
        leases.reclaim(&[lease(place.clone(), "a")]).unwrap();
        release(place.clone(), "a");
        assert!(!place.exists());
    }
}
