//! Whether a replica has noticed what was done to its data, and named it in its log. Decides; pure.

use super::plan::{Fault, File, Host, Kind};

/// How a replica's log names damage.
const WORDS: [&str; 4] = ["damaged", "is corrupt", "set aside", "how far the log was durable is not known"];
/// How it names the file, where that is one of RocksDB's. The others are named by what they are for.
const FILES: [&str; 3] = [".log: ", ".sst", "MANIFEST-"];
/// A log whose last record seems to be longer than it is ends before that: then it is the mark that tells.
const ENDS_EARLY: &str = "its end is lost";

#[derive(Debug, PartialEq, Eq)]
pub enum Noticed {
    Yes,
    /// The bit may lie where nothing is: in what was replaced since, or behind the end.
    Not,
    /// All of the file is read at the next start.
    Never(String),
    /// Something is wrong, and nobody knows with which file.
    Nameless(String),
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
    let damage: Vec<&str> = said.lines().filter(|line| WORDS.iter().any(|word| line.contains(word))).collect();
    let names = |words: &[&str]| damage.iter().any(|line| words.iter().any(|word| line.contains(word)));
    match fault.kind {
        Kind::FlippedBit(host, file, _) if damage.is_empty() && whole(file) => {
            Noticed::Never(format!("replica {host} started on a damaged file ({file:?}) and did not say so"))
        }
        _ if damage.is_empty() => Noticed::Not,
        Kind::FlippedBit(host, file, _) if !whole(file) && !names(&FILES) && !names(&[ENDS_EARLY]) => {
            Noticed::Nameless(format!("replica {host} does not say in which file ({file:?}) the damage is: {damage:?}"))
        }
        _ => Noticed::Yes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noticed(kind: Kind, said: &str) -> Noticed {
        of(&Fault { at_ms: 0, for_ms: 0, kind }, said)
    }

    #[test]
    fn what_is_read_at_every_start_must_be_noticed() {
        let said = r#"ERROR a copy of the vote is damaged: it is made good by the other error="the copy of the vote is corrupt""#;
        assert_eq!(noticed(Kind::FlippedBit(1, File::Vote, 3), said), Noticed::Yes);
        assert!(matches!(noticed(Kind::FlippedBit(1, File::Vote, 3), "INFO serving"), Noticed::Never(_)));
        assert_eq!(noticed(Kind::FlippedBit(1, File::Log, 3), "INFO serving"), Noticed::Not);
        assert_eq!(
            noticed(Kind::FlippedBeneath(1, File::Vote, 3), "INFO serving"),
            Noticed::Not,
            "it may be written anew"
        );
    }

    #[test]
    fn what_is_noticed_in_a_file_of_rocksdb_s_is_named_with_it() {
        let said = |what: &str| {
            let said = format!("ERROR the database is set aside error=the database in / is damaged: {what}\nINFO on");
            noticed(Kind::FlippedBit(1, File::Log, 3), &said)
        };
        let named = "000012.log: the record at byte 5 does not match its checksum (Corruption: checksum mismatch)";
        assert_eq!(said(named), Noticed::Yes);
        assert!(matches!(said("Corruption: checksum mismatch"), Noticed::Nameless(_)));
        assert!(matches!(said("Corruption\nINFO the log was cut log=000012.log: "), Noticed::Nameless(_)), "elsewhere");
        assert_eq!(said("the log ends with entry 7, it was durable up to 9: its end is lost"), Noticed::Yes);
    }

    #[test]
    fn the_words_are_those_of_the_replicas() {
        let are = |words: &str, source: &str| assert!(source.contains(words), "no replica says {words:?} any more");
        are("\"{}: {wrong}\"", include_str!("../../../raft/src/disk/log_files.rs"));
        are(ENDS_EARLY, include_str!("../../../raft/src/log/mark.rs"));
        let mend = include_str!("../../../raft/src/mend.rs");
        are("the database is set aside", mend);
        are("the data is damaged: it is set aside", mend);
    }
}
