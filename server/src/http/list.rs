//! Lists: a page of objects, made piece by piece as its client takes them, and let go when he does not. Acts (reads only).

use std::sync::Arc;
use std::time::Duration;

use api::status::Status;
use axum::body::Body;
use bytes::Bytes;
use http::{Extensions, HeaderMap, Response, StatusCode, Version};
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

use super::accept::Shape;
use super::pieces::Pieces;
use super::resources::Asked;
use super::shapes::View;
use super::{Doors, respond};
use crate::objects::offer::Offer;
use crate::objects::room::LENT_MAX;
use crate::objects::{List, Page, Target};

/// Smaller responses are not worth compressing. Kubernetes draws the line at the same size.
const COMPRESSED_BYTES_MIN: u64 = 128 << 10;

/// Marks a response that must go out as it is made: a watch.
#[derive(Clone, Copy)]
pub struct Immediate;

/// Which responses are compressed for clients that can read it.
pub fn compression() -> impl Predicate {
    let is_whole =
        |_: StatusCode, _: Version, _: &HeaderMap, extensions: &Extensions| extensions.get::<Immediate>().is_none();
    SizeAbove::new(COMPRESSED_BYTES_MIN).and(NotForContentType::GRPC).and(is_whole)
}

pub async fn answer(doors: &Doors, asked: Asked) -> Result<Response<Body>, Status> {
    let Asked { user, target, query, view, .. } = asked;
    let (selection, freshness) = (query.selection(&target)?, query.freshness()?);
    let (limit, continue_token) = (query.limit()?, query.get("continue").to_owned());
    let list = List { target: target.clone(), selection, limit, continue_token, freshness, user };
    let page = doors.objects.list(list).await?;
    show(&target, view, page)
}

/// A page that fits into a piece goes out with its length, and is not kept.
pub fn show(target: &Target, view: View, page: Page) -> Result<Response<Body>, Status> {
    let mut pieces = Pieces::begin(target, view, &page)?;
    let first = pieces.next_piece(&page)?;
    let body = match pieces.ended() {
        true => Body::from(first),
        false => Body::from_stream(futures::stream::iter(std::iter::once(Ok(first)).chain(rest(pieces, page)))),
    };
    Ok(match view.shape {
        Shape::Yaml => respond::yaml(StatusCode::OK, body),
        _ => respond::json(StatusCode::OK, body),
    })
}

/// The pieces after the first, each made when it is asked for. One HTTP/2 stream may stall while its connection goes on,
/// and nobody asks for the next piece then: the page is let go without that. Who asks after all gets an error, and does
/// not take the list for complete.
fn rest(mut pieces: Pieces, page: Page) -> impl Iterator<Item = Result<Bytes, Status>> {
    let at_most = if page.lent.is_nothing() { Duration::MAX } else { LENT_MAX };
    let mut kept = Some(Offer::lasting(Arc::new(page), at_most));
    std::iter::from_fn(move || {
        let offer = kept.as_ref()?;
        offer.taken();
        let piece = match offer.get() {
            Some(page) => pieces.next_piece(&page),
            None => Err(Status::timeout("the client took too long over the list", 0)),
        };
        if let Err(status) = &piece {
            tracing::debug!(why = status.message, "a list breaks off");
        }
        if piece.is_err() || pieces.ended() {
            kept = None;
        }
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use jiff::Timestamp;
    use tokio::time::sleep;

    use super::*;
    use crate::objects::Object;
    use crate::objects::offer::PATIENCE;

    /// The body of a list of some pieces, each of whose objects shares these bytes.
    fn body(shape: Shape, stored: &Bytes) -> axum::body::BodyDataStream {
        let kind = api::kinds::find("", "v1", "configmaps").unwrap();
        let view = View { shape, include: Default::default(), now: Timestamp::UNIX_EPOCH };
        let items = (1..=500).map(|revision| Object::new(stored.clone(), revision)).collect();
        let page = Page { revision: 500, items, ..Page::default() };
        show(&Target::collection(kind, "default"), view, page).unwrap().into_body().into_data_stream()
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_of_a_list_loses_it_and_who_is_slow_does_not() {
        let annotation = "x".repeat(1000);
        let stored = Bytes::from(format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"a","annotations":{{"k":"{annotation}"}}}}}}"#
        ));
        for shape in [Shape::Json, Shape::Yaml, Shape::Table, Shape::Metadata] {
            let mut slow = body(shape, &stored);
            let mut pieces = 0;
            while let Some(piece) = slow.next().await {
                piece.unwrap();
                pieces += 1;
                sleep(PATIENCE * 9 / 10).await;
            }
            assert!(pieces > 3, "{shape:?}: {pieces} pieces");
            assert!(stored.is_unique(), "{shape:?}: a list that ended keeps nothing");

            let mut stalled = body(shape, &stored);
            stalled.next().await.unwrap().unwrap();
            stalled.next().await.unwrap().unwrap();
            assert!(!stored.is_unique(), "{shape:?}");
            sleep(PATIENCE * 5 / 2).await;
            assert!(stored.is_unique(), "{shape:?}: nobody takes it");
            assert!(stalled.next().await.unwrap().is_err(), "{shape:?}: not complete");
            assert!(stalled.next().await.is_none(), "{shape:?}");
        }
    }
}
