//! The token that asks for the next page of a list: a revision and the last key told. Pure.

use api::status::Status;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// Opaque to clients; the names are short because the token travels in URLs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continuation {
    /// All pages show the state at this revision.
    #[serde(rename = "rv")]
    pub revision: u64,
    /// The last key told, without the prefix of the list.
    #[serde(rename = "after")]
    pub after: String,
}

/// Two names and a revision fit many times.
const TOKEN_BYTES_MAX: usize = 2048;

impl Continuation {
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("a number and a string"))
    }

    pub fn decode(token: &str) -> Result<Continuation, Status> {
        let refuse = || Status::bad_request("continue key is not valid");
        if token.len() > TOKEN_BYTES_MAX {
            return Err(refuse());
        }
        let bytes = URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).map_err(|_| refuse())?;
        serde_json::from_slice(&bytes).map_err(|_| refuse())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_and_garbage_is_refused() {
        let token = Continuation { revision: 7, after: "default/web".into() };
        assert_eq!(Continuation::decode(&token.encode()).unwrap(), token);
        for garbage in ["x", "e30", "!!!!", &"A".repeat(5000)] {
            assert_eq!(Continuation::decode(garbage).unwrap_err().code, 400, "{garbage:.10}");
        }
    }
}
