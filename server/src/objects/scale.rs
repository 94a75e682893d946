//! The scale of an object, as clients see it. Pure; `api::kinds::scale` knows its shape.

use api::kinds;
use api::status::Status;

use super::answer::Object;

/// Its JSON carries the resourceVersion already.
pub(super) fn show(object: &Object) -> Result<Object, Status> {
    Ok(Object::new(kinds::scale::read(&object.stored, object.revision)?, 0))
}
