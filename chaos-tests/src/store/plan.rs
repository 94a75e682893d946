//! What goes wrong in a run, and when. [`super::draw`] draws it from the seed, [`super::actions`] says what is to be done
//! for it. Pure.

use raft::HistoryWindow;

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
    /// So much of the log is in memory; more is read from the disk for those who lag. `None`: as much as in production, which is
    /// all there is here.
    pub log_bytes: Option<usize>,
    /// Clients write in bursts now and then.
    pub is_crowded: bool,
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
    /// What grows is refused.
    LittleRoom(Host),
    /// Now and then one fails, and works when it is tried again.
    FailReads(Host),
    Clock(Host, i64),
    Transfer(Host),
    /// The log is purged up to what is applied: who lags needs a snapshot.
    Compact(Host),
    /// A new, empty disk.
    NewDisk(Host),
    /// A host is away until the others have purged their logs, so that it is filled with a snapshot once it is back;
    /// so long after that it is struck down again. Until then its disk is this slow.
    Refill {
        host: Host,
        again_ms: u64,
        disk_ms: u64,
    },
    /// While all disks are this slow, a host loses its power, and soon after all do: what was answered in between may have
    /// reached no platter.
    Ballot(Host, u64),
    /// A host is to lead, and is cut off: it cannot replicate what it takes. It loses its power, with all others; it is back so
    /// long after them, and gone again so long after that. If they have elected another one, its entries are overruled in between.
    Overrule(Host, u64, u64),
    /// A bit of one record turns over. Not where a disk is lost as well.
    Rot(Host),
    /// A bit of one record turns over on the disk of each of these hosts, which run on: they read all they have meanwhile, and are to
    /// begin anew, one after the other. Not where a disk is lost as well. `passive`: only records that nobody reads but for that, for
    /// who needs a damaged one stops at once.
    Decay {
        hosts: Vec<Host>,
        passive: bool,
    },
    /// All processes die, and one disk loses the end of what it had made durable; those who lagged are the first to be back, with
    /// that one: what it has forgotten they never had. Not where a disk is lost as well.
    LoseEnd(Host),
    /// Notes that are saved tear, and another one is to lead, so that votes are saved. Then the host loses its power, and what tears
    /// is what had not reached the platter by then. Nothing but these notes is damaged by it, and no disk is lost.
    TornNote(Host),
    /// A bit of a note turns over while its host is down. As with a torn one, nothing else is damaged.
    RotNote(Host),
    /// A replica applies a command wrongly. Once it is fenced the operator takes `for_ms` to give it an empty disk; `purged`: the
    /// others purge their logs meanwhile, so that it is filled with a snapshot. At most one in a plan. Not where a disk is lost as
    /// well, nor where logs are purged before: a leader that is odd and sends a snapshot makes others odd.
    Odd {
        host: Host,
        purged: bool,
    },
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

impl Plan {
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

    /// Whose state is made odd, how many milliseconds the operator takes, and whether the others purge their logs meanwhile.
    pub fn odd(&self) -> Option<(Host, u64, bool)> {
        self.faults.iter().find_map(|fault| match fault.kind {
            Kind::Odd { host, purged } => Some((host, fault.for_ms, purged)),
            _ => None,
        })
    }

    /// More than a note, which a replica makes good by itself.
    pub fn rots(&self) -> bool {
        self.decays() || self.faults.iter().any(|fault| matches!(fault.kind, Kind::Rot(_) | Kind::LoseEnd(_)))
    }

    /// Is what the disk of this host had made durable damaged, and more than a note of it?
    pub fn rots_at(&self, host: Host) -> bool {
        self.faults.iter().any(|fault| match &fault.kind {
            Kind::Rot(rotten) | Kind::LoseEnd(rotten) => *rotten == host,
            Kind::Decay { hosts, .. } => hosts.contains(&host),
            _ => false,
        })
    }

    /// May the replica of this host stop by itself once it runs? Its disk fails, its data or its state is damaged, or it is removed.
    /// All else it outlives.
    pub fn may_stop(&self, host: Host) -> bool {
        let fails = |fault: &Fault| match &fault.kind {
            Kind::FailSync(failing) | Kind::FailWrite(failing) | Kind::TornNote(failing) => *failing == host,
            Kind::Odd { host: odd, .. } => *odd == host,
            _ => false,
        };
        self.rots_at(host) || self.faults.iter().any(fails) || !self.settled().contains(&host)
    }

