//! Where the containers of Pods are: all of one Pod on one node for its whole life, and only where it was assigned to.
//! Pure.

use std::collections::BTreeMap;

/// The node of each Pod, by its uid.
#[derive(Default)]
pub struct Homes {
    nodes: BTreeMap<String, String>,
}

impl Homes {
    /// There is a container of this Pod on this node.
    pub fn see(&mut self, uid: &str, node: &str) -> Result<(), String> {
        match self.nodes.get(uid) {
            None => {
                self.nodes.insert(uid.into(), node.into());
                Ok(())
            }
            Some(other) if other != node => Err(format!("Pod {uid} has containers on {other} and on {node}")),
            Some(_) => Ok(()),
        }
    }

    /// `assigned`: as the history has it.
    pub fn check(&self, assigned: &BTreeMap<String, String>) -> Result<(), String> {
        match self.nodes.iter().find(|(uid, node)| assigned.get(*uid) != Some(node)) {
            None => Ok(()),
            Some((uid, node)) => Err(format!("Pod {uid} ran on {node}, assigned to {:?}", assigned.get(uid))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_on_two_nodes_is_noticed_and_one_on_a_wrong_node() {
        let mut homes = Homes::default();
        homes.see("1", "a").unwrap();
        homes.see("1", "a").unwrap();
        homes.see("2", "b").unwrap();
        let assigned =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(uid, node)| (uid.to_string(), node.to_string())).collect();
        homes.check(&assigned(&[("1", "a"), ("2", "b"), ("3", "a")])).unwrap();
        assert!(homes.check(&assigned(&[("1", "a"), ("2", "a")])).is_err(), "elsewhere");
        assert!(homes.check(&assigned(&[("1", "a")])).is_err(), "never assigned");
        assert!(homes.see("1", "b").is_err());
    }
}
