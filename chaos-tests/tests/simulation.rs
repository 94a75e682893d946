//! The store in the simulated world: some hundred seeds, the same seed twice, and every bug that a seed once found.

use kontiki_chaos_tests::runner::{Runner, replay};

const SEEDS: u64 = 150;
/// Of these, every so many run twice.
const TWICE_EVERY: u64 = 25;

fn runner() -> Runner {
    Runner { binary: env!("CARGO_BIN_EXE_chaos").into(), mutant: None }
}

#[test]
fn every_promise_is_held_for_some_hundred_seeds() {
    let jobs = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let (mut failed, mut operations, mut snapshots) = (Vec::new(), 0, 0);
    runner().seeds(0..SEEDS, jobs, TWICE_EVERY, |outcome| {
        operations += outcome.totals.operations;
        snapshots += outcome.totals.snapshots;
        if !outcome.failures.is_empty() {
            failed.push(outcome);
        }
        failed.is_empty()
    });
    if let Some(outcome) = failed.first() {
        let needed = runner().reduce(outcome.seed);
        panic!(
            "seed {}: {}\nagain: {}",
            outcome.seed,
            outcome.failures.join("\n"),
            replay(outcome.seed, Some(&needed))
        );
    }
    assert!(operations > 300 * SEEDS && snapshots > 0, "{operations} operations, {snapshots} snapshots: too little");
}

#[test]
fn the_same_seed_runs_the_same_twice_and_another_seed_does_not() {
    let one = runner().run(1001, None);
    assert_eq!(one, runner().run(1001, None));
    assert_ne!(one.trace, runner().run(1002, None).trace);
}

/// Seed 26: a replica whose disk was replaced took the entries of a leader that had long been deposed, and with its
/// acknowledgement that one overruled what two others had committed.
#[test]
fn an_emptied_replica_believes_no_deposed_leader() {
    pinned(26);
}

#[track_caller]
fn pinned(seed: u64) {
    let outcome = runner().run(seed, None);
    assert!(outcome.failures.is_empty(), "{}\nagain: {}", outcome.failures.join("\n"), replay(seed, None));
}
