//! Questions to another replica on one stream, one at a time: a fraction of the work of as many calls. Acts.

use futures::TryFutureExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

/// Opened when first used, and anew after whatever went wrong with a question, given up ones included.
pub struct Line<Q, A> {
    idle: Option<Open<Q, A>>,
}

/// No question is under way.
struct Open<Q, A> {
    questions: mpsc::Sender<Q>,
    answers: Streaming<A>,
}

impl<Q, A> Default for Line<Q, A> {
    fn default() -> Line<Q, A> {
        Line { idle: None }
    }
}

impl<Q, A> Line<Q, A> {
    pub async fn ask<F>(&mut self, question: Q, open: impl FnOnce(ReceiverStream<Q>) -> F) -> Result<A, Status>
    where
        F: Future<Output = Result<Response<Streaming<A>>, Status>>,
    {
        let ended = || Status::unavailable("the other side has ended the stream");
        let mut line = match self.idle.take() {
            Some(line) => line,
            None => {
                let (questions, outgoing) = mpsc::channel(1);
                let answers = open(ReceiverStream::new(outgoing)).map_ok(Response::into_inner).await?;
                Open { questions, answers }
            }
        };
        line.questions.send(question).await.map_err(|_| ended())?;
        let answer = line.answers.message().await?.ok_or_else(ended)?;
        self.idle = Some(line);
        Ok(answer)
    }
}
