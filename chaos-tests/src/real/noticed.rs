//! Whether a replica has noticed what was done to its data, and named it in its log. Decides; pure.

use super::plan::{Fault, File, Host, Kind};

/// How a replica's log names damage.
const WORDS: [&str; 4] = ["damaged", "is corrupt", "set aside", "how far the log was durable is not known"];

#[derive(Debug, PartialEq, Eq)]
pub enum Noticed {
    Yes,
    /// The bit may lie where nothing is: in what was replaced since, or behind the end.
    Not,
    /// All of the file is read at the next start.
    Never(String),
}

/// Whose bit did a fault turn over?
pub fn victim(fault: &Fault) -> Option<Host> {
    match fault.kind {
        Kind::FlippedBit(host, ..) | Kind::FlippedBeneath(host, ..) => Some(host),
        _ => None,
    }
}

/// `said`: what the victim's log has had since.
pub fn of(fault: &Fault, said: &str) -> Noticed {
    let whole = |file| matches!(file, File::Current | File::Vote | File::Mark);
    match fault.kind {
        _ if WORDS.iter().any(|word| said.contains(word)) => Noticed::Yes,
        Kind::FlippedBit(host, file, _) if whole(file) => {
            Noticed::Never(format!("replica {host} started on a damaged file ({file:?}) and did not say so"))
        }
        _ => Noticed::Not,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_at_every_start_must_be_noticed() {
        let of = |kind, said| of(&Fault { at_ms: 0, for_ms: 0, kind }, said);
        let said = r#"ERROR a copy of the vote is damaged: it is made good by the other error="the copy of the vote is corrupt""#;
        assert_eq!(of(Kind::FlippedBit(1, File::Vote, 3), said), Noticed::Yes);
        assert!(matches!(of(Kind::FlippedBit(1, File::Vote, 3), "INFO serving"), Noticed::Never(_)));
        assert_eq!(of(Kind::FlippedBit(1, File::Log, 3), "INFO serving"), Noticed::Not);
        assert_eq!(of(Kind::FlippedBeneath(1, File::Vote, 3), "INFO serving"), Noticed::Not, "it may be written anew");
    }
}
