//! Replies of one message, which may be a whole list: given piece by piece, as their client takes them, and let go when he does
//! not. Acts.

use std::pin::Pin;
use std::task::{Context, Poll};

use api::status::Status;
use axum::body::Body;
use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::BodyExt as _;

use crate::objects::offer::Offer;
use crate::objects::room::{LENT_MAX, Lent, Room};

/// A message of this size is given whole, and takes no room: HTTP/2 holds as much for each stream anyway.
const PIECE_BYTES: usize = 64 << 10;

/// The same response, of which no more than a piece is ever outside of the room. 429 where others hold too much of it.
pub async fn bounded(response: Response<Body>, room: &Room) -> Result<Response<Body>, Status> {
    let (head, mut body) = response.into_parts();
    // The message was made by who made the head, so this waits for nothing.
    let Some(first) = body.frame().await else { return Ok(Response::from_parts(head, Body::empty())) };
    let first = first.map_err(Status::internal)?;
    let large = first.data_ref().filter(|message| message.len() > PIECE_BYTES).cloned();
    let reply = match large {
        None => Reply { first: Some(first), large: None, rest: body },
        Some(message) => {
            let lent = room.lend(message.len())?;
            let large = Large { at: 0, bytes: message.len(), offer: Offer::lasting((message, lent), LENT_MAX) };
            Reply { first: None, large: Some(large), rest: body }
        }
    };
    Ok(Response::from_parts(head, Body::new(reply)))
}

struct Reply {
    first: Option<Frame<Bytes>>,
    large: Option<Large>,
    /// The trailers.
    rest: Body,
}

/// A message of which so much was given.
struct Large {
    offer: Offer<(Bytes, Lent)>,
    at: usize,
    bytes: usize,
}

impl Large {
    /// A copy, for a slice would keep the whole message wherever it waits. After an error there is no more.
    fn next_piece(&mut self) -> Result<Bytes, Status> {
        self.offer.taken();
        let Some((message, _lent)) = self.offer.get() else {
            return Err(Status::timeout("the client took too long over the reply", 0));
        };
        let end = self.bytes.min(self.at + PIECE_BYTES);
        let piece = Bytes::copy_from_slice(&message[self.at..end]);
        self.at = end;
        Ok(piece)
    }
}

impl http_body::Body for Reply {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Reply { first, large, rest } = self.get_mut();
        if let Some(first) = first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let Some(message) = large else { return Pin::new(rest).poll_frame(context) };
        let piece = message.next_piece();
        if piece.is_err() {
            *rest = Body::empty();
        }
        if piece.is_err() || message.at == message.bytes {
            *large = None;
        }
        Poll::Ready(Some(piece.map(Frame::data).map_err(axum::Error::new)))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http_body_util::{Full, combinators::WithTrailers};
    use tokio::time::sleep;

    use super::*;
    use crate::objects::offer::PATIENCE;

    const WHAT: &str = "the replies";

    fn response(message: &Bytes) -> Response<Body> {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().expect("a value"));
        let body: WithTrailers<_, _> = Full::new(message.clone()).with_trailers(std::future::ready(Some(Ok(trailers))));
        Response::new(Body::new(body))
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_arrives_as_it_was_made_however_slowly_it_is_taken() {
        let room = Room::new(WHAT, 1 << 20);
        for bytes in [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES] {
            let message = Bytes::from_iter((0..bytes).map(|n| n as u8));
            let mut body = bounded(response(&message), &room).await.expect("there is room").into_body();
            let (mut taken, mut trailers) = (Vec::new(), None);
            while let Some(frame) = body.frame().await {
                match frame.expect("a frame").into_data() {
                    Ok(piece) => {
                        assert!(piece.len() <= PIECE_BYTES);
                        taken.extend_from_slice(&piece);
                    }
                    Err(frame) => trailers = frame.into_trailers().ok(),
                }
                sleep(PATIENCE * 9 / 10).await;
            }
            assert!(taken == message, "{bytes} bytes");
            assert_eq!(trailers.expect("they come last")["grpc-status"], "0");
            room.lend(1 << 20).expect("all was given back");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_loses_it_and_others_are_told_to_come_back() {
        let room = Room::new(WHAT, 1 << 20);
        let message = Bytes::from(vec![7; 600 << 10]);
        let mut stalled = bounded(response(&message), &room).await.expect("there is room").into_body();
        stalled.frame().await.expect("a piece").expect("no error");
        let refused = bounded(response(&message), &room).await.expect_err("there is none");
        assert_eq!(refused.code, 429);
        bounded(response(&Bytes::from_static(b"small")), &room).await.expect("it takes none");
        sleep(PATIENCE * 5 / 2).await;
        assert!(message.is_unique(), "nobody takes it");
        bounded(response(&message), &room).await.expect("there is room again");
        assert!(stalled.frame().await.expect("not complete").is_err());
        assert!(stalled.frame().await.is_none());
    }
}
