//! A replica that lost its disk has forgotten which terms it knew. Until the others have told it, it takes nothing from
//! any leader: one that was replaced long ago would count its acknowledgement into a majority and overrule what is
//! committed (ADR 8). `least_term` decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use proto::peer::{DescribeReply, DescribeRequest};

use crate::peer::channels::{Channels, Lane};
use crate::types::Place;

const ASK: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_millis(200);
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

/// Answers of members that have not forgotten anything themselves, as often as it takes for them to be enough.
pub async fn ask(own: u64, initial: &BTreeMap<u64, Place>, channels: &Channels) -> u64 {
    let mut known = initial.clone();
    loop {
        let others = known.iter().filter(|(id, _)| **id != own);
        let asked = others.map(|(id, place)| async move {
            let mut client = channels.client(*id, &place.peer_address, Lane::Control);
            let answer = tokio::time::timeout(ASK, client.describe(DescribeRequest {})).await;
            Some((*id, answer.ok()?.ok()?.into_inner()))
        });
        let answers: BTreeMap<u64, DescribeReply> =
            futures::future::join_all(asked).await.into_iter().flatten().collect();
        if let Some(term) = least_term(own, &initial.keys().copied().collect(), &answers) {
            return term;
        }
        // Members that have come since this replica was configured.
        for voter in answers.values().flat_map(|answer| &answer.voters) {
            if let Some(place) = &voter.place {
                let (peer_address, client_address) = (place.peer_address.clone(), place.client_address.clone());
                known.entry(voter.id).or_insert(Place { peer_address, client_address });
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The highest term of some who answered, so many that every majority which this replica was ever part of shares one of them:
/// whatever it acknowledged and voted for, they know a term as high. Of those with the lowest terms that are enough: one more,
/// perhaps removed and a candidate since, would only keep it from believing a leader that leads. `None`: too few.
fn least_term(own: u64, initial: &BTreeSet<u64>, answers: &BTreeMap<u64, DescribeReply>) -> Option<u64> {
    let mut remembering: Vec<(&u64, &DescribeReply)> =
        answers.iter().filter(|(id, answer)| **id != own && !answer.abstains).collect();
    remembering.sort_by_key(|(_, answer)| answer.term);
    let mut groups: Vec<BTreeSet<u64>> =
        remembering.iter().flat_map(|(_, answer)| memberships(answer)).filter(|voters| !voters.is_empty()).collect();
    if groups.is_empty() {
        groups.push(initial.iter().copied().chain([own]).collect());
    }
    (1..=remembering.len())
        .map(|count| &remembering[..count])
        .find(|some| groups.iter().all(|voters| is_enough(own, voters, some)))
        .map(|some| some[some.len() - 1].1.term)
}

/// The voters of the newest membership in a replica's log, and of the one before where that one is not known to be committed.
fn memberships(answer: &DescribeReply) -> [BTreeSet<u64>; 2] {
    [answer.voters.iter().map(|voter| voter.id).collect(), answer.voters_committed.iter().copied().collect()]
}

/// A majority of the voters, this replica not counted among them: whatever these voters decided with it, also that there is one
/// voter more or less, and whatever those who are one more or less decided with it then, one of the majority knows (ADR 8).
fn is_enough(own: u64, voters: &BTreeSet<u64>, some: &[(&u64, &DescribeReply)]) -> bool {
    let mut others = some.iter().filter(|(id, _)| voters.contains(id));
    match voters.len() == 2 && voters.contains(&own) {
        // Of two the other one alone is no majority. While it leads, though, by the vote of this replica, nothing later exists.
        true => others.any(|(id, answer)| answer.leader == **id),
        false => others.count() > voters.len() / 2,
    }
}

#[cfg(test)]
mod tests {
    use proto::peer::{Place, Voter};

    use super::*;

    fn answer(term: u64, voters: &[u64]) -> DescribeReply {
        let voters = voters.iter().map(|id| Voter { id: *id, place: Some(Place::default()) }).collect();
        DescribeReply { term, voters, ..DescribeReply::default() }
    }

    fn least(initial: &[u64], answers: &[(u64, DescribeReply)]) -> Option<u64> {
        least_term(3, &initial.iter().copied().collect(), &answers.iter().cloned().collect())
    }

    #[test]
    fn of_three_both_others_must_answer() {
        let all = [1, 2, 3];
        assert_eq!(least(&all, &[]), None);
        assert_eq!(least(&all, &[(1, answer(1, &all))]), None, "replica 2 may lead term 2 with what was acknowledged");
        assert_eq!(least(&all, &[(1, answer(1, &all)), (2, answer(2, &all))]), Some(2));
        let empty = DescribeReply { abstains: true, ..answer(0, &[]) };
        assert_eq!(least(&all, &[(1, answer(1, &all)), (2, empty)]), None, "who forgot as well knows nothing");
    }

    #[test]
    fn of_five_one_may_be_dead() {
        let all = [1, 2, 3, 4, 5];
        let three = [(1, answer(4, &all)), (4, answer(6, &all)), (5, answer(6, &all))];
        assert_eq!(least(&all, &three), Some(6));
        assert_eq!(least(&all, &three[..2]), None);
    }

    #[test]
    fn the_voters_count_and_not_the_configuration() {
        let grown = [1, 2, 3, 4, 5];
        let answers = [(1, answer(4, &grown)), (2, answer(4, &grown))];
        assert_eq!(least(&[1, 2, 3], &answers), None, "4 and 5 may know more");
        // It is new, beside three voters of which one is dead.
        let answers = [(1, answer(4, &[1, 2, 7])), (2, answer(4, &[1, 2, 7]))];
        assert_eq!(least(&[1, 2, 3, 7], &answers), Some(4));
    }

    #[test]
    fn one_that_was_removed_and_stood_for_election_since_keeps_nobody_from_believing_the_leader() {
        let left = [1, 2];
        let answers = [(1, answer(1, &left)), (2, answer(1, &left)), (4, answer(2, &[1, 2, 4]))];
        assert_eq!(least(&[1, 2, 3, 4], &answers), Some(1), "3 is new, 4 was removed");
        assert_eq!(least(&[1, 2, 3, 4], &answers[1..]), None, "1 may know more than both");
        let answers = [(1, answer(1, &left)), (2, answer(5, &left)), (4, answer(2, &[1, 2, 4]))];
        assert_eq!(least(&[1, 2, 3, 4], &answers), Some(5), "both voters are needed");
    }

    #[test]
    fn of_four_all_others_must_answer() {
        // {3, 4, 5} may have made 5 a voter, and elected 4 since, while 1 follows a leader of before.
        let all = [1, 2, 3, 4];
        let three = [(1, answer(4, &all)), (2, answer(4, &all)), (4, answer(6, &all))];
        assert_eq!(least(&all, &three[..2]), None);
        assert_eq!(least(&all, &three), Some(6));
        assert_eq!(least(&[1, 2, 4], &[(1, answer(4, &[1, 2, 4])), (2, answer(4, &[1, 2, 4]))]), Some(4), "it is new");
    }

    #[test]
    fn of_two_the_other_one_must_lead() {
        let two = [1, 3];
        let with = |leader| least(&two, &[(1, DescribeReply { leader, ..answer(4, &two) })]);
        assert_eq!((with(0), with(3), with(1)), (None, None, Some(4)));
        assert_eq!(least(&[1, 3], &[(1, answer(4, &[1]))]), Some(4), "it is new");
    }

    #[test]
    fn what_was_in_force_before_a_membership_that_is_not_committed_counts_as_well() {
        let before = |voters: &[u64], answer| DescribeReply { voters_committed: voters.to_vec(), ..answer };
        let answers = [
            (1, before(&[1, 2, 3, 4], answer(4, &[1, 3, 4]))),
            (4, before(&[1, 2, 3, 4], answer(4, &[1, 3, 4]))),
        ];
        assert_eq!(least(&[1, 2, 3, 4], &answers), None, "2 may know more");
        let committed = answers.map(|(id, answer)| (id, before(&[1, 3, 4], answer)));
        assert_eq!(least(&[1, 2, 3, 4], &committed), Some(4));
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
