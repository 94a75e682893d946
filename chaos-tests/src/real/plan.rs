//! What goes wrong on real hosts, and when: an endless row of episodes, each drawn from the seed. Between two episodes all
//! is well again. Pure.

use proto::seam::Random;

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
    /// So many bytes are missing at the end of the write-ahead log when the replica comes back.
    TornLog(Host, u64),
    /// Of a file of the database, at so many thousandths of its length.
    FlippedBit(Host, File, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    Log,
    Table,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Kill(Host),
    Start(Host),
    Freeze(Host),
    Thaw(Host),
    /// No packet from the one reaches the other.
    Cut(Vec<(Host, Host)>),
    Mend(Vec<(Host, Host)>),
    Transfer(Host),
    SwitchOff(Host),
    Fill(Host),
    Free(Host),
    Tear(Host, u64),
    Flip(Host, File, u64),
}

pub struct Episode {
    pub number: u64,
    pub faults: Vec<Fault>,
}

const KINDS: u64 = 14;
/// What is done to a replica's files takes what it acknowledged from it. Together with another fault that may be more
/// than a majority can make good, so these come alone.
const ALONE: [u64; 3] = [11, 12, 13];
const BEGINS_MS_MAX: u64 = 3_000;
/// Between a kill and the start that follows, in a storm.
const STORM_MS: u64 = 700;
const FILL_EVERY_MS: u64 = 800;

impl Episode {
    /// Every kind has come up as the first of an episode after as many episodes as there are kinds.
    pub fn draw(seed: u64, number: u64, world: &World) -> Episode {
        let first = deck(seed, number / KINDS)[(number % KINDS) as usize];
        let random = Random::from_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x7265_616c);
        let mut kinds = vec![first];
        if !ALONE.contains(&first) {
            let more = (0..random.below(3)).map(|_| random.below(KINDS - ALONE.len() as u64));
            kinds.extend(more);
        }
        let mut faults: Vec<Fault> = kinds.into_iter().filter_map(|kind| fault(&random, kind, world)).collect();
        faults.sort_by_key(|fault| fault.at_ms);
        Episode { number, faults }
    }

    /// In the order of their times.
    pub fn actions(&self, hosts: u64) -> Vec<(u64, Action)> {
        let mut actions: Vec<(u64, Action)> = self.faults.iter().flat_map(|fault| fault.expand(hosts)).collect();
        actions.sort_by_key(|(at, _)| *at);
        actions
    }
}

/// The kinds in an order of the seed's own, another one for each round through them.
fn deck(seed: u64, round: u64) -> Vec<u64> {
    let random = Random::from_seed(seed.wrapping_add(round) ^ 0x6465_636b);
    let mut kinds: Vec<u64> = (0..KINDS).collect();
    for last in (1..kinds.len()).rev() {
        kinds.swap(last, random.below(last as u64 + 1) as usize);
    }
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
        0 => 100 + random.below(900),
        _ => 1_000 + random.below(5_000),
    };
    let kind = match kind {
        0 | 1 => Kind::Kill(victim()),
        2 => Kind::KillAll,
        3 => Kind::RestartStorm(victim(), 2 + random.below(4)),
        4 => Kind::Freeze(victim()),
        5 => {
            let one = victim();
            Kind::Cut(one, other(one))
        }
        6 => {
            let one = victim();
            Kind::OneWay(one, other(one))
        }
        7 => Kind::Isolate(victim()),
        8 => Kind::Transfer(any()),
        9 => Kind::SwitchOff(victim()),
        10 => Kind::FullDisk(world.small_disk?),
        11 => Kind::TornLog(any(), 1 + random.below(4_000)),
        12 => Kind::FlippedBit(any(), File::Log, random.below(1_000)),
        _ => Kind::FlippedBit(any(), File::Table, random.below(1_000)),
    };
    Some(Fault { at_ms, for_ms, kind })
}

