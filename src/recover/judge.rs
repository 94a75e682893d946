//! Which survivor has the most, and whether it may go on alone. Pure.

use std::collections::BTreeMap;

use raft::offline::{Answer, Inspection};

/// May the survivor go on alone? `here`: the stopped replicas on this host, itself included.
pub fn judge(newest: &Inspection, here: &[&Inspection], answers: &BTreeMap<u64, Answer>) -> Result<(), String> {
    let (all, needed) = (newest.voters.len(), newest.voters.len() / 2 + 1);
    let votes = |id: &&u64| {
        // One whose recovery was begun does not start before that is done.
        here.iter().any(|found| found.replica == **id && flaw(found).is_none() && !found.unfinished)
            || answers.get(*id).is_some_and(|answer| !answer.abstains && answer.idle.is_none())
    };
    let left = newest.voters.iter().filter(votes).count();
    if left >= needed {
        return Err(format!(
            "{left} of {all} voters are left, which is a majority: nothing is lost. Start those that are stopped"
        ));
    }
    // Who abstains elects nobody, but acknowledges what a leader sends that was elected before.
    let answering = newest.voters.iter().filter(|id| answers.contains_key(id)).count();
    let leader = answers.iter().find(|(_, answer)| answer.leads && answer.idle.is_none());
    if let Some((id, _)) = leader
        && answering >= needed
    {
        return Err(format!(
            "replica {id} leads, and {answering} of {all} voters answer: nothing is lost while that is so. If it takes no \
             writes all the same, stop it and ask again"
        ));
    }
    let idle: Vec<(u64, &str)> = newest
        .voters
        .iter()
        .filter_map(|id| {
            // Who abstains would not vote then either.
            let answer = answers.get(id).filter(|answer| !answer.abstains)?;
            Some((*id, answer.idle.as_deref()?))
        })
        .collect();
    if left + idle.len() >= needed {
        let named: Vec<String> = idle.iter().map(|(id, why)| format!("replica {id} ({why})")).collect();
        return Err(format!(
            "{} of {all} voters would be a majority, if these took part: {}. Put that right, and nothing is lost; what cannot \
             be put right, stop, and ask again",
            left + idle.len(),
            named.join(", ")
        ));
    }
    if let Some(flaw) = flaw(newest) {
        // Who votes comes before it, so here nobody does.
        return Err(format!(
            "replica {} {flaw}, and no survivor here can go on: do this where the data of another is, or restore a snapshot \
             into a new cluster",
            newest.replica
        ));
    }
    let more = |answer: &&Answer| {
        !answer.abstains && (answer.last_term, answer.last_index) > (newest.last_term, newest.last_index)
    };
    match answers.iter().find(|(_, answer)| more(answer)) {
        Some((id, answer)) => Err(format!(
            "replica {id} has more: entry {} of term {}. Stop it and do this where its data is",
            answer.last_index, answer.last_term
        )),
        None => Ok(()),
    }
}

/// Who survived, and does not count.
pub fn silent(here: &[&Inspection], answers: &BTreeMap<u64, Answer>) -> Vec<String> {
    let begun = here.iter().filter(|found| found.unfinished).map(|found| {
        let id = found.replica;
        format!("replica {id} was being recovered, and that was not finished: it does not start until it is")
    });
    let here =
        here.iter().filter_map(|found| Some(format!("replica {} does not count: it {}", found.replica, flaw(found)?)));
    let elsewhere = answers.iter().filter_map(|(id, answer)| match (answer.abstains, &answer.idle) {
        (true, Some(why)) => Some(format!("replica {id} does not count: {why}")),
        (true, None) => Some(format!("replica {id} does not count: it does not vote until it is filled")),
        (false, Some(why)) => Some(format!("replica {id} takes no part now: {why}")),
        (false, None) => None,
    });
    begun.chain(here).chain(elsewhere).collect()
}

/// What has the most. The order of the fields is the policy: one that never votes with the data it has never has the most; of
/// several such, one that is fenced, or is known to have lost data, says most; the last entry's term decides before its index; of
/// those with the same, one goes on whose recovery was begun.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Worth {
    votes: bool,
    fenced: bool,
    lost_data: bool,
    last_term: u64,
    last_index: u64,
    unfinished: bool,
}

