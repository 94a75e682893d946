//! Only the present term's commands take effect: between the first revision of a term and that of the next, the
//! controllers' writes are those of the replica that leads. Pure.

use std::collections::BTreeMap;

use raft::Revision;

/// Every term in which controllers ran: whose they were, and the state that they began with.
#[derive(Default)]
pub struct Terms {
    began: BTreeMap<u64, (u64, Revision)>,
}

/// A change that a controller made.
pub struct Written {
    pub revision: Revision,
    /// The replica that it ran on.
    pub by: u64,
    pub author: String,
}

impl Terms {
    /// This replica may run controllers in this term, and its state is of this revision. What is said first counts.
    pub fn begins(&mut self, term: u64, replica: u64, at: Revision) {
        self.began.entry(term).or_insert((replica, at));
    }

    pub fn check(&self, written: impl Iterator<Item = Written>) -> Result<(), String> {
        for Written { revision, by, author } in written {
            let term = self.began.iter().rev().find(|(_, (_, at))| *at < revision);
            match term {
                Some((_, (leader, _))) if *leader == by => {}
                Some((term, (leader, at))) => {
                    return Err(format!(
                        "{author} of replica {by} wrote revision {revision}; replica {leader} leads term {term} since {at}"
                    ));
                }
                None => return Err(format!("{author} of replica {by} wrote revision {revision} before any term")),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_that_goes_on_after_its_term_is_noticed() {
        let mut terms = Terms::default();
        terms.begins(1, 1, 0);
        terms.begins(1, 1, 7);
        terms.begins(2, 3, 10);
        let check = |rows: &[(Revision, u64)]| {
            let row = |(revision, by): &(Revision, u64)| Written { revision: *revision, by: *by, author: "c".into() };
            terms.check(rows.iter().map(row))
        };
        check(&[(1, 1), (5, 1), (10, 1), (11, 3), (12, 3)]).unwrap();
        assert!(check(&[(11, 1)]).is_err(), "deposed");
        assert!(check(&[(10, 3)]).is_err(), "too early");
        assert!(Terms::default().check([Written { revision: 1, by: 1, author: "c".into() }].into_iter()).is_err());
    }
}
