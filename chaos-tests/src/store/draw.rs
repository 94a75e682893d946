//! A plan drawn from a seed: `usual` has the faults that any seed may have, `special` those that only some have, `keeping` what the
//! replicas keep. Whoever adds a fault draws it from random numbers of its own: what seeds have found is told by their numbers. Pure.

mod keeping;
mod special;
mod usual;

use proto::seam::Random;

use super::plan::{Fault, First, Host, Kind, Plan};

const BEGINS_MS: u64 = 3_000;
const ENDS_MS: u64 = 20_000;
/// One of so many seeds has a guest.
const GUEST_EVERY: u64 = 5;
/// One of so many seeds has a founder replaced. Never one with a guest.
const REPLACE_EVERY: u64 = 5;
/// One of so many seeds has a disk that rots, or loses the end of its log, unless another one is lost.
const ROT_EVERY: u64 = 4;
/// One of so many seeds, all of them with a bit that would turn over in a record, has it in a note.
const NOTE_EVERY: u64 = 32;
/// One of so many seeds, but none of those with a disk that rots, has notes that tear, unless a disk is lost.
const TORN_EVERY: u64 = 16;
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

impl Plan {
    pub fn new(seed: u64) -> Plan {
        let random = Random::from_seed(seed ^ 0x6661_756c_7473);
        let replicas = if random.below(4) == 0 { 5 } else { 3 };
        let replaced = (seed % REPLACE_EVERY == REPLACE_EVERY - 3).then(|| special::replaced(seed, replicas));
        let met = replicas + usize::from(replaced.is_some());
        let mut faults = usual::faults(&random, replicas, met);
        let loses_disk = faults.iter().any(|fault| matches!(fault.kind, Kind::NewDisk(_)));
        let has_guest = seed % GUEST_EVERY == GUEST_EVERY - 1;
        faults.extend(has_guest.then(|| special::guest(&random)));
        if seed % OVERTURN_EVERY == OVERTURN_EVERY - 36 {
            faults.retain(|fault| fault.kind != Kind::Guest);
            faults.extend(special::overturn(seed, replicas));
        }
        if seed % ROT_EVERY == ROT_EVERY - 1 && !loses_disk {
            faults.extend(special::rot(&random, seed, replicas));
        }
        faults.extend((seed % BALLOT_EVERY == BALLOT_EVERY - 2).then(|| special::ballot(seed, replicas)));
        faults.extend(seed.is_multiple_of(CROWD_EVERY).then(|| special::overrule(seed, replicas)));
        faults.extend((seed % REFILL_EVERY == REFILL_EVERY - 3).then(|| special::refill(seed, replicas)));
        if seed % DECAY_EVERY == DECAY_EVERY - 6 && !loses_disk {
            let decay = special::decay(seed, replicas);
            faults.retain(|fault| !special::is_too_much_with(&decay.kind, &fault.kind, replicas));
            faults.push(decay);
        }
        faults.extend(special::disk_trouble(seed, replicas));
        faults.extend((seed % TORN_EVERY == TORN_EVERY - 3 && !loses_disk).then(|| special::torn_note(seed, replicas)));
        if seed % ODD_EVERY == ODD_EVERY - 4 && replaced.is_none() && !has_guest {
            // Two lost disks again; and a snapshot of an odd leader's would be a second odd state.
            faults.retain(|fault| !matches!(fault.kind, Kind::NewDisk(_) | Kind::Compact(_)));
            faults.push(special::odd(seed, replicas));
        }
        if let Some(Fault { kind: Kind::Replace(founder, First::Leave), .. }) = replaced {
            lose_only_his(founder, &mut faults);
        }
        faults.extend(replaced);
        faults.sort_by_key(|fault| fault.at_ms);
        Plan {
            seed,
            replicas,
            windows: keeping::windows(seed, met),
            save_ms: keeping::save_ms(seed),
            log_bytes: keeping::log_bytes(seed),
            is_crowded: seed.is_multiple_of(CROWD_EVERY) || seed % special::DISK_EVERY == 2,
            faults,
            ends_ms: ENDS_MS,
        }
    }

    /// Nothing goes wrong.
    pub fn calm(seed: u64) -> Plan {
        let (windows, faults) = Default::default();
        let save_ms = keeping::SAVE_MS;
        Plan { seed, replicas: 3, windows, save_ms, log_bytes: None, is_crowded: false, faults, ends_ms: 0 }
    }
}

/// While a founder is gone and nobody has taken his place, one lost disk of the others may be a lost majority: his is lost instead.
fn lose_only_his(founder: Host, faults: &mut [Fault]) {
    for fault in faults {
        if let Kind::NewDisk(host) | Kind::Rot(host) | Kind::LoseEnd(host) = &mut fault.kind {
            *host = founder;
        }
        if let Kind::Decay { hosts, .. } = &mut fault.kind {
            *hosts = vec![founder];
        }
    }
}
