//! Questions to another replica on one stream, answered in order: a fraction of the work of as many calls. Acts.

use std::sync::Mutex;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

/// Answers that may still come to questions that were given up: what is late has not failed, and on a new stream it would be
/// later still. With so many owed the next question gets a new stream all the same.
pub const OWED_MAX: usize = 8;

type Opened<A> = Result<Response<Streaming<A>>, Status>;

/// Opened with its first question, and anew after whatever went wrong.
pub struct Line<Q, A> {
    open: Option<Open<Q, A>>,
}

struct Open<Q, A> {
    questions: mpsc::Sender<Q>,
    answers: Answers<A>,
    /// Questions without an answer yet.
    owed: usize,
}

enum Answers<A> {
    /// The mutex is for openraft, which wants everything shareable; nobody locks it.
    Opening(Mutex<BoxFuture<'static, Opened<A>>>),
    Open(Box<Streaming<A>>),
}

impl<Q, A> Default for Line<Q, A> {
    fn default() -> Line<Q, A> {
        Line { open: None }
    }
}

/// Which answer a question waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// Its own, and no earlier one.
    Own,
    /// The newest that has come: where answers are always late, there is one all the same.
    Newest,
}

impl<Q, A> Line<Q, A> {
    /// The newest question has no answer yet: what was answered last was an earlier one.
    pub fn owes(&self) -> bool {
        self.open.as_ref().is_some_and(|line| line.owed > 0)
    }

    /// May be given up: the stream stays, and is opened on.
    pub async fn ask<F>(
        &mut self,
        question: Q,
        wants: Wants,
        open: impl FnOnce(ReceiverStream<Q>) -> F,
    ) -> Result<A, Status>
    where
        F: Future<Output = Opened<A>> + Send + 'static,
    {
        let kept = self.open.take().filter(|line| line.owed < OWED_MAX && !line.questions.is_closed());
        let line = kept.unwrap_or_else(|| {
            let (questions, outgoing) = mpsc::channel(OWED_MAX);
            let opening = open(ReceiverStream::new(outgoing)).boxed();
            Open { questions, answers: Answers::Opening(Mutex::new(opening)), owed: 0 }
        });
        let line = self.open.insert(line);
        let answer = line.ask(question, wants).await;
        if answer.is_err() {
            self.open = None;
        }
        answer
    }
}

impl<Q, A> Open<Q, A> {
    async fn ask(&mut self, question: Q, wants: Wants) -> Result<A, Status> {
        // There is room for all that may be owed. What opens the stream takes the first question along.
        self.questions.try_send(question).map_err(|_| ended())?;
        self.owed += 1;
        let mut answer = self.next().await?;
        while self.owed > 0 {
            answer = match wants {
                Wants::Own => self.next().await?,
                Wants::Newest => match self.next().now_or_never() {
                    Some(newer) => newer?,
                    None => break,
                },
            };
        }
        Ok(answer)
    }

    async fn next(&mut self) -> Result<A, Status> {
        let answer = self.answers.next().await?;
        self.owed -= 1;
        Ok(answer)
    }
}

impl<A> Answers<A> {
    async fn next(&mut self) -> Result<A, Status> {
        loop {
            match self {
                Answers::Opening(opening) => {
                    let opening = opening.get_mut().expect("nobody has locked it");
                    *self = Answers::Open(Box::new(opening.await?.into_inner()));
                }
                Answers::Open(answers) => return answers.message().await?.ok_or_else(ended),
            }
        }
    }
}

fn ended() -> Status {
    Status::unavailable("the other side has ended the stream")
}
