//! Pods whose nodes are gone: who ends them, and when.

use serde_json::{Value, json};

use super::*;
use crate::scheduler::fixtures::{World, bound, key_of, node, with};

const START: i64 = 1_000_000;

/// A pod of a node that does not exist. Its agent was heard at the beginning.
fn lost(patch: &Value) -> (World, Key) {
    let pod = with(bound("lost", "gone"), patch.clone());
    let key = key_of(&pod);
    let mut world = World::new([pod]);
    world.at(START);
    world.heard("gone", true);
    (world, key)
}

/// As if its owner had wanted it to end.
fn ending() -> Value {
    json!({"metadata": {"deletionTimestamp": "1970-01-12T13:46:40Z", "deletionGracePeriodSeconds": 30}})
}

fn settle(world: &mut World, key: &Key) -> usize {
    world.settle(&PodGarbage::default(), key).len()
}

#[test]
fn a_lost_node_that_was_told_of_in_a_time_to_come_is_told_of_anew() {
    let (mut world, key) = lost(&json!({}));
    world.at(START + 3600);
    assert_eq!(settle(&mut world, &key), 1);

    world.at(START);
    assert_eq!(settle(&mut world, &key), 1, "the clock was set back");
    world.at(START + 39);
    assert_eq!(settle(&mut world, &key), 0);
    world.at(START + 40);
    assert_eq!(settle(&mut world, &key), 1);
    assert!(world.get(&key).is_none());
}

/// Its containers may run: without its object another pod could have its name beside them.
#[test]
fn as_long_as_its_agent_is_heard_a_pod_that_ends_is_the_agents_to_remove() {
    for patch in [ending(), json!({"status": {"phase": "Succeeded"}})] {
        let (mut world, key) = lost(&patch);
        assert_eq!(settle(&mut world, &key), 1, "it is told that its node is gone");
        for second in (10..=600).step_by(10) {
            world.at(START + second);
            world.heard("gone", true);
            assert_eq!(settle(&mut world, &key), 0, "{patch} after {second} s");
        }
        world.at(START + 639);
        assert_eq!(settle(&mut world, &key), 0);
        world.at(START + 640);
        assert_eq!(settle(&mut world, &key), 1, "its session is over");
        assert!(world.get(&key).is_none(), "{patch}");
    }
}

#[test]
fn a_pod_whose_node_stays_away_while_its_agent_is_heard_is_told_to_end_and_not_removed() {
    for grace_seconds in [30, 0] {
        let (mut world, key) = lost(&json!({"spec": {"terminationGracePeriodSeconds": grace_seconds}}));
        assert_eq!(settle(&mut world, &key), 1);
        world.at(START + 39);
        world.heard("gone", true);
        assert_eq!(settle(&mut world, &key), 0);
        world.at(START + 41);
        assert_eq!(settle(&mut world, &key), 1);
        let pod = world.get(&key).expect("its agent has not ended it yet");
        assert!(!pod["metadata"]["deletionTimestamp"].is_null(), "{pod}");
        world.at(START + 79);
        assert_eq!(settle(&mut world, &key), 1);
        assert!(world.get(&key).is_none());
    }
}

#[test]
fn a_leader_that_cannot_tell_yet_whether_an_agent_lives_waits() {
    let (mut world, key) = lost(&ending());
    settle(&mut world, &key);
    world.at(START + 100);
    world.view.liveness.clear();
    let plan = PodGarbage::default().plan(&world.view, &key);
    assert!(plan.writes.is_empty(), "{plan:?}");
    assert_eq!(plan.recheck_at.map(|at| at.as_second()), Some(START + 105));
}

#[test]
fn a_node_that_is_back_and_gone_again_has_its_time_anew() {
    let (mut world, key) = lost(&ending());
    assert_eq!(settle(&mut world, &key), 1);
    world.put(node("gone"));
    world.at(START + 100);
    assert_eq!(settle(&mut world, &key), 1, "its node is back");
    world.delete(&Key::new("", "nodes", "", "gone"));
    assert_eq!(settle(&mut world, &key), 1, "and gone again");
    world.at(START + 139);
    assert_eq!(settle(&mut world, &key), 0);
    world.at(START + 140);
    assert_eq!(settle(&mut world, &key), 1);
    assert!(world.get(&key).is_none());
}

#[test]
fn a_pod_of_which_nothing_could_be_begun_holds_no_session_up() {
    let finished = json!({"status": {"phase": "Failed"}});
    for (patch, expected) in [(json!({}), true), (ending(), false), (finished, false)] {
        let (mut world, key) = lost(&patch);
        assert_eq!(settle(&mut world, &key), 1, "it is told that its node is gone");
        let pod: Pod = serde_json::from_value(world.get(&key).expect("the pod")).expect("a pod");
        assert_eq!(may_be_given_up(&pod), expected, "{patch}");
    }
}
