//! What goes wrong in a cluster's run, and when: drawn from the seed. Pure.

use proto::seam::Random;

use crate::sim::links::{HostId, Loss};

pub const REPLICAS: usize = 3;
pub const NODES: usize = 3;
/// The host of the user, behind the replicas and the nodes.
pub const USER: HostId = REPLICAS + NODES;

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub faults: Vec<Fault>,
    /// When all faults have ended.
    pub ends_ms: u64,
}

pub type Fault = crate::fault::Fault<Kind>;

/// Whom it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Whichever replica leads when it begins.
    Leader,
    /// A replica or a node.
    Host(HostId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The process dies; with its machine, if that loses its power, and on a node with its containers.
    Crash(Who, bool),
    Freeze(Who),
    /// It hears nobody and nobody hears it.
    CutOff(Who, Loss),
    /// It hears nobody, though all hear it.
    Deaf(Who),
    Transfer(HostId),
    /// No call to the node's container engine returns.
    EngineHangs(HostId),
    Slow(u64),
    Clock(Who, i64),
    /// Its connections with every other host break, once.
    Reset(Who),
    /// Of a replica.
    SlowDisk(HostId, u64),
    FullDisk(HostId),
    FailSync(HostId),
    FailWrite(HostId),
    /// Nothing goes from the first to the second.
    OneWay(HostId, HostId),
    /// The two other replicas do not hear each other, and all else does.
    Bridge(HostId, Loss),
    /// It is cut off and back again, for so many milliseconds each.
    Flap(HostId, u64, Loss),
    /// A replica's log is purged up to what is applied: who lags needs a snapshot.
    Compact(HostId),
    /// A bit of one record turns over on a replica's disk while it runs: it reads all it has meanwhile, and begins anew. At most one
    /// in a plan.
    Decay(Who),
}

const BEGINS_MS: u64 = 6_000;
const ENDS_MS: u64 = 30_000;
const FAULTS: (u64, u64) = (3, 9);
/// One of so many seeds has a disk that rots.
const DECAY_EVERY: u64 = 4;
/// One of so many seeds keeps so little of the log: some seconds of a Deployment that rolls.
const SHORT_LOG_EVERY: u64 = 4;
const SHORT_LOG_BYTES: u64 = 16 << 10;
/// On top of those, of the kinds that break links and disks.
const BREAKS: (u64, u64) = (0, 4);

impl Plan {
    pub fn new(seed: u64) -> Plan {
        let random = Random::from_seed(seed ^ 0x0063_6c75_7374_6572);
        let count = FAULTS.0 + random.below(FAULTS.1 - FAULTS.0);
        let mut faults: Vec<Fault> = (0..count).map(|_| fault(&random)).collect();
        let random = Random::from_seed(seed ^ 0x6272_6561_6b73);
        let count = BREAKS.0 + random.below(BREAKS.1 - BREAKS.0);
        faults.extend((0..count).map(|_| broken(&random)));
        faults.extend((seed % DECAY_EVERY == 1).then(|| decay(seed)));
        faults.sort_by_key(|fault| fault.at_ms);
        Plan { seed, faults, ends_ms: ENDS_MS }
    }

    /// A disk rots, and no damage may be left.
    pub fn decays(&self) -> bool {
        self.faults.iter().any(|fault| matches!(fault.kind, Kind::Decay(_)))
    }

    /// How much of the log is kept for those who lag, if that is little: whoever was away for a while is filled by a snapshot.
    pub fn log_bytes(&self) -> Option<u64> {
        (self.seed % SHORT_LOG_EVERY == 3).then_some(SHORT_LOG_BYTES)
    }

    /// Only the faults with these numbers.
    pub fn only(&self, numbers: &[usize]) -> Plan {
        let faults = numbers.iter().filter_map(|n| self.faults.get(*n)).cloned().collect();
        Plan { faults, ..self.clone() }
    }

    /// When each fault, by its number, begins (`true`) and ends. One that flaps does both again and again.
    pub fn moments(&self) -> Vec<(u64, usize, bool)> {
        let of = |(n, fault): (usize, &Fault)| {
            let (from, to) = (fault.at_ms, fault.at_ms + fault.for_ms);
            match fault.kind {
                Kind::Flap(_, period_ms, _) => (from..to)
                    .step_by(2 * period_ms as usize)
                    .flat_map(|at| [(at, n, true), (at + period_ms, n, false)])
                    .collect(),
                _ => vec![(from, n, true), (to, n, false)],
            }
        };
        let mut moments: Vec<_> = self.faults.iter().enumerate().flat_map(of).collect();
        moments.retain(|(at, ..)| *at <= self.ends_ms);
        moments.sort_unstable();
        moments
    }
}

