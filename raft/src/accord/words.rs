//! What a leader tells the others of their states, from what came of its questions. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::judge::Verdict;

/// What came of a question at one index.
pub struct Finding {
    pub index: u64,
    pub verdict: Verdict,
    /// Who answered.
    pub by: BTreeSet<u64>,
}

impl Finding {
    /// Whether a replica has the state here that it should have.
    fn clears(&self, id: u64) -> bool {
        self.by.contains(&id)
            && match &self.verdict {
                Verdict::Agreed => true,
                Verdict::Odd { odd, .. } => !odd.contains(&id),
                Verdict::Undecided => false,
            }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// `right`: a majority's digest, at that index.
    Odd {
        why: String,
        index: u64,
        right: u64,
    },
    Doubt(String),
}

/// What the leader does besides.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Conclusion {
    /// Whose state was found to differ, and at which index. Not who has been told.
    pub odd: Vec<(u64, u64)>,
    /// Why its own state is wrong.
    pub own: Option<String>,
    pub doubt: Doubt,
    /// How many answered, itself included.
    pub took_part: usize,
}

/// Whether nobody knows whose state is right.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Doubt {
    Begins(String),
    Ends,
    #[default]
    AsBefore,
}

/// What each of the others is told with the next heartbeat.
#[derive(Default)]
pub struct Words {
    words: BTreeMap<u64, Word>,
    /// Who has answered where a majority was compared, since there was a doubt about whose state is right.
    compared: BTreeSet<u64>,
    /// The last index that a majority was compared at, and the last one at which nobody knew whose state is right.
    agreed: Option<u64>,
    doubted: Option<u64>,
}

impl Words {
    pub fn of(&self, id: u64) -> Option<&Word> {
        self.words.get(&id)
    }

    /// Has this leader compared the replica's state with a majority's, and found no doubt since? Before that its doubt is not over,
    /// which it may have from an earlier leader.
    pub fn is_clear(&self, id: u64) -> bool {
        self.compared.contains(&id) && self.of(id).is_none()
    }

    /// Does nobody doubt its state? As long as none was compared that is not known of anybody, and somebody must be able to lead.
    pub fn may_lead(&self, id: u64) -> bool {
        self.of(id).is_none() && (self.compared.is_empty() || self.compared.contains(&id))
    }

    /// Answers that came late say nothing any more if nobody knows whose of them is right, and a majority was compared since.
    pub fn is_settled(&self, finding: &Finding) -> bool {
        finding.verdict == Verdict::Undecided && Some(finding.index) <= self.agreed
    }

    /// What the states were before a doubt does not end it.
    pub fn may_end_doubt(&self, findings: &[Finding]) -> bool {
        findings.iter().all(|finding| Some(finding.index) > self.doubted)
    }

