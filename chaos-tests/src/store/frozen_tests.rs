//! A replica that is frozen again and again, and nothing else goes wrong.

use super::*;

/// Its silence, and the election.
const REPLACED_MAX: Duration = Duration::from_millis(800);
const SECOND: Duration = Duration::from_secs(1);

fn leader(run: &Run) -> (Host, u64) {
    let leading = run.standings().into_iter().filter(|standing| standing.role == Role::Leader);
    let newest = leading.max_by_key(|standing| standing.term).expect("somebody has led");
    (newest.id as Host - 1, newest.term)
}

/// How often this replica has missed its leader.
fn missed(run: &Run, host: Host) -> u64 {
    run.shared.lock().stores[&(host as u64 + 1)].metrics().elections_after_silence.load(Relaxed)
}

fn in_a_calm_world(seed: u64, story: impl FnOnce(&mut Run) + Send + 'static) {
    prepare();
    let ran = os::run(seed, move || {
        let mut run = Run::new(Plan { seed, replicas: 3, faults: Vec::new(), ends_ms: 0 });
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
            let written = run.shared.lock().acknowledged.len();
            run.until(since + SECOND);
            assert!(run.shared.lock().acknowledged.len() > written);
            run.until(since + 3 * SECOND);
            run.world.thaw(frozen);
            run.until(run.world.now() + SECOND);
            assert_eq!(leader(run).1, term + 1, "the deposed leader disturbs nobody");
        }
    });
}

#[test]
fn a_follower_that_was_frozen_does_not_take_its_own_silence_for_the_leader_s() {
    in_a_calm_world(12, |run| {
        let ((lead, term), asked) = (leader(run), run.world.now());
        let follower = (lead + 1) % 3;
        for round in 0..8 {
            run.world.freeze(follower);
            run.until(asked + (4 * round + 2) * SECOND);
            run.world.thaw(follower);
            run.until(asked + (4 * round + 4) * SECOND);
        }
        assert_eq!((leader(run), missed(run, follower)), ((lead, term), 0));
    });
}
