//! Bugs that a seed once found, and faults that must show, as plans written out by hand: they stay what they are, however plans are
//! drawn. A run that no longer comes to what the bug needs has failed too.

use super::*;
use crate::sim::links::Loss;
use crate::store::plan::{Fault, Kind};

/// Runs such a plan, in which every promise must hold. `faults`: when each begins, and for how long.
#[track_caller]
fn held<const N: usize>(seed: u64, ends_ms: u64, faults: [(u64, u64, Kind); N]) -> Report {
    let faults = faults.into_iter().map(|(at_ms, for_ms, kind)| Fault { at_ms, for_ms, kind }).collect();
    let report = run(&Plan { faults, ends_ms, ..Plan::calm(seed) });
    assert!(report.failures.is_empty(), "{}", report.failures.join("\n"));
    report
}

/// When a line of the trace that ends like this was written first.
#[track_caller]
fn first(report: &Report, end: &str) -> u64 {
    let found = report.trace.lines().find(|line| line.ends_with(end));
    let Some(line) = found else { panic!("the trace has no line that ends with {end:?}") };
    let at_ms = line.split_whitespace().next().and_then(|word| word.parse().ok());
    at_ms.expect("a line begins with its time")
}

/// Seed 26. The first leader is cut off and deposed, and nobody can tell it so when it is back: of the two who know, one is
/// down, and the other one's disk was replaced.
#[test]
fn with_an_emptied_replica_a_deposed_leader_overrules_nothing() {
    let cut_off = (5_000, 2_500, Kind::Split(vec![0], Loss::Lost));
    let report = held(26, 17_000, [cut_off, (7_000, 8_000, Kind::Crash(1, true)), (7_000, 200, Kind::NewDisk(2))]);
    assert!(report.totals.terms > 2, "nobody was deposed: {} led", report.totals.terms);
}

/// Seed 10345. A replica is filled by a snapshot onto a slow disk and loses its power soon after: its log had a hole.
#[test]
fn who_was_filled_onto_a_slow_disk_and_struck_down_has_no_hole_in_its_log() {
    let refill = |again_ms| (5_000, 2_500, Kind::Refill { host: 1, again_ms, disk_ms: 120 });
    let mut filled = 0;
    for again_ms in [250, 350, 450] {
        filled += held(10_345, 12_000, [refill(again_ms)]).totals.snapshots;
    }
    assert!(filled > 0, "nobody was filled");
}

/// Seed 2, and seed 4 with the known bug `AppendBeforeSync`. A failed sync ends the raft node; whoever then asks it for news, or
/// for a leader, again and again without pause, lets nobody else run, and the world stands still.
#[test]
fn a_world_with_a_failed_sync_goes_on() {
    let report = held(2, 10_000, [(5_000, 500, Kind::FailSync(0)), (7_500, 500, Kind::FailSync(1))]);
    let anew = report.trace.matches("starts anew: ").count();
    assert!(anew >= 2, "both were to stop, and to be started anew: {anew} did");
}

/// A leader that is cut off is ordered to remove a replica that has just joined. Another one is elected, who knows nothing of that:
/// when the first is back, with the order in its log, that is overruled: the new replica is a member there, too, and becomes a voter.
#[test]
fn who_was_removed_by_an_entry_that_is_overruled_stays_a_member() {
    let deaf = (5_600, 1_500, Kind::Deaf(2));
    let report = held(4, 18_000, [(3_000, 13_000, Kind::Guest), deaf, (6_000, 2_000, Kind::Overrule(1, 1_500, 100))]);
    let ordered = first(&report, "replica 2 is to be cut off, and to remove replica 4");
    let (back, promoted) = (first(&report, "Boot(1)"), first(&report, "Promote { id: 4 }: Ok(4)"));
    assert!(ordered < back && back < promoted, "ordered at {ordered} ms, back at {back} ms, promoted at {promoted} ms");
}

