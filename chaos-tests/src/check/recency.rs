//! Revisions never go back: whoever begins after another has ended sees at least as new a state, and a read that may be a little
//! old sees at least what one would have seen that began so much earlier. Pure.

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

impl Seen {
    /// A read that may be so old. Later ones are held against when it really ended.
    pub fn within(stale_max: u64, invoked: u64, returned: u64, revision: Revision) -> Seen {
        Seen { invoked: invoked.saturating_sub(stale_max), returned, revision, made: false }
    }
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

    #[test]
    fn a_read_that_may_be_a_little_old_is_no_older() {
        let written = |at: u64, revision| Seen { invoked: at, returned: at + 1, revision, made: true };
        let read = |at: u64, revision| Seen::within(10, at, at + 1, revision);
        check(&[written(0, 5), written(20, 6), read(30, 5)]).unwrap();
        check(&[written(0, 5), read(4, 4)]).expect("there was no time so long before it");
        assert!(check(&[written(0, 5), written(20, 6), read(32, 5)]).is_err(), "too old");
        assert!(check(&[read(30, 6), written(40, 6)]).is_err(), "of what nobody had written");
        assert!(check(&[read(30, 6), Seen { made: false, ..written(40, 5) }]).is_err(), "what it showed was gone");
    }
}
