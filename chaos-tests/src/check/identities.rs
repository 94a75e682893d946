//! A Pod's identity is its namespace and name. Others take it over one after the other, as a StatefulSet's Pods do, and
//! never do containers of two of them run at one moment, on whatever nodes. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::settled::Found;

/// All Pods that were ever seen running.
#[derive(Default)]
pub struct Identities {
    /// Their uids, by their identities.
    ran: BTreeMap<String, BTreeSet<String>>,
}

impl Identities {
    /// `containers`: all that there are at one moment.
    pub fn look(&mut self, containers: &[Found]) -> Result<(), String> {
        let mut alive: BTreeMap<&str, &Found> = BTreeMap::new();
        for container in containers.iter().filter(|container| container.runs) {
            let first = *alive.entry(&container.pod).or_insert(container);
            if first.pod_uid != container.pod_uid {
                return Err(format!(
                    "two Pods are {} at once: {} on {} and {} on {}",
                    container.pod, first.pod_uid, first.node, container.pod_uid, container.node
                ));
            }
            if self.ran.get(&container.pod).is_none_or(|uids| !uids.contains(&container.pod_uid)) {
                self.ran.entry(container.pod.clone()).or_default().insert(container.pod_uid.clone());
            }
        }
        Ok(())
    }

    /// How many Pods have ever run under this identity.
    pub fn bearers(&self, identity: &str) -> usize {
        self.ran.get(identity).map_or(0, BTreeSet::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `runs on name uid`, or `ended on …`, separated by commas.
    fn moment(text: &str) -> Vec<Found> {
        let found = |words: &str| {
            let words: Vec<&str> = words.split_whitespace().collect();
            let [state, node, pod, uid] = words[..] else { panic!("four words: {words:?}") };
            let (node, pod_uid, pod) = (node.into(), uid.into(), format!("default/{pod}"));
            Found { node, pod, pod_uid, is_app: true, runs: state == "runs" }
        };
        text.split(',').filter(|text| !text.is_empty()).map(found).collect()
    }

    fn look(moments: &[&str]) -> Result<Identities, String> {
        let mut identities = Identities::default();
        moments.iter().try_for_each(|text| identities.look(&moment(text)))?;
        Ok(identities)
    }

    #[test]
    fn one_follows_another() {
        let seen = look(&[
            "runs a db-0 1, runs a db-0 1, runs b db-1 2",
            "ended a db-0 1, runs b db-1 2",
            "ended a db-0 1, runs c db-0 3, runs b db-1 2",
            "runs c db-0 3",
            "",
            "runs a db-0 4",
        ]);
        let seen = seen.unwrap();
        let bearers = ["default/db-0", "default/db-1", "default/db-2"].map(|identity| seen.bearers(identity));
        assert_eq!(bearers, [3, 1, 0]);
    }

    #[test]
    fn two_of_one_identity_are_noticed_wherever_they_run() {
        let elsewhere = look(&["runs a db-0 1", "runs a db-0 1, runs b db-0 2"]).map(drop).unwrap_err();
        assert_eq!(elsewhere, "two Pods are default/db-0 at once: 1 on a and 2 on b");
        assert!(look(&["runs a db-0 1, runs a db-0 2"]).is_err(), "on one node");
        let back = ["runs a db-0 1", "runs b db-0 2", "runs b db-0 2, runs c db-1 3, runs a db-0 1"];
        assert!(look(&back).is_err(), "a node that was lost comes back with it");
    }

    #[test]
    fn a_sandbox_of_the_one_before_counts() {
        let mut containers = moment("runs a db-0 1, runs b db-0 2");
        containers[0].is_app = false;
        assert!(Identities::default().look(&containers).is_err());
    }
}
