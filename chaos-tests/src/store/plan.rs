//! What goes wrong in a run, and when: drawn from the seed, and reduced to the faults that matter. Pure.

use std::time::Duration;

use proto::seam::Random;
use raft::{HistoryWindow, Timing};

use crate::sim::links::Loss;

pub type Host = usize;

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub replicas: usize,
    /// How much history the replica of each host keeps. Empty: as much as in production, which is never trimmed here.
    pub windows: Vec<HistoryWindow>,
    /// Objects are saved this often.
    pub save_ms: u64,
    pub faults: Vec<Fault>,
    /// When all faults have ended.
    pub ends_ms: u64,
}

pub type Fault = crate::fault::Fault<Kind>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Those in the first group hear nothing of the others, nor the others of them.
    Split(Vec<Host>, Loss),
    OneWay(Host, Host),
    /// One host hears nobody, though all hear it.
    Deaf(Host),
    /// Two halves that only this host hears both of.
    Bridge(Host, Loss),
    /// A split that comes and goes.
    Flap(Vec<Host>, u64, Loss),
    Slow(u64),
    Reset(Host, Host),
    /// The process dies; with its machine, if that loses its power.
    Crash(Host, bool),
    /// Everybody at once.
    Blackout(bool),
    Freeze(Host),
    SlowDisk(Host, u64),
    FailSync(Host),
    FailWrite(Host),
    FullDisk(Host),
    Clock(Host, i64),
    Transfer(Host),
    /// The log is purged up to what is applied: who lags needs a snapshot.
    Compact(Host),
    /// A new, empty disk.
    NewDisk(Host),
    /// A host is away until the others have purged their logs, so that it is filled with a snapshot once it is back;
    /// so long after that it is struck down again.
    Refill(Host, u64),
    /// A bit of one record turns over. Not where a disk is lost as well.
    Rot(Host),
    /// A new replica joins, is promoted once it is filled, and is removed in the end. At most one in a plan.
    Guest,
    /// A new replica takes a founder's place for good. At most one in a plan, and not with a guest.
    Replace(Host, First),
}

/// What comes first when a replica takes another one's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// The new one is promoted, then the old one removed.
    Join,
    Leave,
}