fn fault(random: &Random) -> Fault {
    let replica = || random.below(REPLICAS as u64) as usize;
    let node = || REPLICAS + random.below(NODES as u64) as usize;
    let either = || random.below(2) == 0;
    let loss = || if either() { Loss::Held } else { Loss::Lost };
    // Half of what meets a replica meets the leader.
    let someone = || match random.below(4) {
        0 => Who::Leader,
        1 => Who::Host(replica()),
        _ => Who::Host(node()),
    };
    let kind = match random.below(16) {
        0 => Kind::Crash(Who::Leader, either()),
        1 | 2 => Kind::Crash(Who::Host(node()), either()),
        3 => Kind::Crash(someone(), either()),
        4 => Kind::Freeze(Who::Leader),
        5 => Kind::Freeze(someone()),
        6 => Kind::CutOff(Who::Leader, loss()),
        7 => Kind::CutOff(someone(), loss()),
        8 => Kind::Deaf(someone()),
        9 => Kind::Transfer(replica()),
        10 => Kind::EngineHangs(node()),
        11 => Kind::Slow(5 + random.below(100)),
        12 => Kind::Clock(someone(), random.below(8_000) as i64 - 4_000),
        13 => Kind::Reset(someone()),
        14 => Kind::SlowDisk(replica(), 10 + random.below(300)),
        _ => Kind::FullDisk(replica()),
    };
    timed(random, kind)
}

fn broken(random: &Random) -> Fault {
    let replica = || random.below(REPLICAS as u64) as usize;
    let host = || random.below(USER as u64) as usize;
    let loss = || if random.below(2) == 0 { Loss::Held } else { Loss::Lost };
    let kind = match random.below(6) {
        0 => Kind::FailSync(replica()),
        1 => Kind::FailWrite(replica()),
        2 => {
            let one = host();
            Kind::OneWay(one, (one + 1 + random.below(USER as u64 - 1) as usize) % USER)
        }
        3 => Kind::Bridge(replica(), loss()),
        4 => Kind::Flap(host(), 50 + random.below(1_000), loss()),
        _ => Kind::Compact(replica()),
    };
    timed(random, kind)
}

fn decay(seed: u64) -> Fault {
    let random = Random::from_seed(seed ^ 0x6465_6361_7973);
    let who = match random.below(2) {
        0 => Who::Leader,
        _ => Who::Host(random.below(REPLICAS as u64) as usize),
    };
    Fault { for_ms: 0, ..timed(&random, Kind::Decay(who)) }
}

/// At some time, for some time.
fn timed(random: &Random, kind: Kind) -> Fault {
    let for_ms = match random.below(3) {
        0 => 50 + random.below(1_000),
        1 => 1_000 + random.below(4_000),
        _ => 4_000 + random.below(12_000),
    };
    Fault { at_ms: BEGINS_MS + random.below(ENDS_MS - BEGINS_MS - 2_000), for_ms, kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_has_the_same_plan_and_all_kinds_come_up() {
        let mut kinds = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let plan = Plan::new(seed);
            assert_eq!(plan.faults, Plan::new(seed).faults);
            assert!(plan.moments().is_sorted());
            kinds.extend(
                plan.faults.iter().map(|fault| std::mem::discriminant(&fault.kind)).map(|it| format!("{it:?}")),
            );
        }
        assert_eq!(kinds.len(), 18, "{kinds:?}");
    }

    #[test]
    fn what_flaps_begins_and_ends_in_turns() {
        let fault = Fault { at_ms: 7_000, for_ms: 500, kind: Kind::Flap(4, 100, Loss::Held) };
        let plan = Plan { seed: 0, faults: vec![fault.clone()], ends_ms: 7_450 };
        let turns = [(7_000, true), (7_100, false), (7_200, true), (7_300, false), (7_400, true)];
        assert_eq!(plan.moments(), turns.map(|(at, begins)| (at, 0, begins)), "all else ends with the run");
        let whole = Plan { ends_ms: 30_000, ..plan };
        assert_eq!(whole.moments().last(), Some(&(7_500, 0, false)));
    }
}
