//! Revisions never go back: whoever begins after another has ended sees at least as new a state. Pure.

use raft::Revision;

/// Something that returned, and the revision that it saw or made.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub invoked: u64,
    pub returned: u64,
    pub revision: Revision,
    /// It made the revision, so nobody can have seen it before.
    pub made: bool,
}

pub fn check(seen: &[Seen]) -> Result<(), String> {
    let mut by_invocation: Vec<&Seen> = seen.iter().collect();
    by_invocation.sort_by_key(|one| one.invoked);
    let mut by_return: Vec<&Seen> = seen.iter().collect();
    by_return.sort_by_key(|one| one.returned);
    let mut ended = by_return.into_iter().peekable();
    let mut newest: Option<&Seen> = None;
    for one in by_invocation {
        while let Some(before) = ended.next_if(|before| before.returned < one.invoked) {
            if newest.is_none_or(|newest| before.revision > newest.revision) {
                newest = Some(before);
            }
        }
        let Some(before) = newest else { continue };
        if one.revision < before.revision || (one.made && one.revision == before.revision) {
            return Err(format!("{one:?} comes after {before:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(rows: &[(u64, u64, Revision, bool)]) -> Result<(), String> {
        let one = |&(invoked, returned, revision, made)| Seen { invoked, returned, revision, made };
        check(&rows.iter().map(one).collect::<Vec<_>>())
    }

    #[test]
    fn only_those_that_overlap_may_see_an_older_state() {
        seen(&[(0, 1, 5, true), (2, 3, 5, false), (4, 5, 6, true)]).unwrap();
        seen(&[(0, 9, 5, true), (2, 3, 4, false)]).unwrap();
        seen(&[(0, 2, 5, true), (2, 3, 4, false)]).unwrap();
        assert!(seen(&[(0, 1, 5, true), (2, 3, 4, false)]).is_err());
        assert!(seen(&[(0, 1, 5, false), (2, 3, 5, true)]).is_err(), "made after it was seen");
        assert!(seen(&[(0, 1, 7, false), (0, 1, 5, true), (2, 3, 6, false)]).is_err());
    }
}