/// One thing to do to the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Cut(Vec<(Host, Host)>, Loss),
    Heal(Vec<(Host, Host)>),
    Slow(u64),
    Reset(Host, Host),
    Crash(Host, bool),
    Boot(Host),
    Freeze(Host),
    Thaw(Host),
    SlowDisk(Host, u64),
    FailSync(Host, bool),
    FailWrite(Host, bool),
    FullDisk(Host, bool),
    Clock(Host, i64),
    Transfer(Host, Host),
    Compact(Host),
    NewDisk(Host),
    Rot(Host),
}

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
/// From then on that a host was struck down once more.
const REFILL_AGAIN_MS: u64 = 100;
const WINDOW_MS: (u64, u64) = (300, 6_000);
/// One of so many seeds has a disk that rots, unless another one is lost.
const ROT_EVERY: u64 = 4;
/// One of so many seeds, but none of those, has a host that is filled and struck down again.
const REFILL_EVERY: u64 = 4;

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
        if seed % ROT_EVERY == ROT_EVERY - 1 && new_disks == 0 {
            let (at_ms, host) = (BEGINS_MS + random.below(9_000), random.below(replicas as u64) as usize);
            // Read when the replica starts again, if not before.
            faults.push(Fault { at_ms, for_ms: 0, kind: Kind::Rot(host) });
            let again = Kind::Crash(host, random.below(2) == 0);
            faults.push(Fault { at_ms: at_ms + random.below(3_000), for_ms: 100, kind: again });
        }
        faults.extend((seed % REFILL_EVERY == REFILL_EVERY - 3).then(|| refill(seed, replicas)));
        // While a founder is gone and nobody has taken his place, one lost disk of the others may be a lost majority.
        if let Some(Fault { kind: Kind::Replace(founder, First::Leave), .. }) = replaced {
            for fault in &mut faults {
                if let Kind::NewDisk(host) | Kind::Rot(host) = &mut fault.kind {
                    *host = founder;
                }
            }
        }
        faults.extend(replaced);
        faults.sort_by_key(|fault| fault.at_ms);
        Plan { seed, replicas, windows: windows(seed, met), save_ms: save_ms(seed), faults, ends_ms: ENDS_MS }
    }

    /// Nothing goes wrong.
    pub fn calm(seed: u64) -> Plan {
        Plan { seed, replicas: 3, windows: Vec::new(), save_ms: SAVE_MS, faults: Vec::new(), ends_ms: 0 }
    }

    /// Only the faults with these numbers.
    pub fn only(&self, numbers: &[usize]) -> Plan {
        let faults = numbers.iter().filter_map(|n| self.faults.get(*n)).cloned().collect();
        Plan { faults, ..self.clone() }
    }

    /// From when to when a further replica is wanted. It gets the host behind all others.
    pub fn guest(&self) -> Option<(u64, u64)> {
        let guest = self.faults.iter().find(|fault| fault.kind == Kind::Guest)?;
        Some((guest.at_ms, (guest.at_ms + guest.for_ms).min(self.ends_ms)))
    }

    /// From when on a founder's place is to be taken, whose, and how. Whoever takes it gets the host behind all others.
    pub fn replaced(&self) -> Option<(u64, Host, First)> {
        self.faults.iter().find_map(|fault| match fault.kind {
            Kind::Replace(host, first) => Some((fault.at_ms, host, first)),
            _ => None,
        })
    }

    pub fn hosts(&self) -> usize {
        self.replicas + usize::from(self.guest().is_some() || self.replaced().is_some())
    }

    /// Where the members are in the end.
    pub fn settled(&self) -> Vec<Host> {
        let founder = self.replaced().map(|(_, founder, _)| founder);
        let mut hosts: Vec<Host> = (0..self.replicas).filter(|host| Some(*host) != founder).collect();
        hosts.extend(founder.map(|_| self.replicas));
        hosts
    }

    pub fn window(&self, host: Host) -> HistoryWindow {
        self.windows.get(host).cloned().unwrap_or_default()
    }

    pub fn rots(&self) -> bool {
        self.faults.iter().any(|fault| matches!(fault.kind, Kind::Rot(_)))
    }

    /// In the order of their times; those of one time in the order of their faults.
    pub fn actions(&self) -> Vec<(u64, Action)> {
        let mut actions: Vec<(u64, Action)> = self.faults.iter().flat_map(|fault| self.expand(fault)).collect();
        actions.retain(|(at, _)| *at <= self.ends_ms);
        actions.sort_by_key(|(at, _)| *at);
        actions
    }

    fn expand(&self, fault: &Fault) -> Vec<(u64, Action)> {
        let (from, to) = (fault.at_ms, fault.at_ms + fault.for_ms);
        let during = |begin, end| vec![(from, begin), (to, end)];
        let hosts = 0..self.replicas;
        match &fault.kind {
            Kind::Split(group, loss) => {
                let pairs = self.across(group);
                during(Action::Cut(pairs.clone(), *loss), Action::Heal(pairs))
            }
            Kind::OneWay(one, other) => {
                during(Action::Cut(vec![(*one, *other)], Loss::Lost), Action::Heal(vec![(*one, *other)]))
            }
            Kind::Deaf(host) => {
                let others = (0..self.hosts()).filter(|other| other != host);
                let pairs: Vec<_> = others.map(|other| (other, *host)).collect();
                during(Action::Cut(pairs.clone(), Loss::Lost), Action::Heal(pairs))
            }
            Kind::Bridge(host, loss) => {
                let half = self.replicas / 2;
                let side = |other: Host| (other + self.replicas - host - 1) % self.replicas < half;
                let apart = |one: &Host, other: &Host| one != host && other != host && side(*one) != side(*other);
                let all = hosts.clone().flat_map(|one| hosts.clone().map(move |other| (one, other)));
                let pairs: Vec<_> = all.filter(|(one, other)| apart(one, other)).collect();
                during(Action::Cut(pairs.clone(), *loss), Action::Heal(pairs))
            }
            Kind::Flap(group, period_ms, loss) => {
                let pairs = self.across(group);
                let times = (from..to).step_by(2 * *period_ms as usize);
                times
                    .flat_map(|at| {
                        [(at, Action::Cut(pairs.clone(), *loss)), (at + period_ms, Action::Heal(pairs.clone()))]
                    })
                    .collect()
            }
            Kind::Slow(by_ms) => during(Action::Slow(*by_ms), Action::Slow(0)),
            Kind::Reset(one, other) => vec![(from, Action::Reset(*one, *other))],
            Kind::Crash(host, powered) => during(Action::Crash(*host, *powered), Action::Boot(*host)),
            Kind::Blackout(powered) => {
                let hosts = 0..self.replicas + usize::from(self.replaced().is_some());
                let crash = hosts.clone().map(|host| (from, Action::Crash(host, *powered)));
                crash.chain(hosts.map(|host| (to + 100 * host as u64, Action::Boot(host)))).collect()
            }
            Kind::Freeze(host) => during(Action::Freeze(*host), Action::Thaw(*host)),
            Kind::SlowDisk(host, by_ms) => during(Action::SlowDisk(*host, *by_ms), Action::SlowDisk(*host, 0)),
            Kind::FailSync(host) => during(Action::FailSync(*host, true), Action::FailSync(*host, false)),
            Kind::FailWrite(host) => during(Action::FailWrite(*host, true), Action::FailWrite(*host, false)),
            Kind::FullDisk(host) => during(Action::FullDisk(*host, true), Action::FullDisk(*host, false)),
            Kind::Clock(host, offset_ms) => during(Action::Clock(*host, *offset_ms), Action::Clock(*host, 0)),
            Kind::Transfer(to) => hosts.map(|host| (from, Action::Transfer(host, *to))).collect(),
            Kind::Compact(host) => vec![(from, Action::Compact(*host))],
            Kind::Refill(host, again_ms) => {
                let others = hosts.filter(|other| other != host).map(|other| (to, Action::Compact(other)));
                let struck = to + again_ms;
                [(from, Action::Crash(*host, false))]
                    .into_iter()
                    .chain(others)
                    .chain([(to, Action::Boot(*host)), (struck, Action::Crash(*host, true))])
                    .chain([(struck + REFILL_AGAIN_MS, Action::Boot(*host))])
                    .collect()
            }
            Kind::Rot(host) => vec![(from, Action::Rot(*host))],
            // Driven by what stands in the membership.
            Kind::Guest | Kind::Replace(..) => Vec::new(),
            Kind::NewDisk(host) => {
                vec![(from, Action::Crash(*host, false)), (from, Action::NewDisk(*host)), (to, Action::Boot(*host))]
            }
        }
    }

    /// Both ways between a group and the rest.
    fn across(&self, group: &[Host]) -> Vec<(Host, Host)> {
        let rest = (0..self.hosts()).filter(|host| !group.contains(host));
        rest.flat_map(|other| group.iter().flat_map(move |one| [(*one, other), (other, *one)])).collect()
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

fn replaced(seed: u64, replicas: usize) -> Fault {
    let random = Random::from_seed(seed ^ 0x7265_706c_6163_6564);
    let (at_ms, founder) = (BEGINS_MS + random.below(8_000), random.below(replicas as u64) as usize);
    let first = if random.below(2) == 0 { First::Join } else { First::Leave };
    Fault { at_ms, for_ms: 0, kind: Kind::Replace(founder, first) }
}

fn refill(seed: u64, replicas: usize) -> Fault {
    let random = Random::from_seed(seed ^ 0x7265_6669_6c6c);
    let (at_ms, for_ms) = (BEGINS_MS + random.below(9_000), 300 + random.below(2_500));
    let kind = Kind::Refill(random.below(replicas as u64) as usize, random.below(REFILL_AGAIN_MS * 8));
    Fault { at_ms, for_ms, kind }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_has_the_same_plan_and_all_kinds_come_up() {
        let mut kinds = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let plan = Plan::new(seed);
            assert_eq!(plan.faults, Plan::new(seed).faults);
            kinds.extend(plan.faults.iter().map(|fault| {
                let text = format!("{:?}", fault.kind);
                text.split('(').next().map(str::to_owned)
            }));
        }
        assert_eq!(kinds.len(), 22, "{kinds:?}");
    }

    #[test]
    fn every_cut_within_the_run_is_healed_or_ends_with_it() {
        for seed in 0..200 {
            let plan = Plan::new(seed);
            let actions = plan.actions();
            assert!(actions.is_sorted_by_key(|(at, _)| *at));
            for (at, action) in &actions {
                if let Action::Cut(pairs, _) = action {
                    let healed = actions
                        .iter()
                        .any(|(later, action)| later > at && matches!(action, Action::Heal(healed) if healed == pairs));
                    let ends_late = plan.faults.iter().any(|fault| fault.at_ms + fault.for_ms + 700 > plan.ends_ms);
                    assert!(healed || ends_late, "seed {seed}: {action:?} at {at}");
                }
            }
        }
    }

    #[test]
    fn a_bridge_hears_both_sides() {
        let plan = Plan { replicas: 5, ..Plan::calm(0) };
        let fault = Fault { at_ms: 1, for_ms: 2, kind: Kind::Bridge(4, Loss::Held) };
        let Action::Cut(pairs, _) = &plan.expand(&fault)[0].1 else { panic!("a cut") };
        assert_eq!(pairs.len(), 8, "two by two, both ways: {pairs:?}");
        assert!(pairs.iter().all(|(one, other)| *one != 4 && *other != 4));
    }
}
