//! A plan drawn from a seed: the faults that any seed may have, and those that only some have, so that what must come
//! together does. Pure.

use std::time::Duration;

use proto::seam::Random;
use raft::{HistoryWindow, Timing};

use super::actions::AGAIN_MS;
use super::plan::{Fault, First, Kind, Plan};
use crate::sim::links::Loss;

const BEGINS_MS: u64 = 3_000;
const ENDS_MS: u64 = 20_000;
const FAULTS: (u64, u64) = (3, 12);
/// One of so many seeds has a guest.
const GUEST_EVERY: u64 = 5;
/// One of so many seeds has a founder replaced. Never one with a guest.
const REPLACE_EVERY: u64 = 5;
/// One of so many seeds has short histories.
const SHORT_EVERY: u64 = 3;
/// A register that is written again within a sixteenth of the longer ones needs its value only once in them.
const WINDOW_BYTES: (u64, u32) = (2_000, 7);
const SAVE_MS: u64 = 300;
const WINDOW_MS: (u64, u64) = (300, 6_000);
/// One of so many seeds has a disk that rots, or loses the end of its log, unless another one is lost.
const ROT_EVERY: u64 = 4;
/// One of so many seeds, all of them with a bit that would turn over in a record, has it in a note.
const NOTE_EVERY: u64 = 32;
/// One of so many seeds, but none of those with a disk that rots, has notes that tear, unless a disk is lost.
const TORN_EVERY: u64 = 16;
/// One of so many seeds has little of the log in memory.
const LOG_EVERY: u64 = 4;
/// At most so much, where an entry has some 300 bytes.
const LOG_BYTES: u64 = 16 << 10;
/// One of so many seeds, but none of those, has disks that rot while their replicas run, unless another one is lost.
const DECAY_EVERY: u64 = 16;
/// One of so many seeds, but none of those, has a host that is filled and struck down again.
const REFILL_EVERY: u64 = 4;
/// One of so many seeds loses all power soon after an election.
const BALLOT_EVERY: u64 = 8;
/// One of so many seeds has crowds, and entries that are overruled.
const CROWD_EVERY: u64 = 8;
/// One of so many seeds, of those with a guest, has a leader that is cut off and ordered to remove the guest.
const OVERTURN_EVERY: u64 = 40;
/// One of so many seeds, but none of all those, has a replica whose state is made odd, unless members come or go in it.
const ODD_EVERY: u64 = 8;

/// Of so many seeds one has a disk that hangs for longer than an answer is waited for, one has a disk of which reads fail, and one has
/// disks with little room.
const DISK_EVERY: u64 = 16;

