//! How the store's refusals read in the API's terms. Pure.

use std::time::Duration;

use api::status::Status;
use raft::{Gone, HistoryError, ProposeError, ReadError, Untold};

use super::request::Target;
use crate::auth::Identity;

/// Clients try again after so long: an election takes about this.
const RETRY_AFTER_SECONDS: u32 = 1;

/// A read that no leader confirmed. Harmless to repeat.
pub fn read(error: &ReadError) -> Status {
    Status::service_unavailable(error.to_string(), RETRY_AFTER_SECONDS)
}

/// A write that did not happen may be repeated by clients on their own; one whose outcome is unknown may not,
/// so that answer names no time to retry after.
pub fn propose(error: &ProposeError) -> Status {
    match error {
        ProposeError::Refused(_) => Status::service_unavailable(error.to_string(), RETRY_AFTER_SECONDS),
        // Without a time to retry after: trying again at once frees no disk.
        ProposeError::NoSpace(_) => Status::insufficient_storage(error.to_string()),
        ProposeError::Unknown(_) => Status::timeout(error, 0),
    }
}

/// Without a time to retry after: it takes as long again.
pub fn looked_too_long(within: Duration) -> Status {
    let why = format!(
        "the history could not be looked through within {within:?}: it takes the longer the farther one looks back, \
         and few can look at a time on each replica"
    );
    Status::timeout(why, 0)
}

pub fn took_nothing() -> Status {
    Status::expired("the client took too long over the objects that the watch begins with")
}

pub fn too_old(gone: &Gone) -> Status {
    Status::expired(format!("too old resource version: {} ({})", gone.asked, gone.oldest))
}

/// Harmless to repeat, here or at another replica.
pub fn untold(untold: &Untold) -> Status {
    Status::service_unavailable(untold.to_string(), RETRY_AFTER_SECONDS)
}

pub fn past(error: &HistoryError) -> Status {
    match error {
        HistoryError::Gone(gone) => too_old(gone),
        HistoryError::Untold(why) => untold(why),
    }
}

pub fn continue_expired() -> Status {
    Status::expired(
        "The provided continue parameter is too old to display a consistent list result. \
         You must start a new list without the continue parameter.",
    )
}

/// The agent of a node asked for what is another node's.
pub fn beyond_limit(target: &Target, user: &Identity) -> Status {
    let why = format!("{} may only access what belongs to its own node", user.user());
    Status::forbidden(target.kind, &target.name, why)
}