pub fn worth(found: &Inspection) -> Worth {
    Worth {
        votes: flaw(found).is_none(),
        fenced: found.fenced.is_some(),
        lost_data: found.lost_data,
        last_term: found.last_term,
        last_index: found.last_index,
        unfinished: found.unfinished,
    }
}

/// Why a survivor here neither votes nor goes on alone, as a sentence goes on that begins with its name; `None`: it may.
fn flaw(found: &Inspection) -> Option<String> {
    match (&found.fenced, found.abstains, found.lost_data) {
        (Some(why), ..) => Some(format!("is fenced, for its state may be wrong ({why})")),
        (None, true, true) => Some("lost data and was not filled since".into()),
        (None, true, false) => Some("is new or was emptied and was not filled since".into()),
        (None, false, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(replica: u64, last_term: u64, last_index: u64) -> Inspection {
        Inspection {
            cluster_id: "c".into(),
            unfinished: false,
            replica,
            last_term,
            last_index,
            durable_index: last_index,
            committed_index: last_index,
            revision: 1,
            voters: [1, 2, 3, 4, 5].into(),
            members: Vec::new(),
            abstains: false,
            lost_data: false,
            fenced: None,
        }
    }

    /// Of three voters.
    fn of_three(replica: u64) -> Inspection {
        Inspection { voters: [1, 2, 3].into(), ..found(replica, 3, 10) }
    }

    fn emptied(of: Inspection) -> Inspection {
        Inspection { abstains: true, ..of }
    }

    fn fenced(of: Inspection) -> Inspection {
        Inspection { fenced: Some("its state differs".into()), ..of }
    }

    fn answer(last_term: u64, last_index: u64) -> Answer {
        Answer { last_term, last_index, applied_index: last_index, ..Answer::default() }
    }

    fn abstaining() -> Answer {
        Answer { abstains: true, idle: Some("it lost data".into()), ..answer(3, 99) }
    }

    fn idling() -> Answer {
        Answer { idle: Some("there is no room on its disk".into()), ..answer(3, 9) }
    }

    /// `others`: stopped on this host, too.
    fn judged(newest: &Inspection, others: &[Inspection], answers: &[(u64, Answer)]) -> Result<(), String> {
        let here: Vec<&Inspection> = std::iter::once(newest).chain(others).collect();
        judge(newest, &here, &answers.iter().cloned().collect())
    }

    #[track_caller]
    fn refused(said: Result<(), String>, words: &[&str]) {
        let said = said.unwrap_err();
        words.iter().for_each(|word| assert!(said.contains(word), "{word:?} is missing in: {said}"));
    }

    #[test]
    fn nobody_goes_on_alone_while_a_majority_is_left() {
        let newest = found(1, 3, 10);
        refused(judged(&newest, &[found(2, 3, 9), found(3, 3, 9)], &[]), &["3 of 5 voters are left"]);
        refused(judged(&newest, &[], &[(3, answer(3, 9)), (4, answer(3, 9))]), &["3 of 5 voters are left"]);
        // A learner does not count.
        assert_eq!(judged(&newest, &[found(2, 3, 9)], &[(9, answer(3, 9))]), Ok(()));
    }

    #[test]
    fn who_never_votes_with_the_data_it_has_makes_no_majority() {
        let newest = of_three(1);
        assert_eq!(judged(&newest, &[], &[(2, abstaining()), (3, abstaining())]), Ok(()));
        assert_eq!(judged(&newest, &[emptied(of_three(2)), emptied(of_three(3))], &[]), Ok(()));
        assert_eq!(judged(&newest, &[fenced(of_three(2))], &[]), Ok(()));
        refused(judged(&newest, &[emptied(of_three(2)), of_three(3)], &[]), &["2 of 3 voters are left"]);
        refused(judged(&newest, &[fenced(of_three(2))], &[(3, answer(3, 9))]), &["2 of 3 voters are left"]);
    }

    #[test]
    fn one_that_runs_and_takes_no_part_is_put_right_or_stopped_first() {
        let newest = of_three(1);
        let words = ["2 of 3 voters would be", "replica 2 (there is no room on its disk)", "stop, and ask again"];
        refused(judged(&newest, &[], &[(2, idling()), (3, abstaining())]), &words);
        assert_eq!(judged(&newest, &[], &[(3, abstaining())]), Ok(()), "it was stopped");
        // With it, too, there would be no majority.
        assert_eq!(judged(&found(1, 3, 10), &[], &[(2, idling())]), Ok(()));
        refused(judged(&newest, &[of_three(3)], &[(2, idling())]), &["2 of 3 voters are left"]);
    }

    #[test]
    fn what_was_interrupted_is_done_again() {
        let begun = |of: Inspection| Inspection { unfinished: true, ..of };
        let first = begun(of_three(1));
        assert_eq!(judged(&first, &[], &[]), Ok(()));
        assert_eq!(judged(&first, &[of_three(2)], &[]), Ok(()), "it is out of the old cluster already");
        let alone = begun(Inspection { voters: [1].into(), ..of_three(1) });
        assert_eq!(judged(&alone, &[], &[]), Ok(()), "the only voter there is does not start either");
        refused(judged(&first, &[], &[(2, answer(3, 9)), (3, answer(3, 9))]), &["2 of 3 voters are left"]);
        assert!(worth(&of_three(2)) < worth(&first) && worth(&first) < worth(&found(3, 3, 11)));
        let said = silent(&[&first, &of_three(2)], &BTreeMap::new());
        assert_eq!(said, ["replica 1 was being recovered, and that was not finished: it does not start until it is"]);
    }

    #[test]
    fn a_leader_whom_those_acknowledge_who_do_not_vote_lives() {
        let newest = found(1, 3, 10);
        let leader = Answer { leads: true, ..answer(3, 10) };
        let two = [(2, abstaining()), (3, abstaining())];
        let with = |leader: &Answer, others: &[(u64, Answer)]| {
            judged(&newest, &[], &[&[(5, leader.clone())], others].concat())
        };
        refused(with(&leader, &two), &["replica 5 leads, and 3 of 5 voters answer", "stop it and ask again"]);
        assert_eq!(with(&leader, &two[..1]), Ok(()), "it only believes that it leads");
        assert_eq!(with(&Answer { leads: false, ..leader.clone() }, &two), Ok(()));
        assert_eq!(with(&Answer { leads: true, ..idling() }, &two), Ok(()), "nor does a fenced one");
    }

    #[test]
    fn the_one_with_the_most_goes_on() {
        let newest = found(1, 3, 10);
        for (term, index, ok) in [(3, 10, true), (3, 11, false), (4, 2, false), (2, 99, true)] {
            let said = judged(&newest, &[], &[(2, answer(term, index))]);
            assert_eq!(said.is_ok(), ok, "{said:?}");
        }
        assert!(worth(&found(1, 4, 1)) > worth(&found(2, 3, 9)));
        assert!(worth(&newest) > worth(&emptied(found(2, 9, 99))));
        assert!(worth(&newest) > worth(&fenced(found(2, 9, 99))));
        assert!(worth(&fenced(found(2, 3, 9))) > worth(&emptied(found(1, 4, 99))), "it says more");
        assert!(worth(&Inspection { lost_data: true, ..emptied(found(2, 3, 9)) }) > worth(&emptied(found(1, 4, 99))));
    }

    #[test]
    fn none_goes_on_that_was_not_filled_or_is_fenced_and_each_says_why() {
        let empty = emptied(of_three(2));
        let lost = Inspection { lost_data: true, ..empty.clone() };
        for (flawed, words) in [
            (lost, "replica 2 lost data and was not filled since, and no survivor here"),
            (empty, "replica 2 is new or was emptied and was not filled since, and no survivor here"),
            (
                fenced(of_three(2)),
                "replica 2 is fenced, for its state may be wrong (its state differs), and no survivor here",
            ),
        ] {
            refused(judged(&flawed, &[], &[]), &[words, "restore a snapshot"]);
        }
    }

    #[test]
    fn who_survived_and_does_not_count_is_named() {
        let answers = BTreeMap::from([(2, abstaining()), (3, idling()), (4, answer(3, 9))]);
        let said = silent(&[], &answers);
        let wanted =
            ["replica 2 does not count: it lost data", "replica 3 takes no part now: there is no room on its disk"];
        assert_eq!(said, wanted);
    }
}
