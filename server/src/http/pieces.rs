//! The text of a list in the shape that a client accepts, piece by piece, so that it is never whole in memory. Pure.

use api::printer::{self, ListMeta};
use api::status::Status;
use bytes::Bytes;
use serde_json::json;

use super::accept::Shape;
use super::shapes::{self, View};
use crate::objects::{Object, Page, Target};

/// A piece of a list is written when it has grown to this.
const PIECE_BYTES: usize = 64 << 10;

/// How far a list is written, and how it goes on.
pub struct Pieces {
    target: Target,
    view: View,
    /// What is written of the next piece.
    begun: Vec<u8>,
    /// So many items are written.
    written: usize,
    ended: bool,
}

impl Pieces {
    pub fn begin(target: &Target, view: View, page: &Page) -> Result<Pieces, Status> {
        let (kind, meta) = (target.kind, meta(page));
        let begun = match view.shape {
            Shape::Json => head(kind.list_kind, &kind.api_version(), &meta),
            Shape::Metadata => head("PartialObjectMetadataList", "meta.k8s.io/v1", &meta),
            Shape::Table => printer::begin_table(&kind.printer, &meta).map_err(Status::internal)?,
            Shape::Yaml => {
                let head = json!({"apiVersion": kind.api_version(), "kind": kind.list_kind, "metadata": meta});
                let mut text = serde_yaml::to_string(&head).map_err(Status::internal)?;
                text.push_str(if page.items.is_empty() { "items: []\n" } else { "items:\n" });
                text.into_bytes()
            }
        };
        Ok(Pieces { target: target.clone(), view, begun, written: 0, ended: false })
    }

    /// The next piece of the page that these were begun with. After an error there is none.
    pub fn next_piece(&mut self, page: &Page) -> Result<Bytes, Status> {
        let mut piece = std::mem::take(&mut self.begun);
        while piece.len() < PIECE_BYTES {
            let Some(object) = page.items.get(self.written) else {
                self.ended = true;
                if self.view.shape != Shape::Yaml {
                    piece.extend_from_slice(b"]}");
                }
                break;
            };
            self.write(&mut piece, object)?;
            self.written += 1;
        }
        Ok(piece.into())
    }

    /// Whether the last piece was made.
    pub fn ended(&self) -> bool {
        self.ended
    }

    fn write(&self, out: &mut Vec<u8>, object: &Object) -> Result<(), Status> {
        if self.written > 0 && self.view.shape != Shape::Yaml {
            out.push(b',');
        }
        match self.view.shape {
            Shape::Json => object.write_json(out),
            Shape::Metadata => shapes::write_metadata(out, object)?,
            Shape::Table => shapes::write_row(out, &self.target, self.view, object)?,
            Shape::Yaml => shapes::write_yaml_item(out, object)?,
        }
        Ok(())
    }
}

/// Up to the opening bracket of the items.
fn head(kind: &str, api_version: &str, meta: &ListMeta) -> Vec<u8> {
    let meta = serde_json::to_string(meta).expect("list metadata has only string keys");
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
    use jiff::Timestamp;
    use serde_json::Value;

    fn written(shape: Shape, page: &Page) -> Vec<Bytes> {
        let kind = api::kinds::find("", "v1", "configmaps").unwrap();
        let view = View { shape, include: Default::default(), now: Timestamp::UNIX_EPOCH };
        let mut pieces = Pieces::begin(&Target::collection(kind, "default"), view, page).unwrap();
        let mut written = Vec::new();
        while !pieces.ended() {
            written.push(pieces.next_piece(page).unwrap());
        }
        written
    }

    #[test]
    fn pieces_make_one_list() {
        // Long in every shape, and with what YAML writes in a way of its own.
        let stored = format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"a","annotations":{{"k":"{}"}}}},"data":{{"k":"- a\n b: c\n","n":"1"}}}}"#,
            "x".repeat(1000)
        );
        for count in [0, 1, 64, 300] {
            let items = (1..=count).map(|revision| Object::new(stored.clone(), revision)).collect();
            let page = Page { revision: 7, items, continue_token: "t".into(), remaining: Some(3), ..Page::default() };
            let mut whole = Vec::new();
            for (shape, kind, api_version, items) in [
                (Shape::Json, "ConfigMapList", "v1", "items"),
                (Shape::Yaml, "ConfigMapList", "v1", "items"),
                (Shape::Metadata, "PartialObjectMetadataList", "meta.k8s.io/v1", "items"),
                (Shape::Table, "Table", "meta.k8s.io/v1", "rows"),
            ] {
                let pieces = written(shape, &page);
                assert_eq!(pieces.len() > 1, count >= 64, "{shape:?} {count}");
                assert!(pieces.iter().all(|piece| piece.len() < PIECE_BYTES + 2 * stored.len()), "{shape:?} {count}");
                let list: Value = match shape {
                    Shape::Yaml => serde_yaml::from_slice(&pieces.concat()).unwrap(),
                    _ => serde_json::from_slice(&pieces.concat()).unwrap(),
                };
                assert_eq!((&list["kind"], &list["apiVersion"]), (&kind.into(), &api_version.into()));
                let meta = &list["metadata"];
                assert_eq!((&meta["resourceVersion"], &meta["continue"]), (&"7".into(), &"t".into()));
                assert_eq!(meta["remainingItemCount"], 3);
                let items = list[items].as_array().unwrap();
                assert_eq!(items.len() as u64, count, "{shape:?}");
                for (item, n) in items.iter().zip(1..) {
                    let item = if shape == Shape::Table { &item["object"] } else { item };
                    let revision = &item["metadata"]["resourceVersion"];
                    assert_eq!(revision.as_str(), Some(n.to_string().as_str()), "{shape:?}");
                }
                whole.push(list);
            }
            assert_eq!(whole[0], whole[1], "YAML says what JSON says");
        }
    }

    #[test]
    fn what_is_no_object_breaks_the_list_off() {
        let items = vec![Object::new("{}", 1), Object::new("no object", 2)];
        let page = Page { revision: 7, items, ..Page::default() };
        for shape in [Shape::Yaml, Shape::Metadata, Shape::Table] {
            let kind = api::kinds::find("", "v1", "configmaps").unwrap();
            let view = View { shape, include: Default::default(), now: Timestamp::UNIX_EPOCH };
            let mut pieces = Pieces::begin(&Target::collection(kind, "default"), view, &page).unwrap();
            assert_eq!(pieces.next_piece(&page).unwrap_err().code, 500, "{shape:?}");
            assert!(!pieces.ended(), "{shape:?}");
        }
    }
}
