//! Questions to another replica on one stream, answered in order: a fraction of the work of as many calls. Acts.

use std::sync::Mutex;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

/// Answers that may still come to questions that were given up: what is late has not failed, and on a new stream it would be
/// later still. With so many owed the next question gets a new stream all the same.
pub const OWED_MAX: usize = 8;

type Incoming<A> = BoxStream<'static, Result<A, Status>>;

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

/// The mutexes are for openraft, which wants everything shareable; nobody locks them.
enum Answers<A> {
    Opening(Mutex<BoxFuture<'static, Result<Incoming<A>, Status>>>),
    Open(Mutex<Incoming<A>>),
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
    pub async fn ask<F, S>(
        &mut self,
        question: Q,
        wants: Wants,
        open: impl FnOnce(ReceiverStream<Q>) -> F,
    ) -> Result<A, Status>
    where
        F: Future<Output = Result<Response<S>, Status>> + Send + 'static,
        S: Stream<Item = Result<A, Status>> + Send + 'static,
    {
        let kept = self.open.take().filter(|line| line.owed < OWED_MAX && !line.questions.is_closed());
        let line = kept.unwrap_or_else(|| {
            let (questions, outgoing) = mpsc::channel(OWED_MAX);
            let opened = open(ReceiverStream::new(outgoing));
            let opening = async move { Ok(opened.await?.into_inner().boxed()) }.boxed();
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
                    *self = Answers::Open(Mutex::new(opening.await?));
                }
                Answers::Open(answers) => {
                    let answers = answers.get_mut().expect("nobody has locked it");
                    return answers.next().await.unwrap_or_else(|| Err(ended()));
                }
            }
        }
    }
}

fn ended() -> Status {
    Status::unavailable("the other side has ended the stream")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    type Said = mpsc::Sender<Result<u32, Status>>;

    /// The other side: the questions that have reached each stream, and what answers on it.
    #[derive(Default)]
    struct Other {
        streams: Vec<(ReceiverStream<u32>, Said)>,
    }

    impl Other {
        /// `None`: it was given up after a moment.
        async fn asked(
            &mut self,
            line: &mut Line<u32, u32>,
            question: u32,
            wants: Wants,
        ) -> Option<Result<u32, Status>> {
            let streams = &mut self.streams;
            let asking = line.ask(question, wants, |questions| {
                let (said, answers) = mpsc::channel(16);
                streams.push((questions, said));
                async move { Ok(Response::new(ReceiverStream::new(answers))) }
            });
            tokio::time::timeout(Duration::from_millis(150), asking).await.ok()
        }

        fn say(&self, answer: Result<u32, Status>) {
            let (_, said) = self.streams.last().unwrap();
            said.try_send(answer).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_late_answers_a_later_question_where_any_answer_will_do() {
        let (mut line, mut other) = (Line::default(), Other::default());
        assert!(other.asked(&mut line, 1, Wants::Newest).await.is_none());
        assert!(line.owes());
        other.say(Ok(10));
        assert_eq!(other.asked(&mut line, 2, Wants::Newest).await.unwrap().unwrap(), 10);
        assert!(line.owes(), "the answer to the second is still to come");
        other.say(Ok(20));
        other.say(Ok(30));
        assert_eq!(other.asked(&mut line, 3, Wants::Newest).await.unwrap().unwrap(), 30, "the newest counts");
        assert!(!line.owes());
        assert_eq!(other.streams.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_late_answers_no_question_but_its_own_where_that_matters() {
        let (mut line, mut other) = (Line::default(), Other::default());
        assert!(other.asked(&mut line, 1, Wants::Own).await.is_none());
        other.say(Ok(10));
        assert!(other.asked(&mut line, 2, Wants::Own).await.is_none(), "only the first is answered");
        other.say(Ok(20));
        other.say(Ok(30));
        assert_eq!(other.asked(&mut line, 3, Wants::Own).await.unwrap().unwrap(), 30);
        assert_eq!(other.streams.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_owes_too_much_is_asked_on_a_new_stream() {
        let (mut line, mut other) = (Line::default(), Other::default());
        for question in 0..OWED_MAX as u32 {
            assert!(other.asked(&mut line, question, Wants::Newest).await.is_none());
        }
        assert_eq!(other.streams.len(), 1);
        assert!(other.asked(&mut line, 99, Wants::Newest).await.is_none());
        assert_eq!(other.streams.len(), 2);
        assert_eq!(other.streams[1].0.next().await, Some(99));
        let before: Vec<_> = other.streams.remove(0).0.collect().await;
        assert_eq!(before, (0..OWED_MAX as u32).collect::<Vec<_>>(), "and nothing more on the first one");
    }

    #[tokio::test(start_paused = true)]
    async fn what_went_wrong_is_told_once() {
        let (mut line, mut other) = (Line::default(), Other::default());
        assert!(other.asked(&mut line, 1, Wants::Newest).await.is_none());
        other.say(Err(Status::aborted("it was reset")));
        assert_eq!(other.asked(&mut line, 2, Wants::Newest).await.unwrap().unwrap_err().message(), "it was reset");
        assert!(!line.owes());
        assert!(other.asked(&mut line, 3, Wants::Newest).await.is_none(), "on a new stream, which is silent");
        other.say(Ok(30));
        assert_eq!(other.asked(&mut line, 4, Wants::Newest).await.unwrap().unwrap(), 30);
        assert_eq!(other.streams.len(), 2);
    }
}
