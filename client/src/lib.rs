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
//! In reading order: [`config`] says where the replicas are and who we are; [`Client`] sends one call to whichever
//! replica answers; [`Api`] gives the calls types; [`Watch`] goes on over failovers; [`admin`] changes the replicas; [`cli`] is
//! the command's verbs.

pub mod admin;
pub mod cli;
pub mod config;
mod dispatch;
mod error;
mod logs;
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