impl Plan {
    pub fn new(seed: u64) -> Plan {
        let random = Random::from_seed(seed ^ 0x6661_756c_7473);
        let replicas = if random.below(4) == 0 { 5 } else { 3 };
        let count = FAULTS.0 + random.below(FAULTS.1 - FAULTS.0);
        let replaced = (seed % REPLACE_EVERY == REPLACE_EVERY - 3).then(|| replaced(seed, replicas));
        let met = replicas + usize::from(replaced.is_some());
        // Some seeds have faults of one favourite kind, which find each other more often.
        let favourite = (random.below(3) == 0).then(|| random.below(KINDS));
        let mut faults: Vec<Fault> = (0..count)
            .map(|_| {
                let drawn = random.below(KINDS);
                let kind = favourite.filter(|_| random.below(2) == 0).unwrap_or(drawn);
                fault(&random, kind, replicas, met)
            })
            .collect();
        // Two lost disks may be a lost majority, which is nothing that a store could survive.
        let mut new_disks = 0;
        faults.retain(|fault| {
            new_disks += u32::from(matches!(fault.kind, Kind::NewDisk(_)));
            !matches!(fault.kind, Kind::NewDisk(_)) || new_disks == 1
        });
        if seed % GUEST_EVERY == GUEST_EVERY - 1 {
            let (at_ms, for_ms) = (BEGINS_MS + random.below(4_000), 3_000 + random.below(10_000));
            faults.push(Fault { at_ms, for_ms, kind: Kind::Guest });
        }
        if seed % OVERTURN_EVERY == OVERTURN_EVERY - 36 {
            faults.retain(|fault| fault.kind != Kind::Guest);
            faults.extend(overturn(seed, replicas));
        }
        if seed % ROT_EVERY == ROT_EVERY - 1 && new_disks == 0 {
            let (at_ms, host) = (BEGINS_MS + random.below(9_000), random.below(replicas as u64) as usize);
            if (seed / ROT_EVERY).is_multiple_of(2) {
                let again = Fault { at_ms, for_ms: 100, kind: Kind::Crash(host, random.below(2) == 0) };
                if seed % NOTE_EVERY == NOTE_EVERY - 21 {
                    faults.push(Fault { kind: Kind::RotNote(host), ..again });
                } else {
                    // Read when the replica starts again, if not before.
                    faults.push(Fault { at_ms, for_ms: 0, kind: Kind::Rot(host) });
                    faults.push(Fault { at_ms: at_ms + random.below(3_000), ..again });
                }
            } else {
                faults.push(Fault { at_ms, for_ms: 150 + random.below(600), kind: Kind::LoseEnd(host) });
            }
        }
        faults.extend((seed % BALLOT_EVERY == BALLOT_EVERY - 2).then(|| ballot(seed, replicas)));
        faults.extend(seed.is_multiple_of(CROWD_EVERY).then(|| overrule(seed, replicas)));
        faults.extend((seed % REFILL_EVERY == REFILL_EVERY - 3).then(|| refill(seed, replicas)));
        if seed % DECAY_EVERY == DECAY_EVERY - 6 && new_disks == 0 {
            let decay = decay(seed, replicas);
            faults.retain(|fault| !is_too_much_with(&decay.kind, &fault.kind, replicas));
            faults.push(decay);
        }
        faults.extend(disk_trouble(seed, replicas));
        faults.extend((seed % TORN_EVERY == TORN_EVERY - 3 && new_disks == 0).then(|| torn_note(seed, replicas)));
        let comes_or_goes = replaced.is_some() || seed % GUEST_EVERY == GUEST_EVERY - 1;
        if seed % ODD_EVERY == ODD_EVERY - 4 && !comes_or_goes {
            // Two lost disks again; and a snapshot of an odd leader's would be a second odd state.
            faults.retain(|fault| !matches!(fault.kind, Kind::NewDisk(_) | Kind::Compact(_)));
            faults.push(odd(seed, replicas));
        }
        // While a founder is gone and nobody has taken his place, one lost disk of the others may be a lost majority.
        if let Some(Fault { kind: Kind::Replace(founder, First::Leave), .. }) = replaced {
            for fault in &mut faults {
                if let Kind::NewDisk(host) | Kind::Rot(host) | Kind::LoseEnd(host) = &mut fault.kind {
                    *host = founder;
                }
                if let Kind::Decay { hosts, .. } = &mut fault.kind {
                    *hosts = vec![founder];
                }
            }
        }
        faults.extend(replaced);
        faults.sort_by_key(|fault| fault.at_ms);
        let (windows, save_ms, log_bytes) = (windows(seed, met), save_ms(seed), log_bytes(seed));
        Plan {
            seed,
            replicas,
            windows,
            save_ms,
            log_bytes,
            is_crowded: seed.is_multiple_of(CROWD_EVERY) || seed % DISK_EVERY == 2,
            faults,
            ends_ms: ENDS_MS,
        }
    }

    /// Nothing goes wrong.
    pub fn calm(seed: u64) -> Plan {
        let (windows, faults) = Default::default();
        Plan { seed, replicas: 3, windows, save_ms: SAVE_MS, log_bytes: None, is_crowded: false, faults, ends_ms: 0 }
    }
}

const KINDS: u64 = 18;