    /// May it be unable to start? Where what it reads and writes for that is refused, too.
    pub fn may_not_start(&self, host: Host) -> bool {
        let refuses = |fault: &Fault| match &fault.kind {
            Kind::FailReads(refusing) | Kind::FullDisk(refusing) => *refusing == host,
            _ => false,
        };
        self.may_stop(host) || self.faults.iter().any(refuses)
    }

    /// Replicas find damage while they run, and no damage may be left.
    pub fn decays(&self) -> bool {
        self.faults.iter().any(|fault| matches!(fault.kind, Kind::Decay { .. }))
    }
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
            kinds.extend(plan.faults.iter().map(Fault::name));
        }
        assert_eq!(kinds.len(), 31, "{kinds:?}");
    }

    #[test]
    fn where_a_note_is_damaged_no_disk_is_lost_and_nothing_else_rots() {
        let hurts = |fault: &Fault| matches!(fault.kind, Kind::TornNote(_) | Kind::RotNote(_));
        let plans: Vec<Plan> = (0..1000).map(Plan::new).filter(|plan| plan.faults.iter().any(hurts)).collect();
        assert!(plans.len() > 30, "{}", plans.len());
        for plan in plans {
            let loses = |fault: &Fault| matches!(fault.kind, Kind::NewDisk(_) | Kind::Odd { .. });
            assert!(!plan.rots() && !plan.faults.iter().any(loses), "seed {}: {:?}", plan.seed, plan.faults);
            assert_eq!(plan.faults.iter().filter(|fault| hurts(fault)).count(), 1, "seed {}", plan.seed);
        }
    }

    #[test]
    fn where_a_state_is_odd_no_disk_is_lost_no_log_purged_and_nobody_comes_or_goes() {
        let plans: Vec<Plan> = (0..200).map(Plan::new).filter(|plan| plan.odd().is_some()).collect();
        assert!(plans.len() > 10, "{}", plans.len());
        for plan in plans {
            let loses =
                |kind: &Kind| matches!(kind, Kind::NewDisk(_) | Kind::Rot(_) | Kind::Decay { .. } | Kind::LoseEnd(_));
            let purges = |kind: &Kind| matches!(kind, Kind::Compact(_) | Kind::Refill { .. });
            let moves = |kind: &Kind| matches!(kind, Kind::Guest | Kind::Replace(..));
            let is_bad = |fault: &Fault| loses(&fault.kind) || purges(&fault.kind) || moves(&fault.kind);
            assert!(!plan.faults.iter().any(is_bad), "seed {}: {:?}", plan.seed, plan.faults);
        }
    }

    #[test]
    fn where_disks_rot_under_those_who_run_no_other_disk_is_lost_and_of_two_in_three_neither_starts_anew() {
        let decays: Vec<Plan> = (0..1000).map(Plan::new).filter(Plan::decays).collect();
        assert!(decays.len() > 30, "{}", decays.len());
        let mut two_of_three = 0;
        for plan in decays {
            let kinds = || plan.faults.iter().map(|fault| &fault.kind);
            let loses = |kind: &Kind| matches!(kind, Kind::NewDisk(_) | Kind::Rot(_) | Kind::LoseEnd(_));
            assert!(!kinds().any(loses), "seed {}: {:?}", plan.seed, plan.faults);
            let two = |kind: &Kind| matches!(kind, Kind::Decay { hosts, passive: true } if hosts.len() == 2);
            if plan.replicas == 3 && kinds().any(two) {
                two_of_three += 1;
                let stops = |kind: &Kind| {
                    matches!(kind, Kind::Crash(..) | Kind::Blackout(_) | Kind::FailSync(_) | Kind::FailWrite(_))
                };
                assert!(!kinds().any(stops), "seed {}: {:?}", plan.seed, plan.faults);
            }
        }
        assert!(two_of_three > 5, "{two_of_three}");
    }

    #[test]
    fn a_plan_without_its_odd_state_has_none() {
        let odd = Fault { at_ms: 2, for_ms: 30, kind: Kind::Odd { host: 1, purged: true } };
        let other = Fault { at_ms: 1, for_ms: 0, kind: Kind::Freeze(0) };
        let plan = Plan { faults: vec![other, odd], ..Plan::calm(0) };
        let found = [&[0, 1][..], &[1], &[0]].map(|numbers| plan.only(numbers).odd());
        assert_eq!(found, [Some((1, 30, true)), Some((1, 30, true)), None]);
    }
}
