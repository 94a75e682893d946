//! What is to be done to the world for the faults of a plan, in the order of time. Pure.

use super::plan::{Fault, Host, Kind, Plan};
use crate::sim::links::Loss;

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
    LittleRoom(Host, bool),
    FailReads(Host, bool),
    Clock(Host, i64),
    Transfer(Host, Host),
    Compact(Host),
    NewDisk(Host),
    /// `passive`: a record that is read for no other reason than to see whether it is sound.
    Rot {
        host: Host,
        passive: bool,
    },
    TearNotes(Host, bool),
    RotNote(Host),
    /// As soon as it runs. What follows is driven by its fence.
    Odd(Host),
    /// With its next crash.
    LoseEnd(Host),
}

/// Between two starts after all have lost their power; whoever lost it first is the first to be back.
const BALLOT_APART_MS: u64 = 400;
/// How long before a leader is cut off it is made one.
const LEAD_MS: u64 = 300;
/// How long a host is away that is struck down once more.
pub const AGAIN_MS: u64 = 100;
/// By when those who were back first have elected one of them, if they can.
const LATE_MS: u64 = 3_000;

impl Plan {
    /// In the order of their times; those of one time in the order of their faults. Each with the number of its fault.
    pub fn actions(&self) -> Vec<(u64, usize, Action)> {
        let of = |(n, fault): (usize, &Fault)| self.expand(fault).into_iter().map(move |(at, action)| (at, n, action));
        let mut actions: Vec<_> = self.faults.iter().enumerate().flat_map(of).collect();
        actions.retain(|(at, ..)| *at <= self.ends_ms);
        actions.sort_by_key(|(at, ..)| *at);
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
            Kind::LittleRoom(host) => during(Action::LittleRoom(*host, true), Action::LittleRoom(*host, false)),
            Kind::FailReads(host) => during(Action::FailReads(*host, true), Action::FailReads(*host, false)),
            Kind::Clock(host, offset_ms) => during(Action::Clock(*host, *offset_ms), Action::Clock(*host, 0)),
            Kind::Transfer(to) => hosts.map(|host| (from, Action::Transfer(host, *to))).collect(),
            Kind::Compact(host) => vec![(from, Action::Compact(*host))],
            Kind::Ballot(first, by_ms) => {
                let hosts = 0..self.hosts();
                let turn = |host: Host| (host + self.replicas - first) % self.replicas;
                let slow = hosts.clone().map(|host| (from, Action::SlowDisk(host, *by_ms)));
                let crash = hosts.clone().map(|host| (to, Action::Crash(host, true)));
                let swift = hosts.clone().map(|host| (to, Action::SlowDisk(host, 0)));
                let boot = hosts.map(|host| (to + BALLOT_APART_MS * (1 + turn(host) as u64), Action::Boot(host)));
                slow.chain([(from, Action::Crash(*first, true))]).chain(crash).chain(swift).chain(boot).collect()
            }
            Kind::Overrule(host, back_ms, again_ms) => {
                let lead = hosts.map(|other| (from.saturating_sub(LEAD_MS), Action::Transfer(other, *host)));
                let pairs = self.across(&[*host]);
                let cut = during(Action::Cut(pairs.clone(), Loss::Lost), Action::Heal(pairs));
                let crash = (0..self.hosts()).map(|host| (to, Action::Crash(host, true)));
                let others = (0..self.hosts()).filter(|other| other != host);
                let boot = others.map(|other| (to + AGAIN_MS, Action::Boot(other)));
                let back = to + AGAIN_MS + back_ms;
                let again = [(back, Action::Boot(*host)), (back + again_ms, Action::Crash(*host, true))];
                let end = (back + again_ms + AGAIN_MS, Action::Boot(*host));
                lead.chain(cut).chain(crash).chain(boot).chain(again).chain([end]).collect()
            }
            Kind::Refill { host, again_ms, disk_ms } => {
                let others = hosts.filter(|other| other != host).map(|other| (to, Action::Compact(other)));
                let struck = to + again_ms;
                [(from, Action::Crash(*host, false))]
                    .into_iter()
                    .chain(others)
                    .chain([(to, Action::SlowDisk(*host, *disk_ms)), (to, Action::Boot(*host))])
                    .chain([(struck, Action::Crash(*host, true)), (struck, Action::SlowDisk(*host, 0))])
                    .chain([(struck + AGAIN_MS, Action::Boot(*host))])
                    .collect()
            }
            Kind::Rot(host) => vec![(from, Action::Rot { host: *host, passive: false })],
            Kind::Decay { hosts, passive } => {
                hosts.iter().map(|host| (from, Action::Rot { host: *host, passive: *passive })).collect()
            }
            Kind::TornNote(host) => {
                let heir = (host + 1) % self.replicas;
                let lead = hosts.map(|other| (from, Action::Transfer(other, heir)));
                let end = [(to, Action::Crash(*host, true)), (to, Action::TearNotes(*host, false))];
                let begin = [(from, Action::TearNotes(*host, true))].into_iter().chain(lead);
                begin.chain(end).chain([(to + AGAIN_MS, Action::Boot(*host))]).collect()
            }
            Kind::RotNote(host) => {
                vec![(from, Action::Crash(*host, true)), (from, Action::RotNote(*host)), (to, Action::Boot(*host))]
            }
            Kind::Odd { host, .. } => vec![(from, Action::Odd(*host))],
            Kind::LoseEnd(host) => {
                let lagging: Vec<Host> = (1..=self.replicas / 2).map(|on| (host + on) % self.replicas).collect();
                let pairs = self.across(&lagging);
                let cut = during(Action::Cut(pairs.clone(), Loss::Lost), Action::Heal(pairs));
                let crash = (0..self.hosts()).map(|host| (to, Action::Crash(host, true)));
                let swift = |at: &Host| at == host || lagging.contains(at);
                let boot = (0..self.hosts()).map(|at| {
                    let back = if swift(&at) { AGAIN_MS } else { LATE_MS };
                    (to + back, Action::Boot(at))
                });
                let boot: Vec<_> = boot.collect();
                cut.into_iter().chain([(to, Action::LoseEnd(*host))]).chain(crash).chain(boot).collect()
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_within_the_run_is_healed_or_ends_with_it() {
        for seed in 0..200 {
            let plan = Plan::new(seed);
            let actions = plan.actions();
            assert!(actions.is_sorted_by_key(|(at, ..)| *at));
            for (at, n, action) in &actions {
                if let Action::Cut(pairs, _) = action {
                    let heals = |action: &Action| matches!(action, Action::Heal(healed) if healed == pairs);
                    let healed = actions.iter().any(|(later, of, action)| later > at && of == n && heals(action));
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
