//! How many connections the door holds at once. [`slots`] decides, [`here`] asks the system.

use rustix::process::{Resource, getrlimit};

/// A thousand agents, each with a session and a proxy, and several thousand watches fit.
const SLOTS_MAX: u64 = 8192;
/// Files that a replica opens besides: the database's, its connections to the other replicas and theirs to it, with room to spare. A
/// store that cannot open one takes no part until it can.
const BESIDES: u64 = 512;

/// For a process that may have `files_max` files open; `None`: any number.
fn slots(files_max: Option<u64>) -> usize {
    let spared = |max: u64| max.saturating_sub(BESIDES).max(max / 4);
    files_max.map_or(SLOTS_MAX, |max| spared(max).min(SLOTS_MAX)) as usize
}

/// Of this process.
pub fn here() -> usize {
    slots(getrlimit(Resource::Nofile).current)
}

#[cfg(test)]
mod tests {
    use super::slots;

    #[test]
    fn the_store_can_always_open_what_it_needs() {
        for (files_max, connections) in [(None, 8192), (Some(1 << 20), 8192), (Some(1024), 512), (Some(600), 150)] {
            assert_eq!(slots(files_max), connections, "{files_max:?}");
        }
    }
}
