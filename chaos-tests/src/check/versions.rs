//! The resourceVersions that one client is shown: a list is not older than anything it was shown before, and an event
//! of a watch is newer. Pure.

use raft::Revision;

#[derive(Default)]
pub struct Versions {
    newest: Revision,
}

impl Versions {
    pub fn listed(&mut self, at: Revision) -> Result<(), String> {
        if at < self.newest {
            return Err(format!("a list is of revision {at}, after {} was seen", self.newest));
        }
        self.newest = at;
        Ok(())
    }

    pub fn told(&mut self, at: Revision) -> Result<(), String> {
        if at <= self.newest {
            return Err(format!("a watch told of revision {at}, after {} was seen", self.newest));
        }
        self.newest = at;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_back_is_noticed() {
        let mut versions = Versions::default();
        versions.listed(3).unwrap();
        versions.told(4).unwrap();
        assert!(versions.told(4).is_err(), "twice");
        assert!(versions.told(3).is_err(), "back");
        versions.listed(4).unwrap();
        assert!(versions.listed(3).is_err(), "an old list");
    }
}
