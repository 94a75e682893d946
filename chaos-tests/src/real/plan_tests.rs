use std::collections::BTreeSet;

use super::*;

const WORLD: World = World { hosts: 3, small_disk: Some(3), leader: 2, engines: false, links: true };

#[test]
fn the_same_seed_has_the_same_episodes_and_all_kinds_come_up_once_around() {
    for seed in 0..50 {
        let mut kinds = BTreeSet::new();
        for number in 0..KINDS {
            let episode = Episode::draw(seed, number, &WORLD);
            assert_eq!(episode.faults, Episode::draw(seed, number, &WORLD).faults);
            for fault in &episode.faults {
                let text = format!("{:?}", fault.kind);
                kinds.insert(text.split('(').next().map(str::to_owned));
            }
        }
        assert_eq!(kinds.len(), 13, "{kinds:?}");
    }
}

#[test]
fn damage_comes_alone_and_every_fault_ends() {
    let is_damage =
        |fault: &Fault| matches!(fault.kind, Kind::TornLog(..) | Kind::FlippedBit(..) | Kind::FlippedBeneath(..));
    for number in 0..500 {
        let episode = Episode::draw(7, number, &WORLD);
        assert!(episode.faults.len() == 1 || !episode.faults.iter().any(is_damage), "episode {number}");
        let actions = episode.actions(3);
        assert!(actions.is_sorted_by_key(|(at, _)| *at));
        for (place, (_, action)) in actions.iter().enumerate() {
            let ends = |later: &Action| match action {
                Action::Kill(host) | Action::SwitchOff(host) => *later == Action::Start(*host),
                Action::Freeze(host) => *later == Action::Thaw(*host),
                Action::Cut(pairs) => *later == Action::Mend(pairs.clone()),
                Action::Fill(host) => *later == Action::Free(*host),
                _ => true,
            };
            assert!(actions[place..].iter().any(|(_, later)| ends(later)), "episode {number}: {action:?}");
        }
    }
}

#[test]
fn what_a_world_does_not_have_is_left_out_and_all_else_comes_up() {
    let loopback = World { links: false, small_disk: None, ..WORLD };
    let kinds = (0..KINDS).filter(|kind| loopback.has(*kind)).count() as u64;
    assert_eq!(kinds, KINDS - 4);
    for seed in 0..50 {
        let mut names = BTreeSet::new();
        for number in 0..kinds {
            let episode = Episode::draw(seed, number, &loopback);
            assert!(!episode.faults.is_empty(), "seed {seed}, episode {number}");
            for fault in &episode.faults {
                names.insert(format!("{:?}", fault.kind).split('(').next().map(str::to_owned));
            }
            for (_, action) in episode.actions(3) {
                let needs_more = matches!(action, Action::Cut(_) | Action::Mend(_) | Action::Fill(_) | Action::Free(_));
                assert!(!needs_more, "seed {seed}, episode {number}: {action:?}");
            }
        }
        assert_eq!(names.len(), 9, "{names:?}");
    }
}

#[test]
fn where_engines_run_a_host_is_away_for_long_at_first() {
    let world = World { engines: true, ..WORLD };
    for seed in 0..50 {
        let first = Episode::draw(seed, 0, &world).faults;
        assert!(first.len() == 1 && matches!(first[0].kind, Kind::SwitchOff(_)), "{first:?}");
        assert!(first[0].for_ms >= AWAY_MS.0, "{first:?}");
        let kinds: BTreeSet<_> = deck(seed, 0, &world).into_iter().collect();
        assert_eq!(kinds.len() as u64, KINDS);
    }
}

#[test]
fn a_leader_dies_after_half_of_the_torn_logs() {
    let (mut mild, mut hard, mut empty) = (0, 0, 0);
    for number in 0..2000 {
        for fault in Episode::draw(3, number, &WORLD).faults {
            let Kind::TornLog(host, tear, then) = fault.kind else { continue };
            empty += u64::from(matches!(tear, Tear::Empty(_)));
            match then {
                Then::Nothing => mild += 1,
                Then::LeaderDies(leader, _) | Then::OthersLag(leader, _) => {
                    hard += 1;
                    assert!(leader == WORLD.leader && host != leader, "{fault:?}");
                }
            }
        }
    }
    assert!(mild > 40 && hard > 40 && empty > 40, "{mild} {hard} {empty}");
}

#[test]
fn hosts_are_those_that_there_are() {
    for number in 0..500 {
        for (_, action) in Episode::draw(9, number, &WORLD).actions(3) {
            if let Action::Cut(pairs) = action {
                assert!(
                    pairs.iter().all(|(one, other)| one != other && (1..=3).contains(one) && (1..=3).contains(other))
                );
            }
        }
    }
}
