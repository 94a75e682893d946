//! A replica that lost its disk has forgotten which terms it knew. Until the others have told it, it takes nothing from
//! any leader: one that was replaced long ago would count its acknowledgement into a majority and overrule what is
//! committed (ADR 8). `least_term` decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use proto::peer::{DescribeReply, DescribeRequest};
use tokio::time::Instant;

use crate::peer::channels::{Channels, Lane};
use crate::types::Place;

const ASK: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_millis(200);
/// Who waits says so now and then.
const TELL_EVERY: Duration = Duration::from_secs(10);
const UNKNOWN: u64 = u64::MAX;

pub struct Recall {
    /// The least term whose leader is believed.
    least: AtomicU64,
}

impl Recall {
    pub fn new(forgot: bool) -> Arc<Recall> {
        Arc::new(Recall { least: AtomicU64::new(if forgot { UNKNOWN } else { 0 }) })
    }

    pub fn learn(&self, least: u64) {
        self.least.store(least, SeqCst);
    }

    pub fn is_certain(&self) -> bool {
        self.least.load(SeqCst) != UNKNOWN
    }

    pub fn believes(&self, term: u64) -> bool {
        let least = self.least.load(SeqCst);
        least != UNKNOWN && term >= least
    }
}

type Answers = BTreeMap<u64, DescribeReply>;
/// Where a membership lies in the log: term and index.
type At = (u64, u64);

/// Asks the members until so many have answered as are enough. `votes_end`: no candidate counts a vote for longer after it was
/// given. Not sooner: one whom this replica voted for before it forgot could still be elected by others who had answered by then.
pub async fn ask(own: u64, initial: &BTreeMap<u64, Place>, channels: &Channels, votes_end: Duration) -> u64 {
    let mut known = initial.clone();
    let mut newest = None;
    let mut pause = votes_end;
    let mut told = Instant::now();
    loop {
        let answers = round(own, &known, channels).await;
        // Never after the first round: nothing was known before it.
        if let Some(term) = least_term(own, newest, &answers) {
            return term;
        }
        newest = newest.max(newest_committed(own, &answers));
        // Where members are by now, and who has come since this replica was configured.
        let up_to_date = answers.values().filter(|answer| committed_at(answer) == newest);
        for voter in up_to_date.flat_map(|answer| &answer.voters) {
            if let Some(place) = &voter.place {
                let (peer_address, client_address) = (place.peer_address.clone(), place.client_address.clone());
                known.insert(voter.id, Place { peer_address, client_address });
            }
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            let knows = |id: &u64| remembering(own, &answers).any(|(known, _)| known == *id);
            let missing: Vec<u64> = known.keys().filter(|id| **id != own && !knows(id)).copied().collect();
            tracing::info!(
                ?missing,
                "this replica has forgotten whom it voted for, and waits until more of the others have told it \
                 their term; missing are those that are silent, or have forgotten as well"
            );
        }
        tokio::time::sleep(pause).await;
        pause = AGAIN;
    }
}

async fn round(own: u64, known: &BTreeMap<u64, Place>, channels: &Channels) -> Answers {
    let others = known.iter().filter(|(id, _)| **id != own);
    let asked = others.map(|(id, place)| async move {
        let mut client = channels.client(*id, &place.peer_address, Lane::Control);
        let answer = tokio::time::timeout(ASK, client.describe(DescribeRequest {})).await;
        Some((*id, answer.ok()?.ok()?.into_inner()))
    });
    futures::future::join_all(asked).await.into_iter().flatten().collect()
}

/// Where the newest membership lies that a replica knows to be committed. `None`: it knows of none.
fn committed_at(answer: &DescribeReply) -> Option<At> {
    answer.members_committed_at.map(|at| (at.term, at.index))
}

/// Those that have not forgotten anything themselves, and tell the members that they know last.
fn remembering(own: u64, answers: &Answers) -> impl Iterator<Item = (u64, &DescribeReply)> {
    let counts = move |(id, answer): &(u64, &DescribeReply)| {
        *id != own && !answer.abstains && answer.current && !answer.voters.is_empty()
    };
    answers.iter().map(|(id, answer)| (*id, answer)).filter(counts)
}

fn newest_committed(own: u64, answers: &Answers) -> Option<At> {
    remembering(own, answers).filter_map(|(_, answer)| committed_at(answer)).max()
}

/// The highest term of those who answered and count: if they are so many that every majority which this replica was ever part of
/// shares one of them, then whatever it acknowledged and voted for, they know a term as high. `since`: the newest membership that
/// was known to be committed before anybody was asked for these answers. What only older ones count for does not matter then,
/// nor who has been removed. `None`: too few.
fn least_term(own: u64, since: Option<At>, answers: &Answers) -> Option<u64> {
    let newest = newest_committed(own, answers)?;
    if since != Some(newest) {
        return None;
    }
    let remembering: Vec<(u64, &DescribeReply)> = remembering(own, answers).collect();
    let up_to_date = remembering.iter().filter(|(_, answer)| committed_at(answer) == Some(newest));
    let groups: BTreeSet<BTreeSet<u64>> =
        up_to_date.flat_map(|(_, answer)| [voters(answer), committed(answer)]).collect();
    let count = |(id, _): &&(u64, &DescribeReply)| groups.iter().any(|group| group.contains(id));
    match groups.iter().all(|group| is_enough(own, group, &remembering)) {
        true => remembering.iter().filter(count).map(|(_, answer)| answer.term).max(),
        false => None,
    }
}

