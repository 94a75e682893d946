//! What the controllers are told of the nodes' heartbeats, and which nodes that concerns. Pure, decides.

use std::collections::BTreeMap;
use std::mem::{Discriminant, discriminant};

use control::controllers::node_lifecycle::{GRACE, Health, health};
use control::{Liveness, View};
use jiff::Timestamp;

/// A leader judges silence only once it has led for longer than the grace: before that, a node that it did not
/// hear of lately is not mentioned at all. Afterwards a node never heard of counts as heard of when the
/// leadership began, or when its Node was made.
pub fn judged(
    heard: BTreeMap<String, Liveness>,
    nodes: impl Iterator<Item = (String, Timestamp)>,
    led_since: Timestamp,
    now: Timestamp,
) -> BTreeMap<String, Liveness> {
    let young = now.duration_since(led_since) <= GRACE;
    let fresh = |liveness: &Liveness| now.duration_since(liveness.last_heard) <= GRACE;
    let mut judged: BTreeMap<String, Liveness> =
        heard.into_iter().filter(|(_, liveness)| !young || fresh(liveness)).collect();
    if !young {
        for (name, created) in nodes {
            judged.entry(name).or_insert_with(|| Liveness {
                last_heard: led_since.max(created),
                engine_ready: false,
                engine_message: "the agent has not reported yet".into(),
            });
        }
    }
    judged
}

/// Remembers how each node fared, to tell which ones fare otherwise now.
#[derive(Default)]
pub struct Pulse {
    last: BTreeMap<String, Discriminant<Health>>,
}

impl Pulse {
    /// The nodes whose health is another than at the last call.
    pub fn changed(&mut self, view: &View) -> Vec<String> {
        let names = view.nodes().map(|entry| entry.key.name.clone());
        let now: BTreeMap<String, Discriminant<Health>> = names
            .map(|name| {
                let health = discriminant(&health(view, &name));
                (name, health)
            })
            .collect();
        let differs = |(name, health): &(&String, &Discriminant<Health>)| self.last.get(*name) != Some(*health);
        let changed = now.iter().filter(differs).map(|(name, _)| name.clone()).collect();
        self.last = now;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a valid time")
    }

    fn heard(second: i64) -> BTreeMap<String, Liveness> {
        let liveness = Liveness { last_heard: at(second), engine_ready: true, engine_message: String::new() };
        BTreeMap::from([("n".to_string(), liveness)])
    }

    /// (heard at, led since, now) -> what health makes of it.
    #[test]
    fn a_leader_judges_nobody_by_its_own_election() {
        for (heard_at, led_since, now, expected) in [
            (Some(100), 0, 103, Health::Up),
            (Some(100), 0, 105, Health::Silent),
            (Some(100), 102, 105, Health::Unjudged),
            (Some(100), 102, 107, Health::Silent),
            (Some(103), 102, 105, Health::Up),
            (None, 102, 105, Health::Unjudged),
            (None, 102, 107, Health::Silent),
        ] {
            let mut view = View::new();
            view.now = at(now);
            let nodes = [("n".to_string(), at(0))].into_iter();
            view.liveness = judged(heard_at.map(heard).unwrap_or_default(), nodes, at(led_since), at(now));
            assert_eq!(health(&view, "n"), expected, "heard {heard_at:?}, led since {led_since}, now {now}");
        }
    }

    #[test]
    fn a_new_node_gets_its_grace() {
        let nodes = |created| [("n".to_string(), at(created))].into_iter();
        let mut view = View::new();
        view.now = at(1000);
        view.liveness = judged(BTreeMap::new(), nodes(998), at(0), at(1000));
        assert_ne!(health(&view, "n"), Health::Silent);
        view.liveness = judged(BTreeMap::new(), nodes(990), at(0), at(1000));
        assert_eq!(health(&view, "n"), Health::Silent);
    }
}
