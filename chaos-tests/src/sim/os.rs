//! What a simulated thread gets from the operating system: random bytes from a seed, and clocks that stand still until
//! the world moves them. Acts.
//!
//! Hash maps, tokio's `select!`, openraft's election timeouts and TLS all draw from `getrandom` in the end, and every
//! `Instant` comes from `clock_gettime`. Both are linked before libc's, and on a thread of the simulation they answer
//! from the simulation, so that nothing in the product needs to know. On all other threads they ask the kernel.

use std::cell::{Cell, OnceCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

thread_local! {
    static SIMULATED: Cell<bool> = const { Cell::new(false) };
    static SEED: Cell<u64> = const { Cell::new(0) };
    static NOW_NS: Cell<u64> = const { Cell::new(0) };
    static HOST: Cell<Option<usize>> = const { Cell::new(None) };
    /// Where whoever waits for the world sees its time.
    static SHOWN_NS: OnceCell<Arc<AtomicU64>> = const { OnceCell::new() };
}

/// How the words begin for a world that ended by a mistake of its own.
pub const PANICKED: &str = "the simulation itself panicked";
/// The simulation begins long after the machine's start, so that subtracting from an `Instant` is possible.
const BOOTED_S: u64 = 1_000_000;
/// 2026-01-01T00:00:00Z
pub const EPOCH_S: u64 = 1_767_225_600;

/// A step takes a millisecond or so, and no check more than seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a world on a thread of its own: whatever a thread keeps (the keys of its hash maps, its generators) is fresh,
/// and therefore the same for the same seed. A world that panics or stands still has failed; the thread of one that
/// stands still stays behind.
pub fn run<T: Send + 'static>(seed: u64, world: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    watched(seed, PATIENCE, world)
}

fn watched<T: Send + 'static>(
    seed: u64,
    patience: Duration,
    world: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let thread = std::thread::Builder::new().name(format!("seed {seed}")).stack_size(8 << 20);
    let (shown, (runs, ended)) = (Arc::new(AtomicU64::new(0)), mpsc::channel::<()>());
    let own = shown.clone();
    let running = thread.spawn(move || {
        let _runs = runs;
        SEED.set(seed);
        NOW_NS.set(0);
        SHOWN_NS.with(|shown| shown.get_or_init(|| own).store(0, Relaxed));
        SIMULATED.set(true);
        world()
    });
    let running = running.expect("a thread can be had");
    let mut seen = None;
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(patience) {
        let now = shown.load(Relaxed);
        if seen.replace(now) == Some(now) {
            let at = Duration::from_nanos(now).as_millis();
            return Err(format!("the world stands still at {at} ms: something in it never waits, or waits for itself"));
        }
    }
    running.join().map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
        format!("{PANICKED}: {}", text.unwrap_or_default())
    })
}

/// Moves the thread's clocks. `since`: the world's beginning.
pub fn set_now(since: Duration) {
    let now = since.as_nanos() as u64;
    NOW_NS.set(now);
    SHOWN_NS.with(|shown| shown.get().into_iter().for_each(|shown| shown.store(now, Relaxed)));
}

/// Since the world's beginning.
pub fn now() -> Duration {
    Duration::from_nanos(NOW_NS.get())
}

/// Whose process runs on this thread now.
pub fn set_host(host: Option<usize>) {
    HOST.set(host);
}

pub fn host() -> Option<usize> {
    HOST.get()
}

pub fn is_simulated() -> bool {
    SIMULATED.get()
}

/// SplitMix64: small, and every seed gives a full period.
fn next() -> u64 {
    let state = SEED.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    SEED.set(state);
    let mut mixed = state;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[allow(unsafe_code, reason = "these two stand in for functions of libc")]
mod linked {
    use super::{BOOTED_S, EPOCH_S, NOW_NS, SIMULATED, next};

    /// # Safety
    /// As for libc's: `buffer` has room for `length` bytes.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn getrandom(buffer: *mut libc::c_void, length: usize, flags: libc::c_uint) -> isize {
        if !SIMULATED.get() {
            // SAFETY: the caller's promise is the kernel's.
            return unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) as isize };
        }
        // SAFETY: the caller promises the room.
        let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<std::mem::MaybeUninit<u8>>(), length) };
        for piece in bytes.chunks_mut(8) {
            let random = next().to_le_bytes();
            for (byte, random) in piece.iter_mut().zip(random) {
                byte.write(random);
            }
        }
        length as isize
    }

    /// # Safety
    /// As for libc's: `out` points to a `timespec`.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, out: *mut libc::timespec) -> libc::c_int {
        if !SIMULATED.get() {
            // SAFETY: the caller's promise is the kernel's.
            return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, out) as libc::c_int };
        }
        let began = match clock {
            libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => EPOCH_S,
            _ => BOOTED_S,
        };
        let now = NOW_NS.get();
        let (seconds, nanoseconds) = (began + now / 1_000_000_000, now % 1_000_000_000);
        // SAFETY: the caller promises that `out` can be written.
        unsafe { out.write(libc::timespec { tv_sec: seconds as libc::time_t, tv_nsec: nanoseconds as libc::c_long }) };
        0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher as _;

    use super::*;

    fn drawn() -> (u64, Vec<u32>) {
        let numbers: HashSet<u32> = (0..100).collect();
        (std::hash::RandomState::new().hash_one(7), numbers.into_iter().collect())
    }

    #[test]
    fn hash_maps_of_the_same_seed_have_the_same_order() {
        let one = run(7, drawn).unwrap();
        assert_eq!(one, run(7, drawn).unwrap());
        assert_ne!(one, run(8, drawn).unwrap());
        assert_ne!(std::thread::spawn(drawn).join().unwrap(), std::thread::spawn(drawn).join().unwrap());
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "this is what the seam stands on")]
    fn the_clock_stands_still_until_it_is_moved() {
        let elapsed = run(1, || {
            let before = std::time::Instant::now();
            std::thread::sleep(Duration::from_millis(5));
            let still = before.elapsed();
            set_now(Duration::from_secs(3));
            (still, before.elapsed())
        });
        assert_eq!(elapsed.unwrap(), (Duration::ZERO, Duration::from_secs(3)));
    }

    #[test]
    fn a_world_that_ends_badly_or_not_at_all_has_failed() {
        assert_eq!(run(1, || panic!("{}", "oh")).map(|()| 1).unwrap_err(), "the simulation itself panicked: oh");
        let stuck = watched(1, Duration::from_millis(50), || {
            set_now(Duration::from_secs(3));
            loop {
                std::thread::park();
            }
        });
        let why = stuck.map(|()| 1).unwrap_err();
        assert!(why.starts_with("the world stands still at 3000 ms"), "{why}");
    }
}
