//! A set that only grows: what was added is in every later reading, and nothing else is. Pure.

use std::collections::BTreeSet;

#[derive(Clone, Debug)]
pub struct Add {
    pub member: u64,
    pub invoked: u64,
    /// `None`: unknown.
    pub returned: Option<u64>,
    /// It certainly was not added.
    pub refused: bool,
}

#[derive(Clone, Debug)]
pub struct Reading {
    pub invoked: u64,
    pub returned: u64,
    pub members: BTreeSet<u64>,
}

pub fn check(adds: &[Add], readings: &[Reading]) -> Result<(), String> {
    for reading in readings {
        for add in adds {
            let held = reading.members.contains(&add.member);
            if held && (add.refused || add.invoked > reading.returned) {
                return Err(format!("{add:?} is in a reading of {}..{}", reading.invoked, reading.returned));
            }
            if !held && !add.refused && add.returned.is_some_and(|returned| returned < reading.invoked) {
                return Err(format!("{add:?} is missing from a reading of {}..{}", reading.invoked, reading.returned));
            }
        }
        let known = adds.iter().filter(|add| reading.members.contains(&add.member)).count();
        if known != reading.members.len() {
            return Err(format!("the reading {reading:?} has members that nobody added"));
        }
    }
    for one in readings {
        for later in readings.iter().filter(|later| one.returned < later.invoked) {
            if let Some(lost) = one.members.difference(&later.members).next() {
                return Err(format!("{lost} was there at {} and is gone at {}", one.returned, later.invoked));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(member: u64, invoked: u64, returned: Option<u64>) -> Add {
        Add { member, invoked, returned, refused: false }
    }

    fn reading(invoked: u64, members: &[u64]) -> Reading {
        Reading { invoked, returned: invoked + 1, members: members.iter().copied().collect() }
    }

    #[test]
    fn what_was_added_stays_and_nothing_else_appears() {
        let adds = [add(1, 0, Some(1)), add(2, 5, None), add(3, 50, Some(51))];
        check(&adds, &[reading(2, &[1]), reading(10, &[1, 2]), reading(60, &[1, 2, 3])]).unwrap();
        check(&adds, &[reading(10, &[1]), reading(20, &[1, 2])]).unwrap();
        for bad in [&[reading(10, &[2])][..], &[reading(2, &[1, 2])], &[reading(10, &[1, 2]), reading(20, &[1])]] {
            assert!(check(&adds, bad).is_err(), "{bad:?}");
        }
        assert!(check(&adds, &[reading(10, &[1, 9])]).is_err(), "from nowhere");
        let refused = Add { refused: true, ..add(4, 0, Some(1)) };
        assert!(check(&[refused], &[reading(10, &[4])]).is_err());
    }
}