/// Whoever applies a command wrongly, a leader too, is fenced within a second, as docs/disk.md says, and comes back with an empty
/// disk, filled from the log or by a snapshot.
#[test]
fn who_is_odd_is_fenced_within_a_second_and_comes_back_with_an_empty_disk() {
    let mut replaced = 0;
    for (host, purged) in [(0, false), (1, true), (2, false)] {
        let report = held(7, 12_000, [(5_000, 1_000, Kind::Odd { host, purged })]);
        let (id, made) = (host + 1, format!("Odd({host})"));
        let (began, fenced) =
            (first(&report, &made), first(&report, &format!("replica {id} is to be seen: odd, fenced")));
        assert!(fenced - began < 1_000, "replica {id} was fenced after {} ms", fenced - began);
        assert!(first(&report, &format!("NewDisk({host})")) > fenced);
        let starts = report.trace.lines().filter(|line| line.ends_with(&format!("replica {id} starts"))).count();
        assert_eq!(starts, 2, "replica {id} was to be started anew, once");
        assert!(!purged || report.totals.snapshots > 0, "replica {id} was filled from the log");
        let mut after = report.trace.lines().skip_while(|line| !line.ends_with(&made));
        replaced += u32::from(after.any(|line| line.contains(" leads term ")));
    }
    assert!(replaced > 0, "one of the three led");
}

/// Whoever finds damage while it runs, a leader too, begins anew by itself and is filled by the others; of two one waits for the other.
#[test]
fn who_finds_damage_while_it_runs_begins_anew_one_after_the_other() {
    let (mut rotten, mut renewed) = (0, 0);
    for hosts in [vec![0], vec![1], vec![2], vec![0, 1], vec![1, 2], vec![2, 0]] {
        rotten += hosts.len() as u64;
        renewed += held(9, 12_000, [(5_000, 0, Kind::Decay { hosts, passive: true })]).totals.renewals;
    }
    // A record may be written anew, and sound, before anybody reads it.
    assert!(renewed <= rotten && 3 * renewed >= 2 * rotten, "{renewed} of {rotten} began anew");
}

/// Whoever starts on a note that is torn, or of which a bit has turned over, finds just that, and goes on with all it has.
#[test]
fn a_damaged_note_costs_nothing_but_itself() {
    let (mut votes, mut marks, mut torn) = (0, 0, 0);
    for host in 0..3 {
        for kind in [Kind::TornNote(host), Kind::RotNote(host)] {
            let report = held(9, 12_000, [(5_000, 700, kind.clone())]);
            let named = |note: &str| report.trace.contains(&format!("the {note} of host {host} is damaged"));
            let (vote, mark) = (named("vote"), named("mark"));
            // A note tears only where one is being saved.
            let tears = matches!(kind, Kind::TornNote(_));
            assert!(vote || mark || tears, "{kind:?} damaged nothing");
            (votes, marks) = (votes + u64::from(vote), marks + u64::from(mark));
            torn += u64::from(tears && (vote || mark));
        }
    }
    assert!(votes > 0 && marks > 0 && torn > 0, "{votes} votes and {marks} marks were damaged; {torn} times one tore");
}

/// While one of three is away whoever finds damage waits for it.
#[test]
fn who_finds_damage_waits_for_one_that_is_away() {
    let mut renewals = 0;
    for seed in 9..13 {
        let away = (4_000, 5_000, Kind::Crash(2, true));
        let report = held(seed, 14_000, [away, (5_000, 0, Kind::Decay { hosts: vec![0], passive: true })]);
        let back = first(&report, "Boot(2)");
        // Where the record is written anew before it is read, there is nothing to find.
        let Some(line) = report.trace.lines().find(|line| line.contains("replica 1 begins anew")) else { continue };
        let anew: u64 = line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a line has its time");
        assert!(anew > back, "at {anew} ms, and the third is back at {back} ms");
        renewals += 1;
    }
    assert!(renewals > 0, "nobody found any");
}

/// While one of three is away nobody knows which of two states is right: both replicas doubt until it is back, and no restart would
/// help them.
#[test]
fn two_states_without_a_majority_wait_for_the_third() {
    let away = (4_000, 4_000, Kind::Crash(2, true));
    let report = held(8, 14_000, [away, (6_000, 500, Kind::Odd { host: 0, purged: false })]);
    first(&report, "replica 1 is to be seen: odd, suspects others");
    let (back, fenced) = (first(&report, "Boot(2)"), first(&report, "replica 1 is to be seen: odd, fenced"));
    assert!(fenced > back, "replica 1 was fenced at {fenced} ms, before {back} ms");
    assert!(!report.trace.contains("starts anew"), "somebody was started anew for a doubt");
}
