//! What lies beside the tables, so that damage to these leaves it: the vote, whose data it is, and whether others have it.
//! Pure.

use std::io;

use serde::{Deserialize, Serialize};

use crate::identity::Identity;
use crate::record;
use crate::types::Vote;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keepsake {
    pub vote: Vote,
    pub owner: Option<Identity>,
    /// There are other voters, as far as this replica knows: what is damaged here they have.
    pub others: bool,
}

impl Keepsake {
    pub fn encode(&self) -> Vec<u8> {
        record::encode(self)
    }

    /// `note`: what the disk keeps, if there is anything.
    pub fn read(note: Option<Vec<u8>>) -> io::Result<Option<Keepsake>> {
        note.map(|note| record::decode(&note, &|| "the copy of the vote".to_string())).transpose()
    }
}
