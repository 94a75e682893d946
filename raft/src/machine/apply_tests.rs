//! Tests of `apply`: examples, and properties over random commands.

use proptest::prelude::*;

use super::*;
use crate::command::Op;

fn op(key: &str, precondition: Precondition, action: Action) -> Op {
    Op { key: Bytes::copy_from_slice(key.as_bytes()), precondition, action }
}

fn put(key: &str, value: &str) -> Op {
    op(key, Precondition::Any, Action::Put(Bytes::copy_from_slice(value.as_bytes())))
}

fn command(ops: Vec<Op>) -> Command {
    Command { fence: None, proposed_at_ms: 5, author: "test".into(), ops }
}

fn revisions(outcome: Outcome) -> Vec<Revision> {
    match outcome {
        Outcome::Applied { revisions } => revisions,
        other => panic!("not applied: {other:?}"),
    }
}

#[test]
fn every_change_has_its_own_revision() {
    let mut state = State::default();
    let (outcome, changes) = apply(&mut state, 1, command(vec![put("a", "1"), put("b", "1"), put("a", "2")]));
    assert_eq!(revisions(outcome), [1, 2, 3]);
    assert_eq!(changes.iter().map(|change| change.revision).collect::<Vec<_>>(), [1, 2, 3]);
    let a = state.get(b"a").unwrap();
    assert_eq!((a.revision, a.created, &a.value[..]), (3, 1, &b"2"[..]));
    assert!(matches!(&changes[2].previous, Previous::Was(was) if was.revision == 1));
}

#[test]
fn checks_and_empty_deletes_take_no_revision() {
    let mut state = State::default();
    let delete = op("gone", Precondition::Any, Action::Delete);
    let check = op("a", Precondition::AtRevision(1), Action::Check);
    let (outcome, changes) = apply(&mut state, 1, command(vec![put("a", "1"), delete, check]));
    assert_eq!(revisions(outcome), [1, 1, 1]);
    assert_eq!(changes.len(), 1);
}

#[test]
fn a_deleted_key_is_made_anew() {
    let mut state = State::default();
    let delete = op("a", Precondition::AtRevision(1), Action::Delete);
    let again = op("a", Precondition::Absent, Action::Put(Bytes::from_static(b"2")));
    let (outcome, changes) = apply(&mut state, 1, command(vec![put("a", "1"), delete, again]));
    assert_eq!(revisions(outcome), [1, 2, 3]);
    assert_eq!(state.get(b"a").unwrap().created, 3);
    assert!(matches!(&changes[1].previous, Previous::Was(was) if &was.value[..] == b"1"), "a delete gives what was");
    assert_eq!(changes[2].previous, Previous::Absent);
}

#[test]
fn one_conflict_refuses_the_whole_command() {
    let mut state = State::default();
    apply(&mut state, 1, command(vec![put("a", "1")]));
    let absent = op("a", Precondition::Absent, Action::Put(Bytes::new()));
    let (outcome, changes) = apply(&mut state, 1, command(vec![put("b", "1"), absent]));
    let Outcome::Conflict { key, current } = outcome else { panic!("{outcome:?}") };
    assert_eq!((&key[..], current.unwrap().revision), (&b"a"[..], 1));
    assert!(changes.is_empty() && state.get(b"b").is_none());
    assert_eq!(state.revision(), 1);
}

#[test]
fn only_its_own_term_applies_a_fenced_command() {
    for (fence, term, applies) in [(None, 7, true), (Some(7), 7, true), (Some(6), 7, false), (Some(8), 7, false)] {
        let mut state = State::default();
        let (outcome, _) = apply(&mut state, term, Command { fence, ..command(vec![put("a", "1")]) });
        match applies {
            true => assert_eq!(revisions(outcome), [1]),
            false => assert_eq!(outcome, Outcome::Fenced { term: 7 }),
        }
        assert_eq!(state.get(b"a").is_some(), applies);
    }
}

fn any_op() -> impl Strategy<Value = Op> {
    let precondition = prop_oneof![
        4 => Just(Precondition::Any),
        1 => Just(Precondition::Absent),
        1 => (1u64..30).prop_map(Precondition::AtRevision),
    ];
    let action = prop_oneof![
        3 => any::<[u8; 2]>().prop_map(|value| Action::Put(Bytes::copy_from_slice(&value))),
        2 => Just(Action::Delete),
        1 => Just(Action::Check),
    ];
    ("[a-d]", precondition, action).prop_map(|(key, precondition, action)| op(&key, precondition, action))
}

fn any_commands() -> impl Strategy<Value = Vec<Command>> {
    let ops = prop::collection::vec(any_op(), 1..5);
    let fence = prop_oneof![3 => Just(None), 1 => (1u64..3).prop_map(Some)];
    let one = (fence, ops).prop_map(|(fence, ops)| Command { fence, ..command(ops) });
    prop::collection::vec(one, 1..20)
}

proptest! {
    #[test]
    fn the_changes_tell_the_whole_story(commands in any_commands()) {
        let mut state = State::default();
        let mut history = Vec::new();
        let mut as_of = vec![state.clone()];
        for command in commands {
            let before = state.clone();
            let (outcome, changes) = apply(&mut state, 1, command);
            let applied = matches!(outcome, Outcome::Applied { .. });
            prop_assert!(applied || (changes.is_empty() && state.objects().eq(before.objects())));
            for change in changes {
                prop_assert_eq!(change.revision, history.len() as u64 + 1, "revisions have no gaps");
                history.push(change);
                as_of.push(State::default());
            }
            *as_of.last_mut().unwrap() = state.clone();
        }
        // Replayed forwards they make the state, and undone one by one every state before it.
        let mut replayed = State::default();
        for change in &history {
            match &change.value {
                Some(value) => {
                    let created = match &change.previous {
                        Previous::Was(was) => was.created,
                        _ => change.revision,
                    };
                    let versioned = Versioned { revision: change.revision, created, value: value.clone() };
                    replayed.insert(change.key.clone(), versioned);
                }
                None => drop(replayed.remove(&change.key[..])),
            }
        }
        prop_assert!(replayed.objects().eq(state.objects()));
        replayed.set_revision(state.revision());
        prop_assert_eq!(replayed.digest(), state.digest());
        let mut undone = state.clone();
        for change in history.iter().rev() {
            prop_assert_eq!(undo(&mut undone, change), Ok(()));
            let then = &as_of[undone.revision() as usize];
            let same = then.objects().eq(undone.objects()) && then.digest() == undone.digest();
            prop_assert!(then.revision() != undone.revision() || same);
        }
        prop_assert!(undone.is_empty());
    }
}
