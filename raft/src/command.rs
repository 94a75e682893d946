//! The vocabulary of the store: what may be proposed, and what comes of it. Opaque bytes; decides nothing.

use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A counter in the replicated state: one step per object change, the same on every replica.
pub type Revision = u64;

/// All its ops take effect, or none does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Set by a leader's task: the term it was started in. `apply` refuses the command in any other term.
    pub fence: Option<u64>,
    /// Wall clock of the proposer, milliseconds since the Unix epoch. `apply` asks no clock of its own.
    pub proposed_at_ms: u64,
    /// Who asked for it, for the history: a user name or `system:kontiki:<controller>`.
    pub author: String,
    pub ops: Vec<Op>,
}

/// The encoding of a command in the log. A replica that meets another one stops instead of guessing.
const FORMAT: u8 = 1;

impl Command {
    /// The form in which a command travels and lies in the log.
    pub fn encode(&self) -> Bytes {
        let values = self.ops.iter().map(|op| 32 + op.key.len() + op.action.len()).sum::<usize>();
        let mut out = Vec::with_capacity(64 + self.author.len() + values);
        out.push(FORMAT);
        postcard::to_extend(self, out).expect("a command has an encoding").into()
    }

    pub fn decode(bytes: &[u8]) -> io::Result<Command> {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        match bytes.split_first() {
            Some((&FORMAT, body)) => {
                postcard::from_bytes(body).map_err(|error| invalid(format!("a command cannot be read: {error}")))
            }
            Some((other, _)) => Err(invalid(format!("a command has format {other}, this version knows {FORMAT}"))),
            None => Err(invalid("a command is empty".into())),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op {
    pub key: Bytes,
    pub precondition: Precondition,
    pub action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Precondition {
    Any,
    Absent,
    /// The key exists and was last changed at this revision.
    AtRevision(Revision),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    Put(Bytes),
    /// Deleting an absent key is no change (and takes no revision).
    Delete,
    /// Only checks the precondition.
    Check,
}

impl Action {
    fn len(&self) -> usize {
        match self {
            Action::Put(value) => value.len(),
            Action::Delete | Action::Check => 0,
        }
    }
}

/// What `apply` made of a command. A refusal is an answer, never an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// One revision per op, in order; a `Check` or an empty delete repeats the revision before it.
    Applied {
        revisions: Vec<Revision>,
    },
    Conflict {
        key: Bytes,
        current: Option<Versioned>,
    },
    /// The command's fence is not the term of its entry.
    Fenced {
        term: u64,
    },
}

/// A value with its history in two numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versioned {
    /// The revision of the last change.
    pub revision: Revision,
    /// The revision that made the key.
    pub created: Revision,
    pub value: Bytes,
}

/// One change, as watchers see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub revision: Revision,
    pub key: Bytes,
    /// `None`: deleted.
    pub value: Option<Bytes>,
    /// What stood there before. For a delete it is always given.
    pub previous: Previous,
    pub author: String,
    pub proposed_at_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Previous {
    /// The change made the key.
    Absent,
    Was(Versioned),
    /// It existed, but the history window no longer holds its value.
    Forgotten,
}

impl Previous {
    /// Bytes of its value, as far as it is known.
    pub(crate) fn len(&self) -> usize {
        match self {
            Previous::Was(was) => was.value.len(),
            Previous::Absent | Previous::Forgotten => 0,
        }
    }
}
