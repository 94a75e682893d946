//! Lists: a page of objects, written in pieces so that a large one is never twice in memory. Acts (reads only).

use std::convert::Infallible;
use std::vec::IntoIter;

use api::printer::ListMeta;
use api::status::Status;
use axum::body::Body;
use bytes::Bytes;
use http::{Extensions, HeaderMap, Response, StatusCode, Version};
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

use super::accept::Shape;
use super::resources::Asked;
use super::{Doors, respond, shapes};
use crate::objects::{List, Object, Page, Target};

/// A piece of a list is written when it has grown to this.
const PIECE_BYTES: usize = 64 << 10;
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
    match view.shape {
        Shape::Json => Ok(json(&target, page)),
        Shape::Yaml => {
            let all: Vec<u8> = Pieces::new(&target, page).flatten().collect();
            Ok(respond::yaml(StatusCode::OK, shapes::yaml(&all)?))
        }
        Shape::Table => Ok(respond::json(StatusCode::OK, shapes::table(&target, view, &page.items, &meta(&page))?)),
        Shape::Metadata => metadata(&page),
    }
}

/// A list of whole objects. One that fits into a piece goes out with its length.
pub fn json(target: &Target, page: Page) -> Response<Body> {
    let mut pieces = Pieces::new(target, page);
    let first = pieces.next().unwrap_or_default();
    if pieces.ended {
        return respond::json(StatusCode::OK, first);
    }
    let all = std::iter::once(first).chain(pieces).map(Ok::<Bytes, Infallible>);
    respond::json(StatusCode::OK, Body::from_stream(futures::stream::iter(all)))
}

fn metadata(page: &Page) -> Result<Response<Body>, Status> {
    let mut out = head("PartialObjectMetadataList", "meta.k8s.io/v1", page);
    for (index, object) in page.items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        shapes::write_metadata(&mut out, object)?;
    }
    out.extend_from_slice(b"]}");
    Ok(respond::json(StatusCode::OK, out))
}

/// The JSON of a list, piece by piece.
struct Pieces {
    /// What is written of the next piece.
    begun: Vec<u8>,
    items: IntoIter<Object>,
    is_first: bool,
    ended: bool,
}

impl Pieces {
    fn new(target: &Target, page: Page) -> Pieces {
        let begun = head(target.kind.list_kind, &target.kind.api_version(), &page);
        Pieces { begun, items: page.items.into_iter(), is_first: true, ended: false }
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let mut piece = std::mem::take(&mut self.begun);
        while piece.len() < PIECE_BYTES {
            let Some(object) = self.items.next() else {
                piece.extend_from_slice(b"]}");
                self.ended = true;
                break;
            };
            if !std::mem::take(&mut self.is_first) {
                piece.push(b',');
            }
            object.write_json(&mut piece);
        }
        Some(piece.into())
    }
}

/// Up to the opening bracket of the items.
fn head(kind: &str, api_version: &str, page: &Page) -> Vec<u8> {
    let meta = serde_json::to_string(&meta(page)).expect("list metadata has only string keys");
    format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{meta},"items":["#).into_bytes()
}

fn meta(page: &Page) -> ListMeta {
    ListMeta {
        resource_version: page.revision.to_string(),
        continue_token: page.continue_token.clone(),
        remaining_item_count: page.remaining,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_one_list() {
        let kind = api::kinds::find("", "v1", "configmaps").unwrap();
        let stored = format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"a"}},"data":{{"k":"{}"}}}}"#,
            "x".repeat(1000)
        );
        for count in [0, 1, 64, 300] {
            let items = (1..=count).map(|revision| Object::new(stored.clone(), revision)).collect();
            let page = Page { revision: 7, items, continue_token: "t".into(), remaining: Some(3) };
            let pieces: Vec<Bytes> = Pieces::new(&Target::collection(kind, "default"), page).collect();
            assert_eq!(pieces.len() > 1, count >= 64, "{count}");
            let list: serde_json::Value = serde_json::from_slice(&pieces.concat()).unwrap();
            assert_eq!((&list["kind"], &list["apiVersion"]), (&"ConfigMapList".into(), &"v1".into()));
            assert_eq!(list["metadata"]["remainingItemCount"], 3);
            let items = list["items"].as_array().unwrap();
            assert_eq!(items.len() as u64, count);
            for (item, n) in items.iter().zip(1..) {
                assert_eq!(item["metadata"]["resourceVersion"].as_str(), Some(n.to_string().as_str()));
            }
        }
    }
}
