//! What goes wrong in a cluster's run, and when: [`super::draw`] draws it from the seed. Pure.

use crate::sim::links::{HostId, Loss};

pub const REPLICAS: usize = 3;
pub const NODES: usize = 3;
/// The host of the user, behind the replicas and the nodes.
pub const USER: HostId = REPLICAS + NODES;
/// Where a further replica runs, and where a further node does. Only worlds in which somebody joins have these hosts.
pub const NEWCOMER: HostId = USER + 1;
pub const NEW_NODE: HostId = USER + 2;

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
    /// A further replica joins, is promoted once it is filled, and is removed in the end; where the run ends before that, it stays. At
    /// most one in a plan.
    Guest,
    /// A further replica takes a founder's place for good: it joins, is promoted, and the founder is removed. At most one in a plan, and
    /// not with a guest.
    Replace(HostId),
    /// A node is drained, switched off and deleted, and another one takes its place under another name. At most one in a plan.
    Relieve(HostId),
    /// No replica ever keeps more of the history than so many seconds and bytes. At most one in a plan.
    ShortHistory {
        seconds: u64,
        bytes: u64,
    },
}

/// What is wanted of a further replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub from_ms: u64,
    /// `None`: for good.
    pub to_ms: Option<u64>,
    /// The founder whose place it takes.
    pub replaces: Option<HostId>,
}

/// One of so many seeds keeps so little of the log: some seconds of a Deployment that rolls.
const SHORT_LOG_EVERY: u64 = 4;
const SHORT_LOG_BYTES: u64 = 16 << 10;

impl Plan {
    /// A disk rots, and no damage may be left.
    pub fn decays(&self) -> bool {
        self.faults.iter().any(|fault| matches!(fault.kind, Kind::Decay(_)))
    }

    /// How much of the log is kept for those who lag, if that is little: whoever was away for a while is filled by a snapshot.
    pub fn log_bytes(&self) -> Option<u64> {
        (self.seed % SHORT_LOG_EVERY == 3).then_some(SHORT_LOG_BYTES)
    }

    /// How many seconds of the history are kept, and how many bytes, if that is little.
    pub fn history(&self) -> Option<(u64, u64)> {
        self.faults.iter().find_map(|fault| match fault.kind {
            Kind::ShortHistory { seconds, bytes } => Some((seconds, bytes)),
            _ => None,
        })
    }

    /// On each replica somebody follows all changes: where histories are short, or lost with those who are removed, none of them may
    /// have all in the end.
    pub fn has_scribes(&self) -> bool {
        self.history().is_some() || self.newcomer().is_some()
    }

    /// What is wanted of a further replica, if one is to join.
    pub fn newcomer(&self) -> Option<Wanted> {
        self.faults.iter().find_map(|fault| {
            let (from_ms, to_ms) = (fault.at_ms, fault.at_ms + fault.for_ms);
            match fault.kind {
                Kind::Guest => {
                    let to_ms = (to_ms < self.ends_ms).then_some(to_ms);
                    Some(Wanted { from_ms, to_ms, replaces: None })
                }
                Kind::Replace(founder) => Some(Wanted { from_ms, to_ms: None, replaces: Some(founder) }),
                _ => None,
            }
        })
    }

    /// From when on a replica is to be removed, and where it runs.
    pub fn leaves(&self) -> Option<(u64, HostId)> {
        let Wanted { from_ms, to_ms, replaces } = self.newcomer()?;
        match replaces {
            Some(founder) => Some((from_ms, founder)),
            None => to_ms.map(|to_ms| (to_ms, NEWCOMER)),
        }
    }

    /// From when on a node is to be relieved, and which.
    pub fn relieved(&self) -> Option<(u64, HostId)> {
        self.faults.iter().find_map(|fault| match fault.kind {
            Kind::Relieve(node) => Some((fault.at_ms, node)),
            _ => None,
        })
    }