/// Of the newest membership in a replica's log.
fn voters(answer: &DescribeReply) -> BTreeSet<u64> {
    answer.voters.iter().map(|voter| voter.id).collect()
}

/// Of the one before, where the newest is not known to be committed.
fn committed(answer: &DescribeReply) -> BTreeSet<u64> {
    answer.voters_committed.iter().copied().collect()
}

/// A majority of the voters, this replica not counted among them: whatever these voters decided with it, also that there is one
/// voter more or less, and whatever those who are one more or less decided with it then, one of the majority knows (ADR 8). Half
/// of them is enough with one who leads by these very voters: nobody was elected after it without asking one of that half.
fn is_enough(own: u64, group: &BTreeSet<u64>, answers: &[(u64, &DescribeReply)]) -> bool {
    let of_group: Vec<&(u64, &DescribeReply)> = answers.iter().filter(|(id, _)| group.contains(id)).collect();
    let highest = of_group.iter().map(|(_, answer)| answer.term).max();
    let leads = |(id, answer): &&(u64, &DescribeReply)| {
        answer.leader == *id
            && Some(answer.term) == highest
            // Of two, that one has asked this replica for all that it did.
            && (group.len() == 2 || (answer.settled && voters(answer) == *group && committed(answer) == *group))
    };
    match group.contains(&own) && of_group.len() * 2 == group.len() {
        true => of_group.into_iter().any(|answer| leads(&answer)),
        false => of_group.len() > group.len() / 2,
    }
}

#[cfg(test)]
mod tests {
    use proto::peer::{LogId, Place, Voter};

    use super::*;

    const OWN: u64 = 3;

    /// Of a replica that knows these voters by the entry at this index, which is committed.
    fn answer_at(index: u64, term: u64, voters: &[u64]) -> DescribeReply {
        let voter = |id: &u64| Voter { id: *id, place: Some(Place::default()) };
        DescribeReply {
            term,
            voters: voters.iter().map(voter).collect(),
            voters_committed: voters.to_vec(),
            members_committed_at: Some(LogId { term: 1, index }),
            current: true,
            ..DescribeReply::default()
        }
    }

    fn answer(term: u64, voters: &[u64]) -> DescribeReply {
        answer_at(1, term, voters)
    }

    fn leads(id: u64, answer: DescribeReply) -> (u64, DescribeReply) {
        (id, DescribeReply { leader: id, settled: true, ..answer })
    }

    /// Asked a second time, after everybody had told which membership is the newest.
    fn least(answers: &[(u64, DescribeReply)]) -> Option<u64> {
        let answers = answers.iter().cloned().collect();
        least_term(OWN, newest_committed(OWN, &answers), &answers)
    }

    #[test]
    fn of_three_both_others_must_answer() {
        let all = [1, 2, 3];
        assert_eq!(least(&[]), None);
        assert_eq!(least(&[(1, answer(1, &all))]), None, "replica 2 may lead term 2 with what was acknowledged");
        assert_eq!(least(&[leads(1, answer(1, &all))]), None, "and this one not know it");
        assert_eq!(least(&[(1, answer(1, &all)), (2, answer(2, &all))]), Some(2));
        let empty = DescribeReply { abstains: true, ..answer(0, &all) };
        assert_eq!(least(&[(1, answer(1, &all)), (2, empty)]), None, "who forgot as well knows nothing");
        let nothing = DescribeReply { current: true, ..DescribeReply::default() };
        assert_eq!(least(&[(1, answer(1, &all)), (2, nothing)]), None, "nor who has just begun");
        let behind = DescribeReply { current: false, ..answer(2, &all) };
        assert_eq!(least(&[(1, answer(1, &all)), (2, behind)]), None, "nor who has proposed other members");
    }

    #[test]
    fn of_five_one_may_be_dead() {
        let all = [1, 2, 3, 4, 5];
        let three = [(1, answer(4, &all)), (4, answer(6, &all)), (5, answer(6, &all))];
        assert_eq!(least(&three), Some(6));
        assert_eq!(least(&three[..2]), None);
    }

    #[test]
    fn a_candidate_among_the_voters_is_heard_though_enough_others_follow_a_leader() {
        let all = [1, 2, 3, 4, 5];
        let answers = [(1, answer(5, &all)), (2, answer(4, &all)), leads(4, answer(4, &all)), (5, answer(4, &all))];
        assert_eq!(least(&answers), Some(5), "this replica may have voted for it");
    }

