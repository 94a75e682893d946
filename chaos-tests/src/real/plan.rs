//! What goes wrong on real hosts, and when: an endless row of episodes, each drawn from the seed. Between two episodes all
//! is well again. Pure.

use proto::seam::Random;

use super::actions::{self, Action};

/// From 1 on, as `deploy/hosts.sh` counts them.
pub type Host = u64;

/// What an episode is drawn for.
#[derive(Clone, Copy, Debug)]
pub struct World {
    pub hosts: u64,
    /// The host whose replica has a small disk.
    pub small_disk: Option<Host>,
    /// Who led when the episode began: the favourite victim.
    pub leader: Host,
    /// Containers run on the hosts.
    pub engines: bool,
    /// Packets between two hosts can be dropped.
    pub links: bool,
}

impl World {
    /// Can a fault of this kind be made here?
    fn has(&self, kind: u64) -> bool {
        match kind {
            CUT | ONE_WAY | ISOLATE => self.links,
            FULL_DISK => self.small_disk.is_some(),
            _ => true,
        }
    }
}

pub type Fault = crate::fault::Fault<Kind>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Kill(Host),
    KillAll,
    /// Killed as soon as it is up again, so many times.
    RestartStorm(Host, u64),
    Freeze(Host),
    Cut(Host, Host),
    OneWay(Host, Host),
    Isolate(Host),
    Transfer(Host),
    /// The whole host, containers and all.
    SwitchOff(Host),
    FullDisk(Host),
    /// The write-ahead log lacks its end when the replica comes back.
    TornLog(Host, Tear, Then),
    /// Of a file of a replica that does not run, at so many thousandths of its length.
    FlippedBit(Host, File, u64),
    /// Of a file of a replica that runs. It is killed at the end, and reads by then what it did not need before.
    FlippedBeneath(Host, File, u64),
}

/// So many bytes at the end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tear {
    /// The file has become shorter.
    Cut(u64),
    /// It is as long as it was, and has nothing there, from a sector on.
    Empty(u64),
}

/// What comes after a log was torn. Nothing may be lost by it: the leader's disk is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Nothing,
    /// The torn replica is back at once, and so long after it the leader (this one) is killed: there is an election before
    /// the log is filled again.
    LeaderDies(Host, u64),
    /// The same, and the others were cut off before: what was acknowledged then, only the leader still has.
    OthersLag(Host, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// RocksDB's own log, the newest one.
    Log,
    /// The newest file of rows.
    Table,
    /// Which files the database is made of.
    Manifest,
    /// Which of the manifests counts.
    Current,
    /// The copy of the vote.
    Vote,
    /// How far the log was durable.
    Mark,
}

/// Those that are small, and that all else hangs on.
const SMALL: [File; 4] = [File::Manifest, File::Current, File::Vote, File::Mark];
const ANY: [File; 6] = [File::Log, File::Table, File::Manifest, File::Current, File::Vote, File::Mark];

pub struct Episode {
    pub number: u64,
    pub faults: Vec<Fault>,
}

const KINDS: u64 = 16;
const CUT: u64 = 5;
const ONE_WAY: u64 = 6;
const ISOLATE: u64 = 7;
const SWITCH_OFF: u64 = 9;
const FULL_DISK: u64 = 10;
/// What is done to a replica's files takes what it acknowledged from it. Together with another fault that may be more
/// than a majority can make good, so these come alone.
const ALONE: [u64; 5] = [11, 12, 13, 14, 15];
const BEGINS_MS_MAX: u64 = 3_000;
/// So much of a log is torn off: within the last record, or some dozens of them.
const TORN_BYTES_MAX: [u64; 2] = [400, 48_000];
/// The leader is killed so long after a replica with a torn log was started, which takes up to half of that.
const LEADER_DIES_MS_MAX: u64 = 600;
/// Containers on a node that is silent are given up after nine seconds: half of the hosts that go take longer.
const AWAY_MS: (u64, u64) = (10_000, 8_000);

