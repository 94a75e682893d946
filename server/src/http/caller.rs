//! Who asks, as handlers take it from a request. Pure.

use std::convert::Infallible;

use api::status::Status;
use axum::extract::FromRequestParts;
use http::Uri;
use http::request::Parts;

use crate::auth::{self, Identity};

/// The identity that the listener put into the request's extensions; without one, nobody in particular.
pub struct Caller(pub Identity);

impl Caller {
    /// For paths that are no objects.
    pub fn may_get(&self, uri: &Uri) -> Result<(), Status> {
        auth::authorize_path(&self.0, uri.path())
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Infallible> {
        Ok(Caller(parts.extensions.get().cloned().unwrap_or_else(Identity::anonymous)))
    }
}
