//! Evicting a Pod: what a policy/v1 Eviction asks for. Pure.

use k8s_openapi::api::policy::v1::Eviction;

use crate::deletion::Options;
use crate::kinds::{Request, decode, find};
use crate::meta;
use crate::status::Status;

/// The deletion that the Eviction in `request.body` asks for, once nothing forbids it.
pub fn options(request: &Request) -> Result<Options, Status> {
    let mut eviction: Eviction = decode(request.body)?;
    let pods = find("", "v1", "pods").expect("a Pod is a kind");
    meta::check_place(pods, request, &mut eviction.metadata)?;
    eviction.delete_options.unwrap_or_default().try_into()
}