impl Episode {
    /// Every kind that this world has, has come up as the first of an episode after as many episodes as there are kinds in it.
    pub fn draw(seed: u64, number: u64, world: &World) -> Episode {
        let there = (0..KINDS).filter(|kind| world.has(*kind)).count() as u64;
        let first = deck(seed, number / there, world)[(number % there) as usize];
        let random = Random::from_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x7265_616c);
        // Where containers run, it begins with a host that is away until they are given up there.
        let is_away = world.engines && number == 0;
        let mut kinds = vec![first];
        if !is_away && !ALONE.contains(&first) {
            let more = (0..random.below(3)).map(|_| random.below(KINDS - ALONE.len() as u64));
            kinds.extend(more.filter(|kind| world.has(*kind)));
        }
        let mut faults: Vec<Fault> = kinds.into_iter().filter_map(|kind| fault(&random, kind, world)).collect();
        if is_away {
            faults[0].for_ms = AWAY_MS.0 + random.below(AWAY_MS.1);
        }
        faults.sort_by_key(|fault| fault.at_ms);
        Episode { number, faults }
    }

    /// In the order of their times.
    pub fn actions(&self, hosts: u64) -> Vec<(u64, Action)> {
        let mut actions: Vec<(u64, Action)> = self.faults.iter().flat_map(|fault| actions::of(fault, hosts)).collect();
        actions.sort_by_key(|(at, _)| *at);
        actions
    }
}

/// The kinds that this world has, in an order of the seed's own, another one for each round through them.
fn deck(seed: u64, round: u64, world: &World) -> Vec<u64> {
    let random = Random::from_seed(seed.wrapping_add(round) ^ 0x6465_636b);
    let mut kinds: Vec<u64> = (0..KINDS).collect();
    for last in (1..kinds.len()).rev() {
        kinds.swap(last, random.below(last as u64 + 1) as usize);
    }
    if world.engines && round == 0 {
        let place = kinds.iter().position(|kind| *kind == SWITCH_OFF);
        kinds.swap(0, place.expect("every kind is there"));
    }
    kinds.retain(|kind| world.has(*kind));
    kinds
}

fn fault(random: &Random, kind: u64, world: &World) -> Option<Fault> {
    let any = || 1 + random.below(world.hosts);
    let victim = || {
        let drawn = any();
        if random.below(2) == 0 { world.leader } else { drawn }
    };
    let other = |one: Host| (one + random.below(world.hosts - 1)) % world.hosts + 1;
    let at_ms = random.below(BEGINS_MS_MAX);
    let for_ms = match random.below(3) {
        _ if kind == SWITCH_OFF && world.engines && random.below(2) == 0 => AWAY_MS.0 + random.below(AWAY_MS.1),
        0 => 100 + random.below(900),
        _ => 1_000 + random.below(5_000),
    };
    let kind = match kind {
        0 | 1 => Kind::Kill(victim()),
        2 => Kind::KillAll,
        3 => Kind::RestartStorm(victim(), 2 + random.below(4)),
        4 => Kind::Freeze(victim()),
        CUT => {
            let one = victim();
            Kind::Cut(one, other(one))
        }
        ONE_WAY => {
            let one = victim();
            Kind::OneWay(one, other(one))
        }
        ISOLATE => Kind::Isolate(victim()),
        8 => Kind::Transfer(any()),
        SWITCH_OFF => Kind::SwitchOff(victim()),
        FULL_DISK => Kind::FullDisk(world.small_disk?),
        11 => torn_log(random, world),
        12 => Kind::FlippedBit(any(), File::Log, random.below(1_000)),
        13 => Kind::FlippedBit(any(), File::Table, random.below(1_000)),
        14 => Kind::FlippedBit(any(), SMALL[random.below(SMALL.len() as u64) as usize], random.below(1_000)),
        _ => Kind::FlippedBeneath(victim(), ANY[random.below(ANY.len() as u64) as usize], random.below(1_000)),
    };
    Some(Fault { at_ms, for_ms, kind })
}

fn torn_log(random: &Random, world: &World) -> Kind {
    let bytes = 1 + random.below(TORN_BYTES_MAX[random.below(2) as usize]);
    let (leader, after_ms) = (world.leader, random.below(LEADER_DIES_MS_MAX));
    let follower = (leader + random.below(world.hosts - 1)) % world.hosts + 1;
    let tear = if random.below(2) == 0 { Tear::Cut(bytes) } else { Tear::Empty(bytes) };
    match random.below(4) {
        0 => Kind::TornLog(follower, tear, Then::LeaderDies(leader, after_ms)),
        1 if world.links => Kind::TornLog(follower, tear, Then::OthersLag(leader, after_ms)),
        1 => Kind::TornLog(follower, tear, Then::LeaderDies(leader, after_ms)),
        _ => Kind::TornLog(1 + random.below(world.hosts), tear, Then::Nothing),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
