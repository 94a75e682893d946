//! What can go wrong with a call.

use api::status::Status;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster's own answer: not found, conflict, invalid, forbidden and so on. Of a sole writer's merge patch that was sent again it is
    /// the answer to the last attempt; one whose answer was lost may have taken effect before.
    #[error("{}", .0.message)]
    Api(Box<Status>),
    /// No replica answered in time. Nothing was changed by this call.
    #[error("no replica answered: {0}")]
    Unreachable(String),
    /// The connection broke, or time ran out, after a write was sent: it may have taken effect. Also when later attempts
    /// certainly did nothing. A read tells what became of it; sent again unseen, it could undo what others wrote since.
    #[error("the outcome is unknown: {0}. It may have taken effect: look at what is there before you try again")]
    Unknown(String),
    #[error("the answer cannot be read as {kind}")]
    Decode {
        kind: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("{path}: {message}")]
    Config { path: String, message: String },
    #[error(transparent)]
    Tls(#[from] proto::tls::Error),
}

impl Error {
    /// The HTTP status code of the cluster's answer, if it was one.
    pub fn code(&self) -> Option<i32> {
        match self {
            Error::Api(status) => Some(status.code.into()),
            _ => None,
        }
    }

    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Conflict or already exists.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }
}
