//! The Rust SDK of Kontiki's gRPC API, and the verbs of the `kontiki` command that stand on it.
//!
//! ```no_run
//! use kontiki_client::{Client, Config};
//! use k8s_openapi::api::core::v1::Pod;
//!
//! # async fn run() -> Result<(), kontiki_client::Error> {
//! let client = Client::connect(Config::from_kubeconfig(None)?)?;
//! for pod in client.namespaced::<Pod>("default").list(&Default::default()).await?.items {
//!     println!("{}", pod.metadata.name.unwrap_or_default());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `client/examples` holds programs to run against a cluster: `deploy`, `watch` and `exec`.
//!
//! A call goes to the replica that answered last. When that cannot be reached, or falls silent for more than half a second (a
//! ping, which any process that runs answers at once, stays unanswered), the client goes on at the first of the others that
//! answers. Reads are then sent again. Writes are not: one that was sent ends as [`Error::Unknown`], for sent again it could undo
//! what others have written since. Only the merge patches of a caller who says that nobody else writes what they name
//! ([`Api::sole_writer`]) are sent again; they end so, too, when they are never answered and any of their attempts was sent.
//! What is given up is cancelled: a replica that was frozen does not begin it later.
//!
//! In reading order: [`config`] says where the replicas are and who we are; [`Client`] sends one call to whichever
//! replica answers; [`Api`] gives the calls types; [`Watch`] goes on over failovers; [`admin`] changes the replicas; [`cli`] is
//! the command's verbs.

pub mod admin;
pub mod cli;
pub mod config;
mod dispatch;
mod error;
mod listing;
mod logs;
mod pulse;
mod replicas;
mod streams;
mod typed;
mod watch;

pub use config::Config;
pub use dispatch::Client;
pub use error::Error;
pub use logs::{Logs, LogsRequest};
pub use proto::seam::Env;
pub use proto::tls::Identity;
pub use streams::{ExecRequest, Process, ProcessInput, ProcessOutput};
pub use typed::{Api, DeleteOptions, List, ListOptions, Patch, Scope};
pub use watch::{Event, Watch};
