//! A leader that is frozen, or dies, again and again, and nothing else goes wrong.

use super::*;

/// Its silence, and the election.
const REPLACED_MAX: Duration = Duration::from_millis(800);
/// Connections to it are reset, and nobody waits for its silence: a pre-vote and an election, over links of some milliseconds.
const SUCCEEDED_MAX: Duration = Duration::from_millis(150);
const SECOND: Duration = Duration::from_secs(1);

/// Whoever leads in the newest term, of those that run or are frozen.
fn leads(run: &Run) -> Option<(Host, u64)> {
    let leading = run.standings().into_iter().filter(|standing| standing.role == Role::Leader);
    leading.max_by_key(|standing| standing.term).map(|newest| (newest.id as Host - 1, newest.term))
}

fn leader(run: &Run) -> (Host, u64) {
    leads(run).expect("somebody leads")
}

/// How many writes of clients were acknowledged.
fn written(run: &Run) -> usize {
    run.shared.lock().recent.iter().filter(|one| one.made).count()
}

fn in_a_calm_world(seed: u64, story: impl FnOnce(&mut Run) + Send + 'static) {
    prepare();
    let ran = os::run(seed, move || {
        let mut run = Run::new(Plan::calm(seed));
        (0..3).for_each(|host| run.boot(host));
        run.until(3 * SECOND);
        story(&mut run);
        assert!(run.shared.lock().violations.is_empty());
    });
    ran.unwrap();
}

#[test]
fn writes_go_on_within_a_second_of_the_leader_s_freezing() {
    in_a_calm_world(11, |run| {
        for _ in 0..8 {
            let ((frozen, term), since) = (leader(run), run.world.now());
            run.world.freeze(frozen);
            while leader(run).0 == frozen {
                run.step();
                assert!(run.world.now() - since < REPLACED_MAX, "nobody replaces replica {}", frozen + 1);
            }
            let before = written(run);
            run.until(since + SECOND);
            assert!(written(run) > before);
            run.until(since + 3 * SECOND);
            run.world.thaw(frozen);
            run.until(run.world.now() + SECOND);
            assert_eq!(leader(run).1, term + 1, "the deposed leader disturbs nobody");
        }
    });
}

#[test]
fn also_when_the_others_were_started_anew_while_it_led() {
    in_a_calm_world(12, |run| {
        let (frozen, _) = leader(run);
        for host in (0..3).filter(|host| *host != frozen) {
            run.crash(host, true);
            run.boot(host);
            run.until(run.world.now() + 2 * SECOND);
        }
        let since = run.world.now();
        assert_eq!(leader(run).0, frozen, "it has led all the time");
        run.world.freeze(frozen);
        while leader(run).0 == frozen {
            run.step();
            assert!(run.world.now() - since < REPLACED_MAX, "nobody replaces replica {}", frozen + 1);
        }
    });
}

#[test]
fn a_leader_that_dies_is_succeeded_at_once() {
    in_a_calm_world(13, |run| {
        for _ in 0..8 {
            let ((dead, term), since) = (leader(run), run.world.now());
            run.crash(dead, true);
            while leads(run).is_none() {
                run.step();
                assert!(run.world.now() - since < SUCCEEDED_MAX, "nobody succeeds replica {}", dead + 1);
            }
            assert_eq!(leader(run).1, term + 1);
            run.boot(dead);
            run.until(since + 2 * SECOND);
        }
    });
}
