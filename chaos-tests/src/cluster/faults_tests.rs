//! A plan written out by hand, of which it is known whom each fault meets.

use super::*;
use crate::cluster::plan::Plan;
use crate::cluster::run::run_with;

#[test]
fn what_strikes_who_is_down_or_has_nothing_to_say_meets_nobody_and_all_else_does() {
    let (down, node) = (Who::Host(2), Who::Host(4));
    let met = [
        (7_000, 5_000, Kind::Crash(down, true)),
        (13_000, 2_000, Kind::CutOff(node, Loss::Lost)),
        (13_000, 2_000, Kind::Deaf(Who::Host(3))),
        (16_000, 2_000, Kind::Flap(1, 200, Loss::Held)),
        (16_000, 1_000, Kind::Slow(20)),
        (16_000, 6_000, Kind::EngineHangs(5)),
        (18_000, 1_000, Kind::SlowDisk(0, 20)),
        (19_000, 5_000, Kind::FullDisk(1)),
        (22_000, 1_000, Kind::Clock(Who::Leader, 2_000)),
        (22_000, 500, Kind::Freeze(node)),
        (24_000, 0, Kind::Reset(Who::Leader)),
        (23_000, 0, Kind::Decay(down)),
    ];
    let missed = [
        (8_000, 4_000, Kind::Crash(down, false)),
        (8_000, 1_000, Kind::Freeze(down)),
        (8_000, 1_000, Kind::CutOff(down, Loss::Lost)),
        (8_000, 1_000, Kind::OneWay(0, 2)),
        (8_000, 1_000, Kind::Bridge(0, Loss::Held)),
        (8_000, 1_000, Kind::SlowDisk(2, 20)),
        (8_000, 1_000, Kind::FullDisk(2)),
        (8_000, 1_000, Kind::FailSync(2)),
        (8_000, 1_000, Kind::FailWrite(2)),
        (8_000, 1_000, Kind::Clock(down, 2_000)),
        (9_500, 0, Kind::Reset(down)),
        (9_500, 0, Kind::Transfer(2)),
        (9_500, 0, Kind::Compact(2)),
        // Nodes do not speak with each other.
        (13_000, 1_000, Kind::OneWay(3, 5)),
        // Nobody ever joins.
        (13_000, 1_000, Kind::Freeze(Who::Host(NEWCOMER))),
        (13_000, 1_000, Kind::SlowDisk(NEWCOMER, 20)),
        (13_000, 1_000, Kind::EngineHangs(NEW_NODE)),
    ];
    let numbers: Vec<usize> = (met.len()..met.len() + missed.len()).collect();
    let all = met.into_iter().chain(missed).map(|(at_ms, for_ms, kind)| Fault { at_ms, for_ms, kind });
    let report = run_with(&Plan { seed: 5, faults: all.collect(), ends_ms: 26_000 }, || ());
    assert!(report.failures.is_empty(), "{}", report.failures.join("\n"));
    assert_eq!(report.missed, numbers, "{:?}", report.totals.faults);
}
