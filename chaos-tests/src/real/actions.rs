//! What is done for a fault, and when. Pure.

use super::plan::{Fault, File, Host, Kind, Tear, Then};

/// From one kill to the next, in a storm.
const STORM_MS: u64 = 700;
const FILL_EVERY_MS: u64 = 800;
/// So long others lag behind before a log is torn.
const LAGS_MS: u64 = 400;

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
    Tear(Host, Tear),
    Flip(Host, File, u64),
}

/// Each with its time, in no order. `hosts`: how many there are.
pub fn of(fault: &Fault, hosts: u64) -> Vec<(u64, Action)> {
    let (from, to) = (fault.at_ms, fault.at_ms + fault.for_ms);
    let links = |pairs: Vec<(Host, Host)>| vec![(from, Action::Cut(pairs.clone())), (to, Action::Mend(pairs))];
    match fault.kind {
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
        Kind::Cut(one, other) => links(vec![(one, other), (other, one)]),
        Kind::OneWay(one, other) => links(vec![(one, other)]),
        Kind::Isolate(host) => links(around(host, hosts)),
        Kind::Transfer(host) => vec![(from, Action::Transfer(host))],
        Kind::SwitchOff(host) => vec![(from, Action::SwitchOff(host)), (to, Action::Start(host))],
        // The replica gives its reserve back and goes on with it: that is filled as well.
        Kind::FullDisk(host) => {
            let fills = (from..to).step_by(FILL_EVERY_MS as usize).map(|at| (at, Action::Fill(host)));
            fills.chain([(to, Action::Free(host))]).collect()
        }
        Kind::TornLog(host, tear, then) => torn(host, tear, then, hosts, from, to),
        Kind::FlippedBit(host, file, place) => {
            vec![(from, Action::Kill(host)), (from, Action::Flip(host, file, place)), (to, Action::Start(host))]
        }
        Kind::FlippedBeneath(host, file, place) => {
            vec![(from, Action::Flip(host, file, place)), (to, Action::Kill(host)), (to, Action::Start(host))]
        }
    }
}

fn torn(host: Host, tear: Tear, then: Then, hosts: u64, from: u64, to: u64) -> Vec<(u64, Action)> {
    let torn = |at, back| vec![(at, Action::Kill(host)), (at, Action::Tear(host, tear)), (back, Action::Start(host))];
    let leader_dies = |leader, at| [(at, Action::Kill(leader)), (to.max(at), Action::Start(leader))];
    match then {
        Then::Nothing => torn(from, to),
        Then::LeaderDies(leader, after_ms) => {
            torn(from, from).into_iter().chain(leader_dies(leader, from + after_ms)).collect()
        }
        Then::OthersLag(leader, after_ms) => {
            // As many as a majority can do without.
            let others = (1..=hosts).filter(|other| ![host, leader].contains(other)).take((hosts as usize - 1) / 2);
            let pairs: Vec<_> = others.flat_map(|other| around(other, hosts)).collect();
            let (later, dead) = (from + LAGS_MS, from + LAGS_MS + after_ms);
            let lag = [(from, Action::Cut(pairs.clone()))].into_iter().chain(torn(later, later));
            lag.chain(leader_dies(leader, dead)).chain([(dead, Action::Mend(pairs))]).collect()
        }
    }
}

/// Every link of a host, in both directions.
fn around(host: Host, hosts: u64) -> Vec<(Host, Host)> {
    (1..=hosts).filter(|other| *other != host).flat_map(|other| [(host, other), (other, host)]).collect()
}