impl Fault {
    fn expand(&self, hosts: u64) -> Vec<(u64, Action)> {
        let (from, to) = (self.at_ms, self.at_ms + self.for_ms);
        let links = |pairs: Vec<(Host, Host)>| vec![(from, Action::Cut(pairs.clone())), (to, Action::Mend(pairs))];
        let both = |one: Host, other: Host| [(one, other), (other, one)];
        match self.kind {
            Kind::Kill(host) => vec![(from, Action::Kill(host)), (to, Action::Start(host))],
            Kind::KillAll => {
                let kills = (1..=hosts).map(|host| (from, Action::Kill(host)));
                kills.chain((1..=hosts).map(|host| (to + 50 * host, Action::Start(host)))).collect()
            }
            Kind::RestartStorm(host, times) => (0..times)
                .flat_map(|turn| {
                    let at = from + turn * STORM_MS;
                    [(at, Action::Kill(host)), (at + 50, Action::Start(host))]
                })
                .collect(),
            Kind::Freeze(host) => vec![(from, Action::Freeze(host)), (to, Action::Thaw(host))],
            Kind::Cut(one, other) => links(both(one, other).to_vec()),
            Kind::OneWay(one, other) => links(vec![(one, other)]),
            Kind::Isolate(host) => {
                links((1..=hosts).filter(|other| *other != host).flat_map(|other| both(host, other)).collect())
            }
            Kind::Transfer(host) => vec![(from, Action::Transfer(host))],
            Kind::SwitchOff(host) => vec![(from, Action::SwitchOff(host)), (to, Action::Start(host))],
            // The replica gives its reserve back and goes on with it: that is filled as well.
            Kind::FullDisk(host) => {
                let fills = (from..to).step_by(FILL_EVERY_MS as usize).map(|at| (at, Action::Fill(host)));
                fills.chain([(to, Action::Free(host))]).collect()
            }
            Kind::TornLog(host, bytes) => {
                vec![(from, Action::Kill(host)), (from, Action::Tear(host, bytes)), (to, Action::Start(host))]
            }
            Kind::FlippedBit(host, file, place) => {
                vec![(from, Action::Kill(host)), (from, Action::Flip(host, file, place)), (to, Action::Start(host))]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const WORLD: World = World { hosts: 3, small_disk: Some(3), leader: 2 };

    #[test]
    fn the_same_seed_has_the_same_episodes_and_all_kinds_come_up_once_around() {
        for seed in 0..50 {
            let mut kinds = BTreeSet::new();
            for number in 0..KINDS {
                let episode = Episode::draw(seed, number, &WORLD);
                assert_eq!(episode.faults, Episode::draw(seed, number, &WORLD).faults);
                for fault in &episode.faults {
                    let text = format!("{:?}", fault.kind);
                    kinds.insert(text.split('(').next().map(str::to_owned));
                }
            }
            assert_eq!(kinds.len(), 12, "{kinds:?}");
        }
    }

    #[test]
    fn damage_comes_alone_and_every_fault_ends() {
        let is_damage = |fault: &Fault| matches!(fault.kind, Kind::TornLog(..) | Kind::FlippedBit(..));
        for number in 0..500 {
            let episode = Episode::draw(7, number, &WORLD);
            assert!(episode.faults.len() == 1 || !episode.faults.iter().any(is_damage), "episode {number}");
            let actions = episode.actions(3);
            assert!(actions.is_sorted_by_key(|(at, _)| *at));
            for (place, (_, action)) in actions.iter().enumerate() {
                let ends = |later: &Action| match action {
                    Action::Kill(host) | Action::SwitchOff(host) => *later == Action::Start(*host),
                    Action::Freeze(host) => *later == Action::Thaw(*host),
                    Action::Cut(pairs) => *later == Action::Mend(pairs.clone()),
                    Action::Fill(host) => *later == Action::Free(*host),
                    _ => true,
                };
                assert!(actions[place..].iter().any(|(_, later)| ends(later)), "episode {number}: {action:?}");
            }
        }
    }

    #[test]
    fn hosts_are_those_that_there_are() {
        for number in 0..500 {
            for (_, action) in Episode::draw(9, number, &WORLD).actions(3) {
                if let Action::Cut(pairs) = action {
                    assert!(
                        pairs
                            .iter()
                            .all(|(one, other)| one != other && (1..=3).contains(one) && (1..=3).contains(other))
                    );
                }
            }
        }
    }
}
