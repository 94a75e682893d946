//! The faults that any seed may have, all of them from one row of random numbers. Pure.

use proto::seam::Random;

use super::{BEGINS_MS, ENDS_MS};
use crate::sim::links::Loss;
use crate::store::plan::{Fault, Kind};

const FAULTS: (u64, u64) = (3, 12);
const KINDS: u64 = 18;

/// `met`: so many hosts are met by what meets one or two.
pub fn faults(random: &Random, replicas: usize, met: usize) -> Vec<Fault> {
    let count = FAULTS.0 + random.below(FAULTS.1 - FAULTS.0);
    // Some seeds have faults of one favourite kind, which find each other more often.
    let favourite = (random.below(3) == 0).then(|| random.below(KINDS));
    let mut faults: Vec<Fault> = (0..count)
        .map(|_| {
            let drawn = random.below(KINDS);
            let kind = favourite.filter(|_| random.below(2) == 0).unwrap_or(drawn);
            fault(random, kind, replicas, met)
        })
        .collect();
    // Two lost disks may be a lost majority, which is nothing that a store could survive.
    let mut new_disks = 0;
    faults.retain(|fault| {
        new_disks += u32::from(matches!(fault.kind, Kind::NewDisk(_)));
        !matches!(fault.kind, Kind::NewDisk(_)) || new_disks == 1
    });
    faults
}

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
