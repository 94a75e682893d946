//! Gives back what a long-running process holds in memory and does not use: pages of the program that only its start or
//! a burst of work needed, and freed heap that the allocator keeps. Nothing else would unmap them, and the containers
//! of a small machine want that memory. Acts; `code` decides.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::Path;
use std::ptr::NonNull;
use std::time::Duration;

use nix::sys::mman::{MmapAdvise, madvise};

const FIRST: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_secs(60);

/// Does so again and again, until it is dropped.
pub async fn give_back() {
    let mut after = FIRST;
    loop {
        tokio::time::sleep(after).await;
        if tokio::task::spawn_blocking(once).await.is_err() {
            return;
        }
        after = EVERY;
    }
}

/// Where it cannot be done, nothing is lost but memory.
fn once() {
    // SAFETY: it takes no pointer and is made to be called by any thread at any time.
    unsafe { libc::malloc_trim(0) };
    let (Ok(program), Ok(maps)) = (std::env::current_exe(), std::fs::read_to_string("/proc/self/maps")) else { return };
    for range in code(&maps, &program) {
        let Some(start) = NonZeroUsize::new(range.start) else { continue };
        let start = NonNull::<c_void>::without_provenance(start);
        // SAFETY: the range is a mapping of the program's file that nobody can write to, so that what is dropped comes
        // back, the same, from the file with the next step into it. Threads that run in it notice nothing.
        let _ = unsafe { madvise(start, range.len(), MmapAdvise::MADV_DONTNEED) };
    }
}

/// The mappings of the program's code among those of the process: executable, never writable, of this file.
fn code(maps: &str, program: &Path) -> Vec<Range<usize>> {
    let mapping = |line: &str| {
        let (place, rest) = line.split_once(' ')?;
        let (mode, rest) = rest.split_once(' ')?;
        let file = rest.splitn(4, ' ').nth(3)?.trim_start();
        let (start, end) = place.split_once('-')?;
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        (mode == "r-xp" && Path::new(file) == program && start < end).then_some(start..end)
    };
    maps.lines().filter_map(mapping).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_the_program_is_meant() {
        let maps = "\
55d0c0000000-55d0c0a00000 r--p 00000000 fe:00 131 /opt/a b/kontiki
55d0c0a00000-55d0c2800000 r-xp 00a00000 fe:00 131                        /opt/a b/kontiki
55d0c2800000-55d0c2900000 rw-p 02800000 fe:00 131                        /opt/a b/kontiki
7f0000000000-7f0000100000 r-xp 00000000 fe:00 77                         /usr/lib/libc.so.6
7f0000200000-7f0000201000 r-xp 00000000 00:00 0 [vdso]
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0
";
        let found: Vec<_> = code(maps, Path::new("/opt/a b/kontiki")).iter().map(|at| (at.start, at.end)).collect();
        assert_eq!(found, [(0x55d0_c0a0_0000, 0x55d0_c280_0000)]);
        assert!(code(maps, Path::new("/opt/other")).is_empty());
    }

    #[test]
    fn a_process_goes_on_without_its_pages() {
        let resident = || {
            let smaps = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
            let line = smaps.lines().find(|line| line.starts_with("Rss:")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        // So that there is something to give back.
        drop((0..100_000).map(|n: u32| n.to_string()).collect::<Vec<_>>());
        let before = resident();
        once();
        assert!(resident() < before, "{before} KiB before, {} KiB after", resident());
    }
}
