//! Who was a member when: one list for each place in the log, an id is given once and for one place, and whoever left never
//! comes back under it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use raft::{Member, Roster};

#[derive(Default)]
pub struct Members {
    lists: BTreeMap<u64, Vec<Member>>,
}

impl Members {
    /// `applied`: by the replica that shows them. What is applied is certain; the members of a later entry may be overruled.
    pub fn see(&mut self, roster: &Roster, applied: u64) -> Result<(), String> {
        if roster.members.is_empty() {
            return Ok(());
        }
        if roster.index > applied {
            return Err(format!("members of index {} are shown where {applied} is applied", roster.index));
        }
        let known = self.lists.entry(roster.index).or_insert_with(|| roster.members.clone());
        match *known == roster.members {
            true => Ok(()),
            false => Err(format!("two lists of members at index {}: {known:?} and {:?}", roster.index, roster.members)),
        }
    }

    /// Over all that was seen.
    pub fn check(&self) -> Result<(), String> {
        let mut places: BTreeMap<u64, &str> = BTreeMap::new();
        let mut before: BTreeSet<u64> = BTreeSet::new();
        for (index, members) in &self.lists {
            let highest = places.keys().next_back().copied().unwrap_or(0);
            for Member { id, peer_address, .. } in members {
                let is_new = !before.contains(id);
                if is_new && !before.is_empty() && *id <= highest {
                    return Err(format!("id {id} was given before, and is given anew at index {index}"));
                }
                if *places.entry(*id).or_insert(peer_address) != peer_address {
                    return Err(format!("id {id} stands for two replicas: {} and {peer_address}", places[id]));
                }
            }
            before = members.iter().map(|member| member.id).collect();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lists: &[&[u64]]) -> Result<(), String> {
        let mut members = Members::default();
        for (index, ids) in lists.iter().enumerate() {
            let member =
                |id: &u64| Member { id: *id, peer_address: format!("at-{id}:1"), client_address: String::new() };
            let index = index as u64;
            members.see(&Roster { index, members: ids.iter().map(member).collect() }, index)?;
        }
        members.check()
    }

    #[test]
    fn members_come_and_go_under_ids_of_their_own() {
        check(&[&[1, 2, 3], &[1, 2, 3, 4], &[2, 3, 4], &[2, 3, 4, 6], &[3, 4, 6]]).unwrap();
    }

    #[test]
    fn an_id_that_comes_back_is_noticed() {
        assert!(check(&[&[1, 2, 3], &[2, 3], &[1, 2, 3]]).is_err(), "the same");
        assert!(check(&[&[1, 2, 4], &[1, 2, 3, 4]]).is_err(), "lower than another one");
    }

    #[test]
    fn two_lists_of_one_index_and_two_replicas_of_one_id_are_noticed() {
        let member = |id, address: &str| Member { id, peer_address: address.into(), client_address: String::new() };
        let roster = |index, members: &[Member]| Roster { index, members: members.to_vec() };
        let mut members = Members::default();
        members.see(&roster(0, &[]), 9).unwrap();
        assert!(members.see(&roster(3, &[member(1, "a")]), 2).is_err(), "not certain yet");
        members.see(&roster(3, &[member(1, "a"), member(2, "b")]), 9).unwrap();
        assert!(members.see(&roster(3, &[member(1, "a")]), 9).is_err());
        members.see(&roster(4, &[member(1, "a"), member(2, "c")]), 9).unwrap();
        assert!(members.check().is_err());
    }
}
