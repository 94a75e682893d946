//! A leader that is frozen again and again, and nothing else goes wrong.

use super::*;

/// Its silence, and the election.
const REPLACED_MAX: Duration = Duration::from_millis(800);
const SECOND: Duration = Duration::from_secs(1);

fn leader(run: &Run) -> (Host, u64) {
    let leading = run.standings().into_iter().filter(|standing| standing.role == Role::Leader);
    let newest = leading.max_by_key(|standing| standing.term).expect("somebody has led");
    (newest.id as Host - 1, newest.term)
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
