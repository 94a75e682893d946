//! What faults make of the links between hosts: cuts add up, and a machine without power is cut off. Pure; the world
//! tells turmoil.

use std::collections::{BTreeMap, BTreeSet};

pub type HostId = usize;

/// What becomes of the packets of a link that is cut both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// They arrive when it heals, as TCP sends them again.
    Held,
    /// They never arrive, and a connection that misses one is dead without saying so: a firewall has forgotten it.
    Lost,
}

/// A link between two hosts, as turmoil knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Healthy,
    /// Nothing goes from the first to the second.
    OneWay(HostId, HostId),
    Held,
    Cut,
}

#[derive(Default)]
pub struct Links {
    /// So many faults cut this direction at present.
    cuts: BTreeMap<(HostId, HostId), u32>,
    /// Pairs whose newest cut holds packets back.
    held: BTreeSet<(HostId, HostId)>,
    dark: BTreeSet<HostId>,
    told: BTreeMap<(HostId, HostId), State>,
    /// Hosts with a process.
    running: BTreeSet<HostId>,
    /// Packets that ever went out, and of each direction those that a cut lost or held between two that run.
    sent: u64,
    met: BTreeMap<(HostId, HostId), u64>,
}

fn pair(one: HostId, other: HostId) -> (HostId, HostId) {
    (one.min(other), one.max(other))
}

impl Links {
    /// As many heals are needed as there were cuts.
    pub fn cut(&mut self, from: HostId, to: HostId, loss: Loss) {
        *self.cuts.entry((from, to)).or_default() += 1;
        match loss {
            Loss::Held => self.held.insert(pair(from, to)),
            Loss::Lost => self.held.remove(&pair(from, to)),
        };
    }

    pub fn heal(&mut self, from: HostId, to: HostId) {
        let cuts = self.cuts.entry((from, to)).or_default();
        *cuts = cuts.saturating_sub(1);
    }

    pub fn heal_all(&mut self, from: HostId, to: HostId) {
        self.cuts.remove(&(from, to));
    }

    pub fn power(&mut self, host: HostId, on: bool) {
        match on {
            true => self.dark.remove(&host),
            false => self.dark.insert(host),
        };
    }

    pub fn runs(&mut self, host: HostId, runs: bool) {
        match runs {
            true => self.running.insert(host),
            false => self.running.remove(&host),
        };
    }

    /// A packet goes out, whether or not it arrives.
    pub fn send(&mut self, from: HostId, to: HostId) {
        // What a host sends to itself is on no link.
        self.sent += u64::from(from != to);
        if self.is_cut(from, to) && self.running.contains(&from) && self.running.contains(&to) {
            *self.met.entry((from, to)).or_default() += 1;
        }
    }

    /// How many packets ever went out.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// How many packets in this direction cuts have met so far.
    pub fn met(&self, from: HostId, to: HostId) -> u64 {
        self.met.get(&(from, to)).copied().unwrap_or(0)
    }

    /// The link's state as last told to turmoil.
    pub fn state(&self, one: HostId, other: HostId) -> State {
        self.told.get(&pair(one, other)).copied().unwrap_or_default()
    }

    /// Whether a packet that is sent now is lost.
    pub fn loses(&self, from: HostId, to: HostId) -> bool {
        let state = self.state(from, to);
        state == State::Cut || state == State::OneWay(from, to)
    }

    /// What turmoil has to be told: the state before, and the one from now on.
    pub fn news(&mut self, one: HostId, other: HostId) -> Option<(State, State)> {
        let (before, now) = (self.state(one, other), self.wanted(one, other));
        self.told.insert(pair(one, other), now);
        (before != now).then_some((before, now))
    }

    fn is_cut(&self, from: HostId, to: HostId) -> bool {
        self.cuts.get(&(from, to)).is_some_and(|cuts| *cuts > 0)
    }

    fn wanted(&self, one: HostId, other: HostId) -> State {
        if self.dark.contains(&one) || self.dark.contains(&other) {
            return State::Cut;
        }
        match (self.is_cut(one, other), self.is_cut(other, one)) {
            (false, false) => State::Healthy,
            (true, false) => State::OneWay(one, other),
            (false, true) => State::OneWay(other, one),
            (true, true) if self.held.contains(&pair(one, other)) => State::Held,
            (true, true) => State::Cut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_add_up_and_each_has_to_heal() {
        let mut links = Links::default();
        links.cut(0, 1, Loss::Lost);
        assert_eq!(links.news(1, 0), Some((State::Healthy, State::OneWay(0, 1))));
        assert!(links.loses(0, 1) && !links.loses(1, 0));
        links.cut(1, 0, Loss::Held);
        links.cut(0, 1, Loss::Held);
        assert_eq!(links.news(0, 1), Some((State::OneWay(0, 1), State::Held)));
        assert!(!links.loses(0, 1), "it only waits");
        links.heal(0, 1);
        assert_eq!(links.news(0, 1), None);
        links.heal(0, 1);
        assert_eq!(links.news(0, 1), Some((State::Held, State::OneWay(1, 0))));
        links.heal_all(1, 0);
        assert_eq!(links.news(0, 1), Some((State::OneWay(1, 0), State::Healthy)));
    }

    #[test]
    fn a_machine_without_power_is_cut_off_whatever_else_is() {
        let mut links = Links::default();
        links.cut(0, 1, Loss::Held);
        links.cut(1, 0, Loss::Held);
        links.news(0, 1);
        links.power(1, false);
        assert_eq!(links.news(0, 1), Some((State::Held, State::Cut)));
        links.power(1, true);
        assert_eq!(links.news(0, 1), Some((State::Cut, State::Held)));
    }

    #[test]
    fn a_cut_meets_what_is_sent_its_way_while_both_run() {
        let mut links = Links::default();
        [0, 1, 2].into_iter().for_each(|host| links.runs(host, true));
        links.send(0, 1);
        assert_eq!((links.sent(), links.met(0, 1)), (1, 0), "nothing is cut");
        links.cut(0, 1, Loss::Held);
        [(0, 1), (0, 1), (1, 0), (0, 2), (0, 0)].into_iter().for_each(|(from, to)| links.send(from, to));
        assert_eq!((links.sent(), links.met(0, 1), links.met(1, 0), links.met(0, 2)), (5, 2, 0, 0));
        for down in [0, 1] {
            links.runs(down, false);
            links.send(0, 1);
            assert_eq!(links.met(0, 1), 2, "{down} would hear of nothing anyway");
            links.runs(down, true);
        }
        links.heal(0, 1);
        links.send(0, 1);
        assert_eq!(links.met(0, 1), 2, "it is healed");
    }
}
