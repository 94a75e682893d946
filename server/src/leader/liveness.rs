//! What the controllers are told of the nodes' heartbeats, and which nodes that concerns. Pure, decides. All times are of
//! a clock that makes no steps: the wall clock may be wrong by hours, and set right in the middle of a term.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::{Discriminant, discriminant};

use control::controllers::node_lifecycle::{GRACE, Health, health};
use control::{Liveness, View};
use tokio::time::Instant;

/// What a leader remembers of the nodes from one look to the next.
pub struct Pulse {
    /// Since when it leads, and looks often enough to have heard whoever spoke.
    led_since: Instant,
    looked_at: Instant,
    /// When each node was first seen by this leader since then: its Node, or pods that are bound to it.
    known_since: BTreeMap<String, Instant>,
    /// How each node fared at the last look.
    last: BTreeMap<String, Discriminant<Health>>,
}

impl Pulse {
    pub fn new(led_since: Instant) -> Pulse {
        Pulse { led_since, looked_at: led_since, known_since: BTreeMap::new(), last: BTreeMap::new() }
    }

    /// A leader judges silence only once it has led for longer than the grace: before that, a node that it did not
    /// hear of lately is not mentioned at all. Afterwards a node never heard of counts as heard of when the
    /// leadership began, or when its Node was made. One whose Node is gone is judged as well, as long as pods are bound to it.
    ///
    /// Between two looks that lie further apart than the grace this process did not run, and listened to nobody: it counts as
    /// leading since the second one. No silence counts for longer than that.
    pub fn judged(
        &mut self,
        heard: BTreeMap<String, Liveness>,
        view: &View,
        now: Instant,
    ) -> BTreeMap<String, Liveness> {
        if now.duration_since(self.looked_at) > GRACE {
            self.led_since = now;
            self.known_since.clear();
        }
        self.looked_at = now;
        let listened_for = now.duration_since(self.led_since);
        let mut known = std::mem::take(&mut self.known_since);
        let existing = view.nodes().map(|entry| entry.key.name.as_str());
        let names: BTreeSet<&str> = existing.chain(view.nodes_with_pods()).collect();
        let since = |name: &str| known.remove_entry(name).unwrap_or_else(|| (name.to_owned(), now));
        self.known_since = names.into_iter().map(since).collect();
        let young = listened_for <= GRACE;
        let mut judged: BTreeMap<String, Liveness> =
            heard.into_iter().filter(|(_, liveness)| !young || liveness.silent_for <= GRACE).collect();
        judged.values_mut().for_each(|liveness| liveness.silent_for = liveness.silent_for.min(listened_for));
        if !young {
            for (name, since) in &self.known_since {
                judged.entry(name.clone()).or_insert_with(|| Liveness {
                    silent_for: now.duration_since(*since),
                    engine_ready: false,
                    engine_message: "the agent has not reported yet".into(),
                });
            }
        }
        judged
    }

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
    use std::ops::RangeInclusive;
    use std::time::Duration;

    use api::Key;

    use super::*;

    fn heard(seconds_ago: u64) -> BTreeMap<String, Liveness> {
        let silent_for = Duration::from_secs(seconds_ago);
        BTreeMap::from([("n".to_string(), Liveness { silent_for, engine_ready: true, engine_message: String::new() })])
    }

    /// With the Node `n`.
    fn view() -> View {
        let mut view = View::new();
        let node = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n"}}"#;
        view.take_in(&Key::new("", "nodes", "", "n"), 1, Some(node.as_bytes()));
        view
    }

    /// Looks every second, so long after `from`, and hears nobody. What the last look finds.
    fn look(pulse: &mut Pulse, view: &View, from: Instant, seconds: RangeInclusive<u64>) -> BTreeMap<String, Liveness> {
        let mut judged = BTreeMap::new();
        for second in seconds {
            judged = pulse.judged(BTreeMap::new(), view, from + Duration::from_secs(second));
        }
        judged
    }

    /// (heard of so long ago, led for) -> what health makes of it.
    #[test]
    fn a_leader_judges_nobody_by_its_own_election() {
        for (heard_ago, led_for, expected) in [
            (Some(3), 103, Health::Up),
            (Some(5), 105, Health::Silent),
            (Some(5), 3, Health::Unjudged),
            (Some(7), 5, Health::Silent),
            (Some(2), 3, Health::Up),
            (None, 3, Health::Unjudged),
            (None, 5, Health::Silent),
        ] {
            let led_since = Instant::now();
            let mut pulse = Pulse::new(led_since);
            let mut view = view();
            look(&mut pulse, &view, led_since, 0..=led_for - 1);
            let now = led_since + Duration::from_secs(led_for);
            view.liveness = pulse.judged(heard_ago.map(heard).unwrap_or_default(), &view, now);
            assert_eq!(health(&view, "n"), expected, "heard of {heard_ago:?} s ago, led for {led_for} s");
        }
    }

    #[test]
    fn a_new_node_gets_its_grace() {
        let made = Instant::now() + Duration::from_secs(998);
        let mut pulse = Pulse::new(made - Duration::from_secs(998));
        look(&mut pulse, &View::new(), made - Duration::from_secs(998), 0..=997);
        let mut view = view();
        for after in 0..=10 {
            view.liveness = look(&mut pulse, &view, made, after..=after);
            assert_eq!(health(&view, "n") == Health::Silent, after > 4, "{after} s after it was made");
        }
        look(&mut pulse, &View::new(), made, 11..=20);
        view.liveness = look(&mut pulse, &view, made, 21..=21);
        assert_ne!(health(&view, "n"), Health::Silent, "it was made anew");
    }

    #[test]
    fn a_node_that_is_gone_is_judged_for_as_long_as_pods_are_bound_to_it() {
        let led_since = Instant::now();
        let mut pulse = Pulse::new(led_since);
        let (mut view, key) = (View::new(), Key::new("", "pods", "a", "p"));
        let pod = r#"{"kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[],"nodeName":"gone"}}"#;
        view.take_in(&key, 1, Some(pod.as_bytes()));
        let judged = look(&mut pulse, &view, led_since, 0..=60);
        assert_eq!(judged.get("gone").map(|liveness| liveness.silent_for), Some(Duration::from_secs(60)));
        view.take_in(&key, 2, None);
        assert!(look(&mut pulse, &view, led_since, 60..=60).is_empty());
    }

    #[test]
    fn who_was_frozen_judges_nobody_by_the_time_in_which_it_did_not_listen() {
        for was_heard in [true, false] {
            let led_since = Instant::now();
            let (mut pulse, mut view) = (Pulse::new(led_since), view());
            look(&mut pulse, &view, led_since, 0..=10);
            // For a minute nothing runs here.
            for second in 70..=75 {
                let heard = if was_heard { heard(second - 10) } else { BTreeMap::new() };
                view.liveness = pulse.judged(heard, &view, led_since + Duration::from_secs(second));
                let expected = if second < 75 { Health::Unjudged } else { Health::Silent };
                assert_eq!(health(&view, "n"), expected, "after {second} s, heard of before: {was_heard}");
            }
            assert_eq!(view.liveness["n"].silent_for, Duration::from_secs(5), "so long it has listened for");
        }
    }
}
