//! Plans written out by hand in which replicas and nodes join and leave, or histories are short. No run of these holds unless all of
//! that happened, and each fault in them meets somebody.

use super::*;
use crate::cluster::plan::{Fault, Kind, NEW_NODE, NEWCOMER, Who};
use crate::sim::links::Loss;

#[track_caller]
fn held(faults: &[(u64, u64, Kind)]) -> Report {
    let fault = |(at_ms, for_ms, kind): &(u64, u64, Kind)| Fault { at_ms: *at_ms, for_ms: *for_ms, kind: *kind };
    let plan = Plan { seed: 5, faults: faults.iter().map(fault).collect(), ends_ms: 26_000 };
    let report = run_with(&plan, || ());
    assert!(report.failures.is_empty(), "{}", report.failures.join("\n"));
    assert!(report.missed.is_empty(), "of {:?} these met nobody: {:?}", report.totals.faults, report.missed);
    report
}

#[test]
fn a_guest_joins_is_struck_down_and_goes_and_is_no_member_in_the_end() {
    let newcomer = Who::Host(NEWCOMER);
    let report = held(&[
        (7_000, 12_000, Kind::Guest),
        (10_000, 1_500, Kind::Crash(newcomer, true)),
        (14_000, 1_000, Kind::CutOff(newcomer, Loss::Lost)),
        (16_000, 0, Kind::Reset(Who::Leader)),
    ]);
    assert!(report.trace.contains(&format!("on host {NEWCOMER} was removed")));
}

#[test]
fn a_guest_who_stays_is_one_of_four_members_whom_agents_and_clients_know() {
    held(&[
        (7_000, 30_000, Kind::Guest),
        (14_000, 2_000, Kind::Crash(Who::Leader, false)),
        (18_000, 1_000, Kind::Freeze(Who::Host(NEWCOMER))),
    ]);
}

#[test]
fn a_founder_is_replaced_for_good_and_disturbs_nobody_however_often_he_is_started_again() {
    let founder = Who::Host(0);
    let report = held(&[
        (7_000, 0, Kind::Replace(0)),
        (8_000, 1_000, Kind::Deaf(founder)),
        (18_000, 1_000, Kind::Crash(founder, false)),
        (21_000, 1_500, Kind::CutOff(Who::Leader, Loss::Held)),
    ]);
    let removed = report.trace.matches("replica 1 on host 0 was removed").count();
    assert!(removed > 1, "he is told each time: {removed}");
}

#[test]
fn a_node_is_relieved_by_another_where_histories_are_short_and_what_is_gone_is_listed_anew() {
    let report = held(&[
        (0, 26_000, Kind::ShortHistory { seconds: 2, bytes: 256 << 20 }),
        (8_000, 0, Kind::Relieve(4)),
        (12_000, 1_000, Kind::Freeze(Who::Host(NEW_NODE))),
        (15_000, 2_000, Kind::Crash(Who::Leader, true)),
    ]);
    assert!(report.totals.gone > 1, "{}", report.totals.gone);
    assert_eq!(report.totals.whole, 1, "scribes know all of it");
}