    #[test]
    fn of_four_all_others_must_answer_or_two_of_whom_one_leads() {
        // {3, 4, 5} may have made 5 a voter, and elected 4 since, while 1 follows a leader of before.
        let all = [1, 2, 3, 4];
        let three = [(1, answer(4, &all)), (2, answer(4, &all)), (4, answer(6, &all))];
        assert_eq!(least(&three[..2]), None);
        assert_eq!(least(&three), Some(6));
        let two = |leader| [leader, (2, answer(4, &all))];
        assert_eq!(least(&two(leads(1, answer(4, &all)))), Some(4));
        let unsettled = DescribeReply { settled: false, ..leads(1, answer(4, &all)).1 };
        assert_eq!(least(&two((1, unsettled))), None, "it may have lost what another one added");
        assert_eq!(least(&two(leads(1, answer(3, &all)))), None, "another one may lead by now");
        assert_eq!(least(&[leads(1, answer(4, &[1, 2]))]), None, "half of those of whom it is none is no majority");
        assert_eq!(least(&[(1, answer(4, &[1, 2, 4])), (2, answer(4, &[1, 2, 4]))]), Some(4), "it is new");
    }

    #[test]
    fn half_of_the_voters_and_a_leader_who_changes_the_members_are_too_few() {
        let (three, four) = (vec![1, 2, 3], vec![1, 2, 3, 4]);
        for (voters, before) in [(&three, &four), (&four, &three)] {
            let changing = DescribeReply { voters_committed: before.clone(), ..answer(4, voters) };
            assert_eq!(least(&[leads(1, changing.clone()), (2, changing)]), None, "{before:?} -> {voters:?}");
        }
    }

    #[test]
    fn of_two_the_other_one_must_lead() {
        let two = [1, 3];
        let with = |leader| least(&[(1, DescribeReply { leader, ..answer(4, &two) })]);
        assert_eq!((with(0), with(3), with(1)), (None, None, Some(4)));
        assert_eq!(least(&[(1, answer(4, &[1]))]), Some(4), "it is new");
    }

    #[test]
    fn what_was_in_force_before_a_membership_that_is_not_committed_counts_as_well() {
        let changing = |voters: &[u64]| DescribeReply { voters_committed: vec![1, 2, 3, 4], ..answer(4, voters) };
        let answers = [(1, changing(&[1, 3, 4])), (4, changing(&[1, 3, 4]))];
        assert_eq!(least(&answers), None, "2 may know more");
        assert_eq!(least(&[(1, answer(4, &[1, 3, 4])), (4, answer(4, &[1, 3, 4]))]), Some(4));
    }

    #[test]
    fn the_voters_count_and_not_the_configuration() {
        let grown = [1, 2, 3, 4, 5];
        assert_eq!(least(&[(1, answer(4, &grown)), (2, answer(4, &grown))]), None, "4 and 5 may know more");
        // It is new, beside three voters of which one is dead.
        assert_eq!(least(&[(1, answer(4, &[1, 2, 7])), (2, answer(4, &[1, 2, 7]))]), Some(4));
    }

    #[test]
    fn who_was_removed_keeps_nobody_from_believing_the_leader() {
        let left = [1, 2];
        let stood = (4, answer_at(1, 9, &[1, 2, 4]));
        let answers = [(1, answer_at(5, 1, &left)), (2, answer_at(5, 1, &left)), stood.clone()];
        assert_eq!(least(&answers), Some(1), "3 is new, 4 was removed and stood for election since");
        assert_eq!(least(&answers[1..]), None, "1 may know more than both");
        assert_eq!(least(&[leads(1, answer_at(5, 4, &[1, 3])), stood]), Some(4), "of two that are left");
        // 1 and 2 were replaced by 6 and 7, and 5 does not know it.
        let now = [3, 4, 5, 6, 7];
        let working = [(4, answer_at(8, 4, &now)), (6, answer_at(8, 4, &now)), (7, answer_at(8, 4, &now))];
        let behind = (5, answer_at(1, 3, &[1, 2, 3, 4, 5]));
        assert_eq!(least(&[&working[..], &[behind]].concat()), Some(4));
    }

    #[test]
    fn a_membership_that_was_not_known_when_these_were_asked_is_asked_for_again() {
        let answers: Answers = [(1, answer_at(1, 4, &[1, 2, 3])), (2, answer_at(5, 4, &[1, 2]))].into();
        assert_eq!(least_term(OWN, None, &answers), None);
        assert_eq!(least_term(OWN, Some((1, 1)), &answers), None, "1 may have answered before that was committed");
        let answers: Answers = [(1, answer_at(5, 4, &[1, 2])), (2, answer_at(5, 4, &[1, 2]))].into();
        assert_eq!(least_term(OWN, Some((1, 5)), &answers), Some(4));
        assert_eq!(least_term(OWN, Some((1, 9)), &answers), None, "a newer one was known");
    }

    #[test]
    fn nothing_is_believed_before_it_is_certain() {
        let recall = Recall::new(true);
        assert!(!recall.is_certain() && !recall.believes(9) && !recall.believes(u64::MAX));
        recall.learn(4);
        assert!(recall.is_certain() && !recall.believes(3) && recall.believes(4));
        assert!(Recall::new(false).believes(0));
    }
}