    /// Those where a replica runs at some time.
    pub fn replicas(&self) -> Vec<HostId> {
        (0..REPLICAS).chain(self.newcomer().map(|_| NEWCOMER)).collect()
    }

    /// Those where an agent does.
    pub fn nodes(&self) -> Vec<HostId> {
        (REPLICAS..USER).chain(self.relieved().map(|_| NEW_NODE)).collect()
    }

    /// Where the members are in the end.
    pub fn settled(&self) -> Vec<HostId> {
        let removed = self.leaves().map(|(_, host)| host);
        self.replicas().into_iter().filter(|host| Some(*host) != removed).collect()
    }

    /// Without the fault that lets somebody join, nobody is ever there.
    pub fn has(&self, host: HostId) -> bool {
        match host {
            NEWCOMER => self.newcomer().is_some(),
            NEW_NODE => self.relieved().is_some(),
            _ => true,
        }
    }

    pub fn hosts(&self) -> usize {
        match (self.newcomer(), self.relieved()) {
            (_, Some(_)) => NEW_NODE + 1,
            (Some(_), None) => NEWCOMER + 1,
            (None, None) => USER + 1,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(faults: &[(u64, u64, Kind)]) -> Plan {
        let fault = |(at_ms, for_ms, kind): &(u64, u64, Kind)| Fault { at_ms: *at_ms, for_ms: *for_ms, kind: *kind };
        Plan { seed: 0, faults: faults.iter().map(fault).collect(), ends_ms: 30_000 }
    }

    #[test]
    fn what_flaps_begins_and_ends_in_turns() {
        let whole = plan(&[(7_000, 500, Kind::Flap(4, 100, Loss::Held))]);
        let cut = Plan { ends_ms: 7_450, ..whole.clone() };
        let turns = [(7_000, true), (7_100, false), (7_200, true), (7_300, false), (7_400, true)];
        assert_eq!(cut.moments(), turns.map(|(at, begins)| (at, 0, begins)), "all else ends with the run");
        assert_eq!(whole.moments().last(), Some(&(7_500, 0, false)));
    }

    #[test]
    fn who_joins_and_who_leaves_is_who_is_there_in_the_end() {
        let none = plan(&[(7_000, 500, Kind::Freeze(Who::Leader))]);
        assert_eq!(
            (none.newcomer(), none.leaves(), none.settled(), none.hosts()),
            (None, None, vec![0, 1, 2], USER + 1)
        );
        let guest = plan(&[(7_000, 500, Kind::Guest)]);
        assert_eq!((guest.leaves(), guest.settled()), (Some((7_500, NEWCOMER)), vec![0, 1, 2]));
        let stays = plan(&[(7_000, 23_000, Kind::Guest)]);
        assert_eq!((stays.leaves(), stays.settled()), (None, vec![0, 1, 2, NEWCOMER]));
        let replaced = plan(&[(7_000, 0, Kind::Replace(1))]);
        assert_eq!((replaced.leaves(), replaced.settled()), (Some((7_000, 1)), vec![0, 2, NEWCOMER]));
        assert_eq!((replaced.replicas(), replaced.hosts()), (vec![0, 1, 2, NEWCOMER], NEWCOMER + 1));
        let relieved = plan(&[(7_000, 0, Kind::Relieve(4)), (8_000, 0, Kind::Guest)]);
        assert_eq!((relieved.relieved(), relieved.nodes()), (Some((7_000, 4)), vec![3, 4, 5, NEW_NODE]));
        assert_eq!((relieved.hosts(), relieved.only(&[1]).hosts()), (NEW_NODE + 1, NEWCOMER + 1));
        let there = |plan: &Plan| [plan.has(USER), plan.has(NEWCOMER), plan.has(NEW_NODE)];
        assert_eq!(there(&relieved), [true, true, true]);
        assert_eq!(there(&relieved.only(&[0])), [true, false, true]);
        assert_eq!(there(&relieved.only(&[1])), [true, true, false]);
    }
}
