//! Sends one call to whichever replica answers, and moves on when one does not. Acts.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use api::status::Status;
use proto::admin::admin_client::AdminClient;
use proto::api::api_client::ApiClient;
use proto::channel;
use tokio::time::{Instant, timeout_at};
use tonic::Code;
use tonic::transport::Channel;

use crate::pulse::ANSWER_MAX;
use crate::replicas::{Replica, Replicas};
use crate::{Config, Error};

/// One attempt's share of the deadline, so that a replica that hangs does not eat all of it.
const ATTEMPT: Duration = Duration::from_secs(5);
/// A replica that answered this lately is sent what must not be sent again without being asked whether it is there.
const KNOWN_THERE: Duration = Duration::from_secs(1);
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// A connection to the cluster. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    replicas: Arc<Replicas>,
}

/// May a call be sent again when its outcome is not known?
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Reads: they change nothing, so that no outcome of theirs is unknown.
    Read,
    /// Writes that come to the same when done twice, and undo nobody else's in between.
    Always,
    /// Only when nothing was sent.
    Never,
}

impl Repeat {
    /// A sole writer's merge done twice comes to the same, unless it names the version that its first time has changed. Too cautious
    /// where something else has that name.
    pub(crate) fn of_merge(patch: &[u8]) -> Repeat {
        let word = b"resourceVersion";
        if patch.windows(word.len()).any(|at| at == word) { Repeat::Never } else { Repeat::Always }
    }
}

impl Client {
    /// Dials nothing yet: the first call does.
    pub fn connect(config: Config) -> Result<Client, Error> {
        Ok(Client { replicas: Arc::new(Replicas::new(config)?) })
    }

    pub fn config(&self) -> &Config {
        self.replicas.config()
    }

    /// From now on these replicas are called. An empty list changes nothing.
    pub fn set_addresses(&self, addresses: &[String]) {
        self.replicas.set(addresses);
    }

    /// The state of the replicas and nodes, from whichever replica answers first; also without a leader.
    pub async fn status(&self) -> Result<proto::api::StatusReply, Error> {
        self.call(Repeat::Read, |mut replica| async move { replica.status(proto::api::StatusRequest {}).await }).await
    }

    /// Sends a call until it is answered or the deadline passes. Cancel safe as far as the call itself is.
    pub(crate) async fn call<T, F>(&self, repeat: Repeat, send: impl Fn(ApiClient<Channel>) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        self.send(repeat, ATTEMPT, |replica| send(replica.api)).await
    }

