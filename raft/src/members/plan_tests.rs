use super::*;

fn place(id: u64) -> Place {
    Place { peer_address: format!("host-{id}:6444"), client_address: format!("host-{id}:6443") }
}

/// Leader 1, at entry 5000; everybody in `up` has all of it.
fn view(voters: &[u64], learners: &[u64], up: &[u64]) -> View {
    View {
        leader: 1,
        voters: voters.iter().copied().collect(),
        members: voters.iter().chain(learners).map(|id| (*id, place(*id))).collect(),
        last_index: 5000,
        seen: up.iter().map(|id| (*id, Seen { applied: 5000, abstains: false, serves: true })).collect(),
        removed: BTreeSet::new(),
        last_id: 0,
    }
}

/// Fenced, or on a disk that has failed: its process answers, and it acknowledges nothing.
const UNFIT: Seen = Seen { applied: 5000, abstains: false, serves: false };

fn voters(step: Result<Step, Refusal>) -> Vec<u64> {
    match step {
        Ok(Step::Set { voters, .. }) => voters.into_iter().collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_learner_is_promoted_only_when_it_answers_is_filled_and_keeps_up() {
    let promote = |view: &View| plan(view, &MemberChange::Promote { id: 4 });
    let mut now = view(&[1, 2, 3], &[4], &[1, 2, 3, 4]);
    assert_eq!(voters(promote(&now)), [1, 2, 3, 4]);
    now.seen.insert(4, Seen { applied: 5000 - LAG_MAX - 1, abstains: false, serves: true });
    assert_eq!(promote(&now), Err(Refusal::Lags { id: 4, lag: LAG_MAX + 1 }));
    now.seen.insert(4, Seen { applied: 5000 - LAG_MAX, abstains: false, serves: true });
    assert_eq!(voters(promote(&now)), [1, 2, 3, 4]);
    now.seen.insert(4, Seen { applied: 4999, abstains: true, serves: false });
    assert_eq!(promote(&now), Err(Refusal::Filling(4)));
    now.seen.insert(4, UNFIT);
    assert_eq!(promote(&now), Err(Refusal::Unfit(4)));
    now.seen.remove(&4);
    assert_eq!(promote(&now), Err(Refusal::Silent(4)));
    assert_eq!(plan(&now, &MemberChange::Promote { id: 2 }), Ok(Step::Done));
    assert!(matches!(plan(&now, &MemberChange::Promote { id: 9 }), Err(Refusal::Unknown { id: 9, .. })));
}

#[test]
fn no_change_leaves_fewer_voters_answering_than_are_needed() {
    let remove = |view: &View, id| plan(view, &MemberChange::Remove { id });
    assert_eq!(voters(remove(&view(&[1, 2, 3], &[], &[1, 2]), 3)), [1, 2], "the dead one");
    let refused = remove(&view(&[1, 2, 3], &[], &[1, 2]), 2).unwrap_err();
    assert!(matches!(&refused, Refusal::Quorum { voters: 2, able: 1, needed: 2, .. }), "{refused}");
    assert!(refused.to_string().ends_with("still being filled: replica 3"), "{refused}");
    assert_eq!(voters(remove(&view(&[1, 2], &[], &[1]), 2)), [1], "decided; whether two can commit it, raft says");
    assert_eq!(remove(&view(&[1], &[], &[1]), 1), Err(Refusal::LastVoter(1)));
    // One that is empty has no vote to give, and cannot lead.
    let mut filling = view(&[1, 2, 3], &[], &[1, 2, 3]);
    filling.seen.insert(3, Seen { applied: 4999, abstains: true, serves: false });
    assert!(matches!(remove(&filling, 2), Err(Refusal::Quorum { able: 1, .. })));
    assert_eq!(voters(remove(&filling, 3)), [1, 2]);
    assert_eq!(plan(&filling, &MemberChange::Transfer { to: Some(3) }), Err(Refusal::Filling(3)));
    let mut unfit = view(&[1, 2, 3], &[], &[1, 2, 3]);
    unfit.seen.insert(3, UNFIT);
    assert!(matches!(remove(&unfit, 2), Err(Refusal::Quorum { able: 1, .. })));
    assert_eq!(voters(remove(&unfit, 3)), [1, 2]);
    assert_eq!(plan(&unfit, &MemberChange::Transfer { to: Some(3) }), Err(Refusal::Unfit(3)));
    // 3 of 4 are needed, and 3 answer.
    assert_eq!(voters(plan(&view(&[1, 2, 3], &[4], &[1, 2, 4]), &MemberChange::Promote { id: 4 })), [1, 2, 3, 4]);
    let narrow = view(&[1, 2, 3, 5], &[4], &[1, 4]);
    assert!(matches!(plan(&narrow, &MemberChange::Promote { id: 4 }), Err(Refusal::Quorum { .. })));
}

#[test]
fn a_learner_goes_whoever_answers_and_a_leader_hands_over_first() {
    let now = view(&[1, 2, 3], &[4], &[1, 2]);
    let step = plan(&now, &MemberChange::Remove { id: 4 }).unwrap();
    assert!(matches!(step, Step::Set { ref members, .. } if !members.contains_key(&4)), "{step:?}");
    let now = view(&[1, 2, 3], &[], &[1, 2, 3]);
    assert_eq!(plan(&now, &MemberChange::Remove { id: 1 }), Ok(Step::HandOver(None)));
}

#[test]
fn a_removed_id_stays_removed() {
    let mut now = view(&[1, 2], &[], &[1, 2]);
    now.removed.insert(3);
    assert_eq!(plan(&now, &MemberChange::Remove { id: 3 }), Ok(Step::Done), "asked for again");
    assert_eq!(plan(&now, &MemberChange::Promote { id: 3 }), Err(Refusal::Removed(3)));
    let back = MemberChange::Move { id: 3, peer_address: "a:1".into(), client_address: "a:2".into() };
    assert_eq!(plan(&now, &back), Err(Refusal::Removed(3)));
}

#[test]
fn a_removal_whose_mark_is_not_written_yet_is_done_when_asked_for_again() {
    let mut now = view(&[1, 2], &[], &[1, 2]);
    now.last_id = 3;
    let remove = |id| plan(&now, &MemberChange::Remove { id });
    assert_eq!(remove(3), Ok(Step::Done));
    for never in [0, 4] {
        assert!(matches!(remove(never), Err(Refusal::Unknown { id, .. }) if id == never), "{never}");
    }
    assert_eq!(plan(&now, &MemberChange::Promote { id: 3 }), Err(Refusal::Removed(3)));
}

#[test]
fn addresses_are_addresses_and_nobody_else_s() {
    let now = view(&[1, 2], &[], &[1, 2]);
    let add = |peer: &str| plan(&now, &MemberChange::Add { peer_address: peer.into(), client_address: "x:1".into() });
    assert!(matches!(add("host-9:6444"), Ok(Step::Add(_))));
    assert!(matches!(add("host-2:6444"), Err(Refusal::AddressTaken { taken_by: 2, .. })));
    for wrong in ["host", "no such host:6444"] {
        assert!(matches!(add(wrong), Err(Refusal::Address { address, .. }) if address == wrong), "{wrong}");
    }
    let client = MemberChange::Add { peer_address: "x:1".into(), client_address: "no such host:6443".into() };
    let refused = plan(&now, &client).unwrap_err().to_string();
    assert!(refused.starts_with("\"no such host:6443\" is no address of a replica: ' ' cannot"), "{refused}");
    let stays =
        MemberChange::Move { id: 2, peer_address: place(2).peer_address, client_address: place(2).client_address };
    assert_eq!(plan(&now, &stays), Ok(Step::Done));
}

#[test]
fn the_leadership_goes_to_a_voter_that_answers() {
    let now = view(&[1, 2, 3], &[4], &[1, 2, 4]);
    let to = |to| plan(&now, &MemberChange::Transfer { to: Some(to) });
    assert_eq!(to(2), Ok(Step::HandOver(Some(2))));
    assert_eq!(to(1), Ok(Step::Done));
    assert_eq!(to(3), Err(Refusal::Silent(3)));
    assert_eq!(to(4), Err(Refusal::CannotLead(4)));
}
