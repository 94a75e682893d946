//! Plans written out by hand, of which it is known whom each fault meets.

use super::*;
use crate::runner::Report;
use crate::sim::links::Loss;
use crate::store::plan::{First, Plan};
use crate::store::run::run;

/// Runs such a plan, in which every promise must hold. `faults`: when each begins, and for how long.
#[track_caller]
fn held(ends_ms: u64, faults: Vec<(u64, u64, Kind)>) -> Report {
    let faults = faults.into_iter().map(|(at_ms, for_ms, kind)| Fault { at_ms, for_ms, kind }).collect();
    let report = run(&Plan { faults, ends_ms, ..Plan::calm(5) });
    assert!(report.failures.is_empty(), "{}", report.failures.join("\n"));
    report
}

#[test]
fn what_strikes_a_host_that_is_down_meets_nobody() {
    let down = (4_000, 4_000, Kind::Crash(2, true));
    let in_vain = [
        (5_000, 3_000, Kind::Crash(2, false)),
        (5_000, 1_000, Kind::Freeze(2)),
        (5_000, 1_000, Kind::Split(vec![2], Loss::Lost)),
        (5_000, 1_000, Kind::Split(vec![2], Loss::Held)),
        (5_000, 1_000, Kind::OneWay(0, 2)),
        (5_000, 1_000, Kind::Deaf(2)),
        (5_000, 1_000, Kind::Bridge(0, Loss::Lost)),
        (5_000, 1_000, Kind::Flap(vec![2], 100, Loss::Lost)),
        (5_000, 1_000, Kind::SlowDisk(2, 50)),
        (5_000, 1_000, Kind::FailSync(2)),
        (5_000, 1_000, Kind::FailWrite(2)),
        (5_000, 1_000, Kind::FullDisk(2)),
        (5_000, 1_000, Kind::LittleRoom(2)),
        (5_000, 1_000, Kind::FailReads(2)),
        (5_000, 1_000, Kind::Clock(2, 3_000)),
        (6_500, 0, Kind::Reset(2, 0)),
        (6_500, 0, Kind::Transfer(2)),
        (6_500, 0, Kind::Compact(2)),
    ];
    let count = in_vain.len();
    let report = held(9_000, [down].into_iter().chain(in_vain).collect());
    assert_eq!(report.missed, (1..=count).collect::<Vec<_>>());
    let faults = &report.totals.faults;
    assert_eq!((faults.planned(), faults.felt()), (1 + count as u64, 1));
}

#[test]
fn what_strikes_hosts_that_run_meets_them() {
    let of_links = [
        (4_000, 500, Kind::Split(vec![0], Loss::Lost)),
        (6_000, 500, Kind::Deaf(1)),
        (8_000, 500, Kind::Flap(vec![2], 100, Loss::Held)),
        (10_000, 300, Kind::Slow(40)),
        (11_000, 500, Kind::Clock(1, 3_000)),
        (12_000, 0, Kind::Transfer(0)),
        // Who leads is to be another one now.
        (14_500, 0, Kind::Transfer(1)),
    ];
    let report = held(17_000, of_links.into());
    assert!(report.missed.is_empty() || report.missed == [5], "{:?}\n{}", report.missed, report.trace);
    let of_processes = [
        (4_000, 0, Kind::Compact(0)),
        (7_000, 300, Kind::Freeze(0)),
        (8_500, 300, Kind::Crash(1, false)),
        (10_500, 300, Kind::Blackout(true)),
        (13_000, 200, Kind::NewDisk(2)),
    ];
    let of_disks = [
        (4_000, 1_000, Kind::SlowDisk(0, 30)),
        (6_000, 1_000, Kind::FullDisk(1)),
        (8_000, 2_000, Kind::LittleRoom(2)),
        (11_000, 500, Kind::FailSync(0)),
        (14_000, 500, Kind::FailWrite(1)),
    ];
    for faults in [of_processes, of_disks] {
        let report = held(16_000, faults.into());
        assert!(report.missed.is_empty(), "{:?}\n{}", report.missed, report.trace);
    }
}

#[test]
fn what_is_several_in_one_meets_somebody_by_what_makes_it_what_it_is() {
    let kinds = [
        (500, Kind::Ballot(0, 200)),
        (500, Kind::Overrule(0, 600, 100)),
        (1_000, Kind::Refill { host: 2, again_ms: 400, disk_ms: 0 }),
        (500, Kind::LoseEnd(0)),
        (0, Kind::Rot(1)),
        (500, Kind::TornNote(1)),
        (100, Kind::RotNote(1)),
        (0, Kind::Decay { hosts: vec![1], passive: true }),
        (500, Kind::Odd { host: 1, purged: false }),
        (6_000, Kind::Guest),
        (0, Kind::Replace(1, First::Join)),
    ];
    for (for_ms, kind) in kinds {
        let name = format!("{kind:?}");
        assert!(held(12_000, vec![(5_000, for_ms, kind)]).missed.is_empty(), "{name}");
    }
}

#[test]
fn a_fault_of_which_only_the_rest_can_strike_meets_nobody() {
    // He is away when he is to be cut off, and all who run lose their power.
    let cut_off = (5_000, 500, Kind::Overrule(2, 600, 100));
    let report = held(12_000, vec![(4_000, 2_000, Kind::Crash(2, true)), cut_off]);
    assert_eq!(report.missed, [1]);
}
