//! What a line of a replica's log says of its terms, of what its controllers wrote, and of odd states. Pure.

use raft::Revision;

/// How the log words it.
const SERVES: &str = ": serving replica=";
const LEADS: &str = ": leading: starting the scheduler and the controllers term=";
const WRITTEN: &str = ": written term=";
const FENCED: &str = "this replica is fenced: ";
const SUSPECTS: [&str; 2] = ["a replica's state differs", "this replica serves nothing until that is settled"];

#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// A run of it begins: what it tells from then on is of a store that was opened anew.
    Serves,
    /// It leads, and its state was of this revision before any of its controllers began.
    Leads { term: u64, at: Revision },
    /// A command of a controller that was started in this term took effect, and made these revisions. `key`: what it was planned
    /// for; events have none.
    Wrote { term: u64, controller: String, key: String, made: Vec<Revision> },
    /// It knows that its own state is odd.
    Fenced,
    /// It has found another's state odd, or doubts whose is right.
    Suspects,
}

/// `None`: nothing of that.
pub fn read(line: &str) -> Option<Said> {
    let between = |from: &str, to: char| line.split_once(from).and_then(|(_, rest)| rest.split(to).next());
    let number = |name: &str| between(name, ' ').and_then(|text| text.parse().ok());
    if line.contains(SERVES) {
        return Some(Said::Serves);
    }
    if line.contains(LEADS) {
        return Some(Said::Leads { term: number(" term=")?, at: number(" revision=")? });
    }
    if line.contains(WRITTEN) {
        let told = between(" revisions=[", ']')?.split(", ").map(str::parse::<Revision>);
        let told = told.collect::<Result<Vec<_>, _>>().ok()?;
        let controller = between(" controller=\"", '"')?.to_owned();
        let key = between(" key=", ' ').unwrap_or_default().to_owned();
        return Some(Said::Wrote { term: number(" term=")?, controller, key, made: made(&told) });
    }
    if line.contains(FENCED) {
        return Some(Said::Fenced);
    }
    SUSPECTS.iter().any(|word| line.contains(word)).then_some(Said::Suspects)
}

/// A command is told one revision for each of its operations. One that only looks repeats the revision before it; as the first of
/// several, that is another's. No command does nothing but look.
fn made(told: &[Revision]) -> Vec<Revision> {
    match told {
        [one] => vec![*one],
        several => several.windows(2).filter(|pair| pair[0] < pair[1]).map(|pair| pair[1]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As it comes from a module of a replica.
    fn said(text: &str) -> Option<Said> {
        read(&format!("2026-11-30T21:37:22.123456Z  INFO kontiki_{text}"))
    }

    fn wrote(controller: &str, key: &str, made: &[Revision]) -> Option<Said> {
        Some(Said::Wrote { term: 5, controller: controller.into(), key: key.into(), made: made.into() })
    }

    #[test]
    fn what_matters_is_read_and_nothing_else() {
        let leads = "server::leader: leading: starting the scheduler and the controllers term=5 revision=77";
        assert_eq!(said(leads), Some(Said::Leads { term: 5, at: 77 }));
        assert_eq!(said(&leads[..leads.len() - " revision=77".len()]), None, "half a line");
        let plan = r#"server::leader::driver: written term=5 controller="replicaset" key=a revisions=[78, 79, 80, 80]"#;
        assert_eq!(said(plan), wrote("replicaset", "a", &[79, 80]));
        let events = r#"server::leader::driver: written term=5 controller="events" revisions=[81]"#;
        assert_eq!(said(events), wrote("events", "", &[81]));
        assert_eq!(said(r#"server::run: serving replica=1 listen="0.0.0.0:6443""#), Some(Said::Serves));
        let fenced = "raft::accord::guard: this replica is fenced: it neither votes nor serves until its data is wiped";
        assert_eq!(said(fenced), Some(Said::Fenced));
        assert_eq!(said("raft::accord: a replica's state differs replica=2 index=640"), Some(Said::Suspects));
        let doubts = "raft::accord::guard: this replica serves nothing until that is settled why=\"two states\"";
        assert_eq!(said(doubts), Some(Said::Suspects));
        assert_eq!(said(r#"server::leader::driver: planned controller="replicaset" key=a/b/c writes=3"#), None);
        assert_eq!(said("server::leader: the scheduler and the controllers have ended term=5"), None);
    }

    #[test]
    fn a_revision_that_a_command_only_looked_at_is_another_s() {
        assert_eq!(made(&[7]), [7]);
        assert_eq!(made(&[7, 8, 9]), [8, 9]);
        assert!(made(&[7, 7]).is_empty());
        assert_eq!(made(&[7, 8, 8]), [8]);
        assert!(made(&[]).is_empty());
    }

    #[test]
    fn the_words_are_those_of_the_replicas() {
        let are = |words: &str, source: &str| assert!(source.contains(words), "no replica says {words:?} any more");
        are("\"serving\"", include_str!("../../../server/src/run.rs"));
        let leader = include_str!("../../../server/src/leader/mod.rs");
        are("info!(term, revision, \"leading: starting the scheduler and the controllers\")", leader);
        let driver = include_str!("../../../server/src/leader/driver.rs");
        are("debug!(term = self.term, controller, key = %work.1, ?revisions, \"written\")", driver);
        are("debug!(term = self.term, controller = \"events\", ?revisions, \"written\")", driver);
        let guard = include_str!("../../../raft/src/accord/guard.rs");
        are(FENCED, guard);
        are(SUSPECTS[0], include_str!("../../../raft/src/accord/mod.rs"));
        are(SUSPECTS[1], guard);
    }
}
