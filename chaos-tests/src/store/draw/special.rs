//! Faults that only some seeds have, so that what must come together does: each from random numbers of its own, unless it says
//! otherwise, so that all else is drawn as if it were not. Pure.

use proto::seam::Random;

use super::{BEGINS_MS, NOTE_EVERY, ROT_EVERY};
use crate::store::actions::AGAIN_MS;
use crate::store::plan::{Fault, First, Kind};

/// Of so many seeds one has a disk that hangs for longer than an answer is waited for, one has a disk of which reads fail, and one has
/// disks with little room.
pub const DISK_EVERY: u64 = 16;

/// From the numbers of the usual faults.
pub fn guest(random: &Random) -> Fault {
    let (at_ms, for_ms) = (BEGINS_MS + random.below(4_000), 3_000 + random.below(10_000));
    Fault { at_ms, for_ms, kind: Kind::Guest }
}

/// A record or a note with a bit that turns over, or a log that loses its end. From the numbers of the usual faults.
pub fn rot(random: &Random, seed: u64, replicas: usize) -> Vec<Fault> {
    let (at_ms, host) = (BEGINS_MS + random.below(9_000), random.below(replicas as u64) as usize);
    if !(seed / ROT_EVERY).is_multiple_of(2) {
        return vec![Fault { at_ms, for_ms: 150 + random.below(600), kind: Kind::LoseEnd(host) }];
    }
    let again = Fault { at_ms, for_ms: 100, kind: Kind::Crash(host, random.below(2) == 0) };
    if seed % NOTE_EVERY == NOTE_EVERY - 21 {
        return vec![Fault { kind: Kind::RotNote(host), ..again }];
    }
    // Read when the replica starts again, if not before.
    let rot = Fault { at_ms, for_ms: 0, kind: Kind::Rot(host) };
    vec![rot, Fault { at_ms: at_ms + random.below(3_000), ..again }]
}

pub fn replaced(seed: u64, replicas: usize) -> Fault {
    let random = Random::from_seed(seed ^ 0x7265_706c_6163_6564);
    let (at_ms, founder) = (BEGINS_MS + random.below(8_000), random.below(replicas as u64) as usize);
    let first = if random.below(2) == 0 { First::Join } else { First::Leave };
    Fault { at_ms, for_ms: 0, kind: Kind::Replace(founder, first) }
}

pub fn overrule(seed: u64, replicas: usize) -> Fault {
    let random = Random::from_seed(seed ^ 0x6f76_6572_7275_6c65);
    let (at_ms, for_ms) = (BEGINS_MS + random.below(12_000), 100 + random.below(500));
    let host = random.below(replicas as u64) as usize;
    // The others need some 600 ms to elect one of them.
    let kind = Kind::Overrule(host, 400 + random.below(700), 20 + random.below(300));
    Fault { at_ms, for_ms, kind }
}

/// A guest, and a leader that is cut off while it carries out an order, which is overruled (see `operator.rs`): first it waits for a
/// follower that is deaf. The guest stays for longer than that.
pub fn overturn(seed: u64, replicas: usize) -> [Fault; 3] {
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

pub fn torn_note(seed: u64, replicas: usize) -> Fault {
    let random = Random::from_seed(seed ^ 0x746f_726e);
    let (at_ms, for_ms) = (BEGINS_MS + random.below(12_000), 50 + random.below(1_500));
    Fault { at_ms, for_ms, kind: Kind::TornNote(random.below(replicas as u64) as usize) }
}

pub fn ballot(seed: u64, replicas: usize) -> Fault {
    let random = Random::from_seed(seed ^ 0x6261_6c6c_6f74);
    let (at_ms, for_ms) = (BEGINS_MS + random.below(12_000), 20 + random.below(400));
    let kind = Kind::Ballot(random.below(replicas as u64) as usize, 100 + random.below(400));
    Fault { at_ms, for_ms, kind }
}

pub fn disk_trouble(seed: u64, replicas: usize) -> Vec<Fault> {
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

pub fn refill(seed: u64, replicas: usize) -> Fault {
    let random = Random::from_seed(seed ^ 0x7265_6669_6c6c);
    let (at_ms, for_ms) = (BEGINS_MS + random.below(9_000), 300 + random.below(2_500));
    let (host, again_ms) = (random.below(replicas as u64) as usize, random.below(AGAIN_MS * 8));
    let disk_ms = if random.below(2) == 0 { random.below(AGAIN_MS * 2) } else { 0 };
    Fault { at_ms, for_ms, kind: Kind::Refill { host, again_ms, disk_ms } }
}

pub fn odd(seed: u64, replicas: usize) -> Fault {
    let random = Random::from_seed(seed ^ 0x006f_6464);
    let (at_ms, for_ms) = (BEGINS_MS + random.below(12_000), random.below(3_000));
    let (host, purged) = (random.below(replicas as u64) as usize, random.below(2) == 0);
    Fault { at_ms, for_ms, kind: Kind::Odd { host, purged } }
}

/// On one host or, in half of the seeds, on two.
pub fn decay(seed: u64, replicas: usize) -> Fault {
    let random = Random::from_seed(seed ^ 0x6465_6361_7973);
    let (at_ms, first) = (BEGINS_MS + random.below(12_000), random.below(replicas as u64) as usize);
    let other = (first + 1 + random.below(replicas as u64 - 1) as usize) % replicas;
    let hosts = if random.below(2) == 0 { vec![first, other] } else { vec![first] };
    Fault { at_ms, for_ms: 0, kind: Kind::Decay { passive: hosts.len() > 1, hosts } }
}

/// Two damaged disks of three are no lost majority only as long as both replicas run: whoever starts with one begins anew, and asks
/// nobody.
pub fn is_too_much_with(decay: &Kind, kind: &Kind, replicas: usize) -> bool {
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
