//! Receives what a request brings along, before anything else is held for it: within a size, a time, and what all bodies
//! may take together. Acts.

use std::sync::Arc;
use std::time::Duration;

use api::status::Status;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::Request;
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The whole body must be there within this time of the request's head.
const DEADLINE: Duration = Duration::from_secs(30);
/// What the bodies that have arrived, or are arriving, hold together at one door.
const BYTES_MAX: usize = 600 << 20;
const RETRY_AFTER_SECONDS: u32 = 1;

/// Why a body was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("the body is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
    #[error("the body did not arrive within {} s", DEADLINE.as_secs())]
    TooSlow,
    #[error("the body did not arrive whole: {0}")]
    Broken(String),
    #[error("the bodies of the requests in flight are too large together, please try again later")]
    NoRoom,
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Status {
        match refused {
            Refused::TooLarge { bytes_max } => Status::request_entity_too_large(bytes_max),
            Refused::TooSlow => Status::timeout(refused, 0),
            Refused::Broken(_) => Status::bad_request(refused.to_string()),
            Refused::NoRoom => Status::too_many_requests(refused.to_string(), RETRY_AFTER_SECONDS),
        }
    }
}

/// One door's room for bodies. Cheap to clone; clones share.
#[derive(Clone)]
pub struct Arrivals {
    /// In bytes.
    free: Arc<Semaphore>,
}

/// The room that a body takes, until it is dropped. Nothing for a request without one.
pub type Taken = Option<OwnedSemaphorePermit>;

impl Default for Arrivals {
    fn default() -> Arrivals {
        Arrivals { free: Arc::new(Semaphore::new(BYTES_MAX)) }
    }
}

impl Arrivals {
    /// The request with its whole body. Room is taken for what has arrived, not for what was announced: who sends a byte
    /// and waits holds a byte.
    pub async fn receive(&self, request: Request<Body>, bytes_max: usize) -> Result<(Request<Body>, Taken), Refused> {
        if request.body().is_end_stream() {
            return Ok((request, None));
        }
        if request.body().size_hint().lower() > bytes_max as u64 {
            return Err(Refused::TooLarge { bytes_max });
        }
        let (head, body) = request.into_parts();
        let whole = tokio::time::timeout(DEADLINE, self.collect(body, bytes_max));
        let (whole, taken) = whole.await.unwrap_or(Err(Refused::TooSlow))?;
        Ok((Request::from_parts(head, Body::from(whole)), taken))
    }

    async fn collect(&self, body: Body, bytes_max: usize) -> Result<(Bytes, Taken), Refused> {
        let mut body = Limited::new(body, bytes_max);
        let (mut first, mut whole) = (Bytes::new(), BytesMut::new());
        let mut taken: Taken = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| match error.is::<LengthLimitError>() {
                true => Refused::TooLarge { bytes_max },
                false => Refused::Broken(error.to_string()),
            })?;
            let Ok(piece) = frame.into_data() else { continue };
            let more = self.take(piece.len())?;
            match &mut taken {
                Some(taken) => taken.merge(more),
                None => taken = Some(more),
            }
            // Most bodies come in one piece, which needs no copy.
            if first.is_empty() && whole.is_empty() {
                first = piece;
                continue;
            }
            whole.extend_from_slice(&std::mem::take(&mut first));
            whole.extend_from_slice(&piece);
        }
        Ok((if whole.is_empty() { first } else { whole.freeze() }, taken))
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refused> {
        let bytes = u32::try_from(bytes).map_err(|_| Refused::NoRoom)?;
        self.free.clone().try_acquire_many_owned(bytes).map_err(|_| Refused::NoRoom)
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, stream};

    use super::*;

    type Piece = Result<&'static str, std::io::Error>;

    fn request(pieces: Vec<Piece>, ends: bool) -> Request<Body> {
        let pieces = stream::iter(pieces);
        Request::new(match ends {
            true => Body::from_stream(pieces),
            false => Body::from_stream(pieces.chain(stream::pending())),
        })
    }

    async fn received(arrivals: &Arrivals, request: Request<Body>) -> Result<Bytes, Refused> {
        let (request, _taken) = arrivals.receive(request, 8).await?;
        Ok(request.into_body().collect().await.expect("it is there").to_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_arrives_whole_or_not_at_all() {
        let arrivals = Arrivals::default();
        assert_eq!(received(&arrivals, Request::new(Body::empty())).await.unwrap(), "");
        assert_eq!(received(&arrivals, request(vec![Ok("12"), Ok("34"), Ok("56")], true)).await.unwrap(), "123456");
        let broken = vec![Ok("12"), Err(std::io::Error::other("gone"))];
        assert!(matches!(received(&arrivals, request(broken, true)).await, Err(Refused::Broken(_))));
        let large = vec![Ok("12345678"), Ok("9")];
        assert!(matches!(received(&arrivals, request(large, true)).await, Err(Refused::TooLarge { .. })));
        let announced = Request::new(Body::from("123456789"));
        assert!(matches!(received(&arrivals, announced).await, Err(Refused::TooLarge { .. })));
        assert!(matches!(received(&arrivals, request(vec![Ok("1")], false)).await, Err(Refused::TooSlow)));
        assert_eq!(arrivals.free.available_permits(), BYTES_MAX, "all room was given back");
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_little_holds_little() {
        let arrivals = Arrivals { free: Arc::new(Semaphore::new(10)) };
        let slow: Vec<_> = (0..4)
            .map(|_| {
                let arrivals = arrivals.clone();
                tokio::spawn(async move { received(&arrivals, request(vec![Ok("1")], false)).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(received(&arrivals, request(vec![Ok("123"), Ok("456")], true)).await.unwrap(), "123456");
        assert!(matches!(received(&arrivals, request(vec![Ok("1234567")], true)).await, Err(Refused::NoRoom)));
        slow.iter().for_each(|task| task.abort());
    }
}
