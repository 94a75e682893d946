//! The generated messages of proto/kv.proto. Decides nothing.
#![allow(clippy::all)]
tonic::include_proto!("etcdserverpb");
