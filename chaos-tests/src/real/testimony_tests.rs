use proto::api::ReplicaStatus;

use super::*;

/// What a replica answers of its own state, and of who leads, it and the next one.
fn reply(host: Host, (term, leader): (u64, u64), (revision, state_digest): (Revision, u64)) -> StatusReply {
    let replica = |id| ReplicaStatus { id, term, leader, ..ReplicaStatus::default() };
    let replicas = vec![replica(host), replica(host + 1)];
    StatusReply { answered_by: host, replicas, revision, state_digest, ..StatusReply::default() }
}

/// One after another: who answers, in which run of it, in which term who leads, the revision of its state and its digest.
type Answer = (Host, Option<u64>, (u64, u64), (Revision, u64));

fn looked(answers: &[Answer]) -> Result<Tally, String> {
    let mut testimony = Testimony::default();
    let look = |(host, run, led, state): &Answer| testimony.look(*host, *run, &reply(*host, *led, *state));
    answers.iter().try_for_each(look)?;
    Ok(testimony.tally())
}

fn leads(term: u64, at: Revision) -> Said {
    Said::Leads { term, at }
}

fn wrote(term: u64, made: &[Revision]) -> Said {
    Said::Wrote { term, controller: "replicaset".into(), key: "a".into(), made: made.into() }
}

/// What the logs say, one line after another, and what comes of it.
fn heard(said: Vec<(Host, Said)>) -> Result<Tally, String> {
    let mut testimony = Testimony::default();
    said.into_iter().try_for_each(|(host, said)| testimony.hear(host, said))?;
    testimony.judge()?;
    Ok(testimony.tally())
}

#[test]
fn what_sound_replicas_answer_is_counted() {
    let answers = [
        (1, Some(1), (4, 1), (7, 70)),
        (2, Some(1), (4, 1), (7, 70)),
        (2, Some(1), (5, 2), (9, 90)),
        (1, Some(1), (5, 0), (9, 90)),
        (1, Some(1), (5, 2), (9, 90)),
    ];
    let tally = looked(&answers).unwrap();
    assert_eq!((tally.looks, tally.claims, tally.terms, tally.compared), (5, 8, 2, 3));
}

#[test]
fn two_who_lead_one_term_are_noticed_whoever_says_so() {
    assert!(looked(&[(1, Some(1), (4, 1), (7, 70)), (2, Some(1), (4, 2), (7, 70))]).is_err());
    assert!(looked(&[(3, Some(1), (4, 1), (7, 70)), (3, Some(1), (4, 2), (7, 70))]).is_err(), "one who follows");
    assert!(heard(vec![(1, leads(4, 7)), (2, leads(4, 7))]).is_err(), "in their logs");
    assert!(heard(vec![(1, leads(4, 7)), (2, wrote(4, &[8]))]).is_err(), "in what it writes");
    let mut both = Testimony::default();
    both.hear(1, leads(4, 7)).unwrap();
    assert!(both.look(2, None, &reply(2, (4, 2), (7, 70))).is_err(), "in a log and an answer");
}

#[test]
fn two_states_of_one_revision_are_noticed() {
    let at = |one, other| looked(&[(1, Some(1), (4, 1), (7, one)), (2, None, (4, 1), (7, other))]);
    assert!(at(70, 71).is_err());
    assert_eq!(at(70, 70).unwrap().compared, 1);
    assert_eq!(at(0, 70).unwrap().compared, 0, "one that tells no digest");
}

#[test]
fn a_replica_that_goes_back_in_one_run_is_noticed() {
    let first = (1, Some(1), (4, 3), (7, 70));
    let then = |run, term, revision: Revision| looked(&[first, (1, run, (term, 3), (revision, 10 * revision))]);
    then(Some(1), 4, 7).unwrap();
    assert!(then(Some(1), 4, 6).is_err(), "its state");
    assert!(then(Some(1), 3, 7).is_err(), "its term");
    then(Some(2), 3, 2).unwrap();
    then(None, 4, 6).unwrap();
    assert!(looked(&[first, (2, Some(1), (4, 3), (6, 60))]).is_ok(), "another one lags");
}

#[test]
fn one_that_answers_in_another_s_place_is_noticed() {
    assert!(Testimony::default().look(1, Some(1), &reply(2, (4, 2), (7, 70))).is_err());
}

#[test]
fn controllers_that_go_on_after_their_term_are_noticed() {
    let tally = heard(vec![(1, leads(4, 7)), (1, wrote(4, &[8, 9])), (2, leads(5, 9)), (2, wrote(5, &[10]))]).unwrap();
    assert_eq!((tally.begun, tally.written, tally.terms), (2, 3, 2));
    let late = |made: Revision| heard(vec![(2, leads(5, 9)), (1, leads(4, 7)), (1, wrote(4, &[made]))]);
    assert!(late(9).is_ok() && late(10).is_err(), "what the new leader has found there may be the old one's");
    let again = vec![(1, leads(4, 7)), (2, leads(5, 9)), (1, leads(6, 11)), (1, wrote(4, &[12]))];
    assert!(heard(again).is_err(), "it leads again, but that is an earlier term's");
    assert!(heard(vec![(1, leads(4, 7)), (1, wrote(4, &[7]))]).is_err(), "before its term");
    assert!(heard(vec![(1, wrote(4, &[8]))]).is_err(), "before any term");
}

#[test]
fn two_writes_of_one_revision_are_noticed() {
    let other = Said::Wrote { term: 4, controller: "replicaset".into(), key: "b".into(), made: vec![8] };
    assert!(heard(vec![(1, leads(4, 7)), (1, wrote(4, &[8])), (1, other)]).is_err());
}

#[test]
fn terms_of_an_earlier_round_count() {
    let mut testimony = Testimony::default();
    for (host, said) in [(1, leads(4, 7)), (2, leads(5, 9))] {
        testimony.hear(host, said).unwrap();
    }
    testimony.judge().unwrap();
    testimony.hear(1, wrote(4, &[12])).unwrap();
    assert!(testimony.judge().is_err());
}

#[test]
fn where_no_state_is_odd_nobody_finds_one() {
    assert!(heard(vec![(1, Said::Serves)]).is_ok());
    assert!(heard(vec![(1, Said::Fenced)]).is_err());
    assert!(heard(vec![(1, Said::Suspects)]).is_err());
}

#[test]
fn what_nobody_told_of_is_named() {
    let all = Tally { looks: 1, claims: 1, terms: 1, begun: 1, compared: 1, written: 1, bookmarks: 1 };
    assert!(all.untold().is_empty());
    assert_eq!(Tally::default().untold().len(), 6);
    assert!(Tally { compared: 0, ..all }.untold()[0].contains("of their states"));
}