    /// `findings`: by index. `over`: no more answers are waited for.
    pub fn conclude(&mut self, own: u64, voters: &BTreeSet<u64>, findings: &[Finding], over: bool) -> Conclusion {
        let took_part: BTreeSet<u64> = findings.iter().flat_map(|finding| finding.by.iter().copied()).collect();
        let mut conclusion = Conclusion { took_part: took_part.len(), ..Conclusion::default() };
        let mut now_odd = BTreeSet::new();
        for Finding { index, verdict, .. } in findings {
            let Verdict::Odd { odd, right } = verdict else { continue };
            for id in odd {
                let why = format!("the state of replica {id} differs from a majority's at log index {index}");
                if *id == own {
                    conclusion.own = Some(why);
                    continue;
                }
                if !matches!(self.of(*id), Some(Word::Odd { .. })) {
                    conclusion.odd.push((*id, *index));
                }
                now_odd.insert(*id);
                self.words.insert(*id, Word::Odd { why, index: *index, right: *right });
            }
        }
        // Its data was emptied, and others have filled it. Who is odd at one index and right at a later one was not told yet.
        let is_cleared = |id: u64, since: u64| {
            !now_odd.contains(&id) && findings.iter().any(|of| of.index >= since && of.clears(id))
        };
        self.words.retain(|id, word| !matches!(word, Word::Odd { index, .. } if is_cleared(*id, *index)));
        let undecided = findings.iter().rev().find(|finding| finding.verdict == Verdict::Undecided);
        if let Some(Finding { index, .. }) = undecided {
            let why =
                format!("replicas {took_part:?} have different states at log index {index}, and no majority agrees");
            for id in took_part.iter().filter(|id| **id != own) {
                let stands = match self.of(*id) {
                    None => false,
                    Some(Word::Doubt(_)) => true,
                    // Whoever gave the answer that it is about has heard it with the next question: now another one answers.
                    Some(Word::Odd { index, .. }) => findings.iter().any(|of| of.index == *index),
                };
                if !stands {
                    self.words.insert(*id, Word::Doubt(why.clone()));
                }
            }
            self.compared.clear();
            self.doubted = self.doubted.max(Some(*index));
            conclusion.doubt = Doubt::Begins(why);
        } else if over && took_part.intersection(voters).count() * 2 > voters.len() {
            // A doubt is not over because those fall silent who had other states; nor is theirs, until they answer.
            self.words.retain(|id, word| matches!(word, Word::Odd { .. }) || !took_part.contains(id));
            self.compared.extend(&took_part);
            self.agreed = self.agreed.max(findings.last().map(|finding| finding.index));
            conclusion.doubt = Doubt::Ends;
        }
        conclusion
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::judge;
    use super::*;

    const OWN: u64 = 1;

    /// Of three voters, of whom the first leads. `answers`: by index, the digests by replica.
    fn concluded(words: &mut Words, answers: &[(u64, &[(u64, u64)])]) -> Conclusion {
        let voters: BTreeSet<u64> = (1..=3).collect();
        let finding = |(index, digests): &(u64, &[(u64, u64)])| {
            let digests: BTreeMap<u64, u64> = digests.iter().copied().collect();
            Finding { index: *index, verdict: judge(&voters, &digests), by: digests.keys().copied().collect() }
        };
        let findings: Vec<Finding> = answers.iter().map(finding).collect();
        words.conclude(OWN, &voters, &findings, true)
    }

    fn odd_at(words: &Words, id: u64) -> Option<u64> {
        match words.of(id)? {
            Word::Odd { index, .. } => Some(*index),
            Word::Doubt(_) => None,
        }
    }

    #[test]
    fn who_is_odd_is_told_until_it_has_another_state() {
        let mut words = Words::default();
        let first = concluded(&mut words, &[(10, &[(1, 7), (2, 8), (3, 7)])]);
        assert_eq!((first.odd, first.own, first.doubt, first.took_part), (vec![(2, 10)], None, Doubt::Ends, 3));
        assert!(matches!(words.of(2), Some(Word::Odd { index: 10, right: 7, .. })));
        assert_eq!(words.of(3), None);
        let again = concluded(&mut words, &[(11, &[(1, 9), (2, 8), (3, 9)])]);
        assert_eq!((again.odd, odd_at(&words, 2)), (vec![], Some(11)), "counted once");
        concluded(&mut words, &[(9, &[(1, 5), (2, 5), (3, 5)])]);
        assert_eq!(odd_at(&words, 2), Some(11), "what it was before says nothing");
        concluded(&mut words, &[(12, &[(1, 4), (3, 4)])]);
        assert_eq!(odd_at(&words, 2), Some(11), "nor does its silence");
        concluded(&mut words, &[(11, &[(1, 9), (2, 9), (3, 9)])]);
        assert_eq!(words.of(2), None);
    }

    #[test]
    fn who_is_odd_and_right_again_before_it_is_told_is_told_all_the_same() {
        let mut words = Words::default();
        let both: [(u64, &[(u64, u64)]); 2] = [(64, &[(1, 7), (2, 8), (3, 7)]), (70, &[(1, 9), (2, 9), (3, 9)])];
        assert_eq!(concluded(&mut words, &both).odd, [(2, 64)]);
        assert_eq!(odd_at(&words, 2), Some(64));
        assert_eq!(concluded(&mut words, &both).odd, [], "counted once");
    }

    #[test]
    fn a_leader_can_be_the_odd_one() {
        let own = concluded(&mut Words::default(), &[(10, &[(1, 8), (2, 7), (3, 7)])]).own;
        assert_eq!(own.as_deref(), Some("the state of replica 1 differs from a majority's at log index 10"));
    }

    #[test]
    fn where_no_majority_agrees_all_who_answered_doubt_until_one_does() {
        let mut words = Words::default();
        let doubt = concluded(&mut words, &[(10, &[(1, 7), (2, 8)])]).doubt;
        assert!(matches!(doubt, Doubt::Begins(_)) && matches!(words.of(2), Some(Word::Doubt(_))));
        assert_eq!(concluded(&mut words, &[(11, &[(1, 7)])]).doubt, Doubt::AsBefore, "the other fell silent");
        assert!(words.of(2).is_some() && !words.is_clear(2));
        let beside = concluded(&mut words, &[(11, &[(1, 7), (9, 7)])]).doubt;
        assert_eq!(beside, Doubt::AsBefore, "a learner that this one has filled says nothing new");
        assert!(!words.is_clear(2) && !words.is_clear(9));
        assert_eq!(concluded(&mut words, &[(12, &[(1, 7), (3, 7)])]).doubt, Doubt::Ends);
        assert!(words.is_clear(3));
        assert!(words.of(2).is_some() && !words.is_clear(2), "it has not answered since");
        concluded(&mut words, &[(13, &[(1, 7), (2, 7), (3, 7)])]);
        assert!(words.of(2).is_none() && words.is_clear(2));
    }

    #[test]
    fn nobody_s_doubt_is_over_before_a_majority_was_compared() {
        let mut words = Words::default();
        assert!(!words.is_clear(2), "an earlier leader may have had one");
        concluded(&mut words, &[(10, &[(1, 7)])]);
        assert!(!words.is_clear(2), "of three voters one says nothing");
        concluded(&mut words, &[(10, &[(1, 7), (2, 7)])]);
        assert!(words.is_clear(2));
    }

    #[test]
    fn a_doubt_of_an_earlier_leader_s_is_over_for_those_alone_who_were_compared_since() {
        let mut words = Words::default();
        assert!(words.may_lead(2) && words.may_lead(3), "nothing is known of anybody yet");
        concluded(&mut words, &[(10, &[(1, 7), (3, 7)])]);
        assert!(words.is_clear(3) && words.may_lead(3));
        assert!(words.of(2).is_none(), "that one told it of another leader");
        assert!(!words.is_clear(2) && !words.may_lead(2), "it was away, and its state may be the odd one");
        concluded(&mut words, &[(11, &[(1, 8), (2, 9), (3, 8)])]);
        assert!(odd_at(&words, 2).is_some() && !words.is_clear(2) && !words.may_lead(2));
        concluded(&mut words, &[(12, &[(1, 6), (2, 6), (3, 6)])]);
        assert!(words.is_clear(2) && words.may_lead(2));
        concluded(&mut words, &[(13, &[(1, 6)])]);
        assert!(words.is_clear(2), "who falls silent was compared all the same");
    }

    #[test]
    fn an_odd_one_that_was_started_anew_before_it_heard_of_it_doubts_like_others() {
        let mut words = Words::default();
        concluded(&mut words, &[(10, &[(1, 7), (2, 8), (3, 7)])]);
        concluded(&mut words, &[(10, &[(1, 7), (2, 8)])]);
        assert_eq!(odd_at(&words, 2), Some(10), "that is what the word is about");
        concluded(&mut words, &[(20, &[(1, 5), (2, 6)])]);
        assert!(matches!(words.of(2), Some(Word::Doubt(_))));
    }
}
