//! What the replicas of a seed keep: how much of the history and of the log, and how often the state is saved. Pure.

use std::time::Duration;

use proto::seam::Random;
use raft::{HistoryWindow, Timing};

/// One of so many seeds has short histories.
const SHORT_EVERY: u64 = 3;
/// A register that is written again within a sixteenth of the longer ones needs its value only once in them.
const WINDOW_BYTES: (u64, u32) = (2_000, 7);
const WINDOW_MS: (u64, u64) = (300, 6_000);
pub const SAVE_MS: u64 = 300;
/// One of so many seeds has little of the log in memory.
const LOG_EVERY: u64 = 4;
/// At most so much, where an entry has some 300 bytes.
const LOG_BYTES: u64 = 16 << 10;

/// In half of these seeds all replicas keep the same, else each its own.
pub fn windows(seed: u64, hosts: usize) -> Vec<HistoryWindow> {
    if seed % SHORT_EVERY != 1 {
        return Vec::new();
    }
    let random = Random::from_seed(seed ^ 0x0077_696e_646f_7773);
    let draw = || {
        let least = WINDOW_BYTES.0 << random.below(u64::from(WINDOW_BYTES.1));
        let bytes_max = least + random.below(least);
        match random.below(2) {
            0 => HistoryWindow { bytes_max, ..HistoryWindow::default() },
            _ => {
                let age_max = Duration::from_millis(WINDOW_MS.0 + random.below(WINDOW_MS.1));
                HistoryWindow { age_max, bytes_max }
            }
        }
    };
    match random.below(2) {
        0 => vec![draw(); hosts],
        _ => (0..hosts).map(|_| draw()).collect(),
    }
}

/// Mostly so often that many crashes fall into it, and seldom enough that most leave something to be made again from the
/// log. Where the history is short it may also be all the time, or as seldom as in production.
pub fn save_ms(seed: u64) -> u64 {
    let random = Random::from_seed(seed ^ 0x7361_7665);
    match random.below(3) {
        _ if seed % SHORT_EVERY != 1 => SAVE_MS,
        0 => 5 + random.below(50),
        1 => SAVE_MS,
        _ => Timing::default().save.as_millis() as u64,
    }
}

/// Those with disks that rot under who runs are among them.
pub fn log_bytes(seed: u64) -> Option<usize> {
    let random = Random::from_seed(seed ^ 0x006c_6f67);
    (seed % LOG_EVERY == LOG_EVERY - 2).then(|| random.below(LOG_BYTES) as usize)
}