    /// Like [`Client::call`], of the administrators' service. A change of the replicas may take its time.
    pub(crate) async fn call_admin<T, F>(
        &self,
        repeat: Repeat,
        send: impl Fn(AdminClient<Channel>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        self.send(repeat, proto::ADMIN_ANSWER_MAX, |replica| send(replica.admin)).await
    }

    async fn send<T, F>(&self, repeat: Repeat, share: Duration, send: impl Fn(Replica) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let deadline = Instant::now() + self.config().timeout;
        let mut pause = PAUSE_MIN;
        let mut tried = 0;
        // One attempt that may have taken effect is enough, whatever becomes of those after it.
        let mut may_be_done = false;
        loop {
            let (place, replica) = self.replicas.present();
            let limit = deadline.min(Instant::now() + share);
            let failure = match self.attempt(&replica, repeat, limit, send(replica.clone())).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            let step = judge(failure, repeat).map_err(|error| after(may_be_done, error))?;
            may_be_done |= step.may_be_done;
            tried += 1;
            let left = timeout_at(deadline, self.leave(place)).await;
            if left.is_err() || Instant::now() + pause >= deadline {
                return Err(Retry { may_be_done, ..step }.into_error());
            }
            // As often as there are replicas at full speed, then slower and slower.
            if tried % self.replicas.count() == 0 {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }

    /// One call to one replica, given up when that falls silent while there are others to ask. What was given up is
    /// cancelled. A call that must not be sent again is not begun at a silent replica; once it is sent, only its deadline
    /// or a broken connection ends the waiting.
    pub(crate) async fn attempt<T>(
        &self,
        replica: &Replica,
        repeat: Repeat,
        limit: Instant,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, tonic::Status> {
        let choice = self.replicas.count() > 1;
        if choice && repeat == Repeat::Never && !replica.pulse.beats(KNOWN_THERE).await {
            return Err(channel::silent(&replica.address, ANSWER_MAX));
        }
        tokio::select! {
            biased;
            answer = timeout_at(limit, call) => match answer {
                Ok(Ok(response)) => {
                    replica.pulse.heard();
                    Ok(response.into_inner())
                }
                Ok(Err(status)) => Err(status),
                Err(_) => Err(tonic::Status::deadline_exceeded("the replica did not answer in time")),
            },
            () = replica.pulse.stops(), if choice && repeat != Repeat::Never => {
                Err(tonic::Status::unavailable(format!("{} has fallen silent", replica.address)))
            }
        }
    }

    /// The replica to open a stream with: the one that answered last.
    pub(crate) fn present(&self) -> (usize, Replica) {
        self.replicas.present()
    }

    /// Leaves a replica that failed, unless another call did so already.
    pub(crate) async fn leave(&self, from: usize) {
        self.replicas.leave(from).await;
    }
}

/// A failure after which another replica may be tried.
pub(crate) struct Retry {
    message: String,
    /// It is a write, and it was sent: it may have taken effect.
    may_be_done: bool,
}

impl Retry {
    fn into_error(self) -> Error {
        if self.may_be_done { Error::Unknown(self.message) } else { Error::Unreachable(self.message) }
    }
}

/// Decides what a failed call means: go on elsewhere, or give its error to the caller.
pub(crate) fn judge(failure: tonic::Status, repeat: Repeat) -> Result<Retry, Error> {
    if let Some(status) = kubernetes_status(&failure) {
        // 429 and 503 say that nothing was done and that it may be tried again.
        return match status.code {
            429 | 503 => Ok(Retry { message: status.message, may_be_done: false }),
            // Nothing was done, and no other replica knows more.
            504 if status.is_version_too_large() => Err(Error::Api(Box::new(status))),
            504 if repeat == Repeat::Never => Err(Error::Unknown(status.message)),
            504 => Ok(Retry { message: status.message, may_be_done: repeat == Repeat::Always }),
            _ => Err(Error::Api(Box::new(status))),
        };
    }
    let sent = !channel::never_sent(&failure);
    // A call that the replica's version does not know, or a message that is too large: no verb was begun.
    let begun = sent && !matches!(failure.code(), Code::Unimplemented | Code::OutOfRange);
    // Without a Kubernetes status these come from the connection: `ResourceExhausted` when HTTP/2 reset the stream to calm us.
    let broken = matches!(
        failure.code(),
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::Internal
            | Code::Aborted
            | Code::ResourceExhausted
    );
    let retry = Retry { message: explain(&failure), may_be_done: begun && repeat != Repeat::Read };
    if broken && !(sent && repeat == Repeat::Never) { Ok(retry) } else { Err(retry.into_error()) }
}

/// What the last attempt certainly did not do, one before it may have done. A definite answer stays what it is: the calls
/// that are sent again come to the same when done twice.
fn after(may_be_done: bool, error: Error) -> Error {
    match error {
        Error::Unreachable(message) if may_be_done => Error::Unknown(message),
        other => other,
    }
}

/// What the failure of an open stream means to its reader: it cannot go on elsewhere.
pub(crate) fn ended(failure: tonic::Status) -> Error {
    match judge(failure, Repeat::Never) {
        Ok(retry) => Error::Unknown(retry.message),
        Err(error) => error,
    }
}

/// The Kubernetes `Status` that a Kontiki replica sends along with a gRPC error.
pub(crate) fn kubernetes_status(failure: &tonic::Status) -> Option<Status> {
    let value = failure.metadata().get_bin(proto::STATUS_METADATA)?;
    serde_json::from_slice(&value.to_bytes().ok()?).ok()
}

/// The chain of causes in one line: tonic's own message alone says only "transport error".
fn explain(failure: &tonic::Status) -> String {
    let mut text = failure.message().to_owned();
    let mut cause = std::error::Error::source(failure);
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = if text.is_empty() { next } else { format!("{text}: {next}") };
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use tonic::metadata::MetadataValue;

    use super::*;

    fn judged(failure: tonic::Status, repeat: Repeat) -> String {
        match judge(failure, repeat) {
            Ok(Retry { may_be_done: true, .. }) => "again, may be done".into(),
            Ok(Retry { may_be_done: false, .. }) => "again".into(),
            Err(Error::Unknown(_)) => "unknown".into(),
            Err(Error::Unreachable(_)) => "unreachable".into(),
            Err(Error::Api(status)) => status.code.to_string(),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn answer(status: Status) -> tonic::Status {
        let mut failure = tonic::Status::unknown("");
        failure.metadata_mut().insert_bin(proto::STATUS_METADATA, MetadataValue::from_bytes(&status.to_json()));
        failure
    }

    #[test]
    fn a_write_that_was_sent_is_never_said_to_have_changed_nothing() {
        let code = |code| tonic::Status::new(code, "");
        for (failure, read, always, never) in [
            (channel::silent("a", ANSWER_MAX), "again", "again", "again"),
            (code(Code::Unavailable), "again", "again, may be done", "unknown"),
            (code(Code::ResourceExhausted), "again", "again, may be done", "unknown"),
            (code(Code::PermissionDenied), "unreachable", "unknown", "unknown"),
            (code(Code::Unimplemented), "unreachable", "unreachable", "unreachable"),
            (code(Code::OutOfRange), "unreachable", "unreachable", "unreachable"),
            (answer(Status::service_unavailable("no leader", 1)), "again", "again", "again"),
            (answer(Status::timeout("the leader changed", 0)), "again", "again, may be done", "unknown"),
            (answer(Status::version_too_large(9, 5)), "504", "504", "504"),
            (answer(Status::bad_request("no")), "400", "400", "400"),
        ] {
            for (repeat, expected) in [(Repeat::Read, read), (Repeat::Always, always), (Repeat::Never, never)] {
                assert_eq!(judged(failure.clone(), repeat), expected, "{failure:?}");
            }
        }
    }

    #[test]
    fn what_an_earlier_attempt_may_have_done_is_not_forgotten() {
        let unreachable = || Error::Unreachable("no such call".into());
        assert!(matches!(after(false, unreachable()), Error::Unreachable(_)));
        assert!(matches!(after(true, unreachable()), Error::Unknown(_)));
        let answer = Error::Api(Box::new(Status::bad_request("no")));
        assert_eq!(after(true, answer).code(), Some(400), "that is how it stands now");
    }
}