/// In half of these seeds all replicas keep the same, else each its own.
fn windows(seed: u64, hosts: usize) -> Vec<HistoryWindow> {
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
fn save_ms(seed: u64) -> u64 {
    let random = Random::from_seed(seed ^ 0x7361_7665);
    match random.below(3) {
        _ if seed % SHORT_EVERY != 1 => SAVE_MS,
        0 => 5 + random.below(50),
        1 => SAVE_MS,
        _ => Timing::default().save.as_millis() as u64,
    }
}

/// Those with disks that rot under who runs are among them.
fn log_bytes(seed: u64) -> Option<usize> {
    let random = Random::from_seed(seed ^ 0x006c_6f67);
    (seed % LOG_EVERY == LOG_EVERY - 2).then(|| random.below(LOG_BYTES) as usize)
}

fn replaced(seed: u64, replicas: usize) -> Fault {
    let random = Random::from_seed(seed ^ 0x7265_706c_6163_6564);
    let (at_ms, founder) = (BEGINS_MS + random.below(8_000), random.below(replicas as u64) as usize);
    let first = if random.below(2) == 0 { First::Join } else { First::Leave };
    Fault { at_ms, for_ms: 0, kind: Kind::Replace(founder, first) }
}

fn overrule(seed: u64, replicas: usize) -> Fault {
    let random = Random::from_seed(seed ^ 0x6f76_6572_7275_6c65);
    let (at_ms, for_ms) = (BEGINS_MS + random.below(12_000), 100 + random.below(500));
    let host = random.below(replicas as u64) as usize;
    // The others need some 600 ms to elect one of them.
    let kind = Kind::Overrule(host, 400 + random.below(700), 20 + random.below(300));
    Fault { at_ms, for_ms, kind }
}

/// A guest, and a leader that is cut off while it carries out an order, which is overruled (see `operator.rs`): first it waits for a
/// follower that is deaf. The guest stays for longer than that.
fn overturn(seed: u64, replicas: usize) -> [Fault; 3] {
    let random = Random::from_seed(seed ^ 0x6f76_6572_7475_726e);
    let joins_ms = BEGINS_MS + random.below(3_000);
    let (at_ms, for_ms) = (joins_ms + 2_500 + random.below(1_000), 1_700 + random.below(500));
    let host = random.below(replicas as u64) as usize;
    let kind = Kind::Overrule(host, 400 + random.below(700), 20 + random.below(300));
    [
        Fault { at_ms: joins_ms, for_ms: 13_000, kind: Kind::Guest },
        Fault { at_ms: at_ms - 400, for_ms: 1_500, kind: Kind::Deaf((host + 1) % replicas) },
        Fault { at_ms, for_ms, kind },
    ]
}

fn torn_note(seed: u64, replicas: usize) -> Fault {
    let random = Random::from_seed(seed ^ 0x746f_726e);
    let (at_ms, for_ms) = (BEGINS_MS + random.below(12_000), 50 + random.below(1_500));
    Fault { at_ms, for_ms, kind: Kind::TornNote(random.below(replicas as u64) as usize) }
}

fn ballot(seed: u64, replicas: usize) -> Fault {
    let random = Random::from_seed(seed ^ 0x6261_6c6c_6f74);
    let (at_ms, for_ms) = (BEGINS_MS + random.below(12_000), 20 + random.below(400));
    let kind = Kind::Ballot(random.below(replicas as u64) as usize, 100 + random.below(400));
    Fault { at_ms, for_ms, kind }
}

fn disk_trouble(seed: u64, replicas: usize) -> Vec<Fault> {
    let random = Random::from_seed(seed ^ 0x6469_736b);
    let host = || random.below(replicas as u64) as usize;
    let fault = |kind| Fault { at_ms: BEGINS_MS + random.below(9_000), for_ms: 2_000 + random.below(6_000), kind };
    match seed % DISK_EVERY {
        2 => vec![fault(Kind::SlowDisk(host(), 1_700 + random.below(2_500)))],
        6 => vec![fault(Kind::FailReads(host())), fault(Kind::FailReads(host()))],
        9 => vec![fault(Kind::LittleRoom(host())), fault(Kind::LittleRoom(host()))],
        _ => Vec::new(),
    }
}

fn refill(seed: u64, replicas: usize) -> Fault {
    let random = Random::from_seed(seed ^ 0x7265_6669_6c6c);
    let (at_ms, for_ms) = (BEGINS_MS + random.below(9_000), 300 + random.below(2_500));
    let (host, again_ms) = (random.below(replicas as u64) as usize, random.below(AGAIN_MS * 8));
    let disk_ms = if random.below(2) == 0 { random.below(AGAIN_MS * 2) } else { 0 };
    Fault { at_ms, for_ms, kind: Kind::Refill { host, again_ms, disk_ms } }
}

fn odd(seed: u64, replicas: usize) -> Fault {
    let random = Random::from_seed(seed ^ 0x006f_6464);
    let (at_ms, for_ms) = (BEGINS_MS + random.below(12_000), random.below(3_000));
    let (host, purged) = (random.below(replicas as u64) as usize, random.below(2) == 0);
    Fault { at_ms, for_ms, kind: Kind::Odd { host, purged } }
}

/// On one host or, in half of the seeds, on two.
fn decay(seed: u64, replicas: usize) -> Fault {
    let random = Random::from_seed(seed ^ 0x6465_6361_7973);
    let (at_ms, first) = (BEGINS_MS + random.below(12_000), random.below(replicas as u64) as usize);
    let other = (first + 1 + random.below(replicas as u64 - 1) as usize) % replicas;
    let hosts = if random.below(2) == 0 { vec![first, other] } else { vec![first] };
    Fault { at_ms, for_ms: 0, kind: Kind::Decay { passive: hosts.len() > 1, hosts } }
}

/// Two damaged disks of three are no lost majority only as long as both replicas run: whoever starts with one begins anew, and asks
/// nobody.
fn is_too_much_with(decay: &Kind, kind: &Kind, replicas: usize) -> bool {
    let Kind::Decay { hosts, .. } = decay else { return false };
    let is_harmless = matches!(
        kind,
        Kind::Split(..)
            | Kind::OneWay(..)
            | Kind::Deaf(_)
            | Kind::Bridge(..)
            | Kind::Flap(..)
            | Kind::Slow(_)
            | Kind::Reset(..)
            | Kind::Freeze(_)
            | Kind::SlowDisk(..)
            | Kind::Clock(..)
            | Kind::Transfer(_)
            | Kind::Compact(_)
            | Kind::Guest
    );
    2 * hosts.len() > replicas && !is_harmless
}

/// `met`: so many hosts are met by what meets one or two.
fn fault(random: &Random, kind: u64, replicas: usize, met: usize) -> Fault {
    let host = || random.below(met as u64) as usize;
    let other = |one: usize| (one + 1 + random.below(met as u64 - 1) as usize) % met;
    let group = || {
        let first = host();
        match replicas > 3 && random.below(2) == 0 {
            true => vec![first, other(first)],
            false => vec![first],
        }
    };
    let powered = || random.below(2) == 0;
    let loss = || if random.below(2) == 0 { Loss::Held } else { Loss::Lost };
    let for_ms = match random.below(3) {
        0 => 50 + random.below(400),
        1 => 300 + random.below(2_000),
        _ => 2_000 + random.below(5_000),
    };
    let kind = match kind {
        0 => Kind::Split(group(), loss()),
        1 => {
            let one = host();
            Kind::OneWay(one, other(one))
        }
        2 => Kind::Deaf(host()),
        3 => Kind::Bridge(random.below(replicas as u64) as usize, loss()),
        4 => Kind::Flap(group(), 50 + random.below(700), loss()),
        5 => Kind::Slow(5 + random.below(150)),
        6 => {
            let one = host();
            Kind::Reset(one, other(one))
        }
        7 | 8 => Kind::Crash(host(), powered()),
        9 => Kind::Blackout(powered()),
        10 => Kind::Freeze(host()),
        11 => Kind::SlowDisk(host(), 10 + random.below(400)),
        12 => Kind::FailSync(host()),
        13 => match random.below(2) {
            0 => Kind::FailWrite(host()),
            _ => Kind::FullDisk(host()),
        },
        14 => Kind::Clock(host(), random.below(20_000) as i64 - 10_000),
        15 => Kind::Transfer(host()),
        16 => Kind::Compact(host()),
        _ => Kind::NewDisk(host()),
    };
    Fault { at_ms: BEGINS_MS + random.below(ENDS_MS - BEGINS_MS - 1_000), for_ms, kind }
}
