//! The verbs of the `kontiki` command that talk to a cluster. Each verb has its file; this one runs them.

/// `println!` that fails where the reader has gone away (`kontiki get pods | head`), instead of panicking.
macro_rules! say {
    ($($words:tt)*) => {
        std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($words)*)))?
    };
}

mod apply;
mod delete;
mod describe;
mod exec;
mod get;
mod history;
mod logs;
mod manifest;
mod print;
pub mod replica;
mod resource;
mod scale;
mod status;
mod three_way;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::{Client, Config, Error};

#[derive(Subcommand)]
pub enum Verb {
    /// List objects, or show some by name.
    Get(WithCluster<get::Args>),
    /// Show one object in detail, with its events.
    Describe(WithCluster<describe::Args>),
    /// Show who changed an object, when and what.
    History(WithCluster<history::Args>),
    /// Create or change what manifests describe.
    Apply(WithCluster<apply::Args>),
    /// Delete objects.
    Delete(WithCluster<delete::Args>),
    /// Set the number of replicas of a Deployment or ReplicaSet.
    Scale(WithCluster<scale::Args>),
    /// Print a container's log.
    Logs(WithCluster<logs::Args>),
    /// Run a command in a container.
    Exec(WithCluster<exec::Args>),
    /// Show replicas, leader and nodes; answered by any replica that lives.
    Status(WithCluster<status::Args>),
}

#[derive(Args)]
pub struct WithCluster<A: Args> {
    /// Which cluster and as whom [default: $KUBECONFIG, ./.kontiki/kubeconfig, ~/.kube/config].
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The namespace [default: the kubeconfig's, else "default"].
    #[arg(long, short)]
    namespace: Option<String>,
    #[command(flatten)]
    verb: A,
}

/// What a verb works with.
pub struct Context {
    pub client: Client,
    pub namespace: String,
}

impl Context {
    pub fn from_kubeconfig(path: Option<&std::path::Path>) -> Result<Context, Failure> {
        let config = Config::from_kubeconfig(path)?;
        let namespace = config.namespace.clone();
        Ok(Context { client: Client::connect(config)?, namespace })
    }
}

/// Why a verb ended without success: words for standard error, and the exit code.
pub struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), code: 1 }
    }

    /// Ends with the exit code of a command that ran elsewhere.
    pub fn exit(code: u8, message: impl Into<String>) -> Failure {
        Failure { message: message.into(), code }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let message = match &error {
            Error::Api(status) => format!("error from the cluster ({}): {}", status.reason, status.message),
            other => other.to_string(),
        };
        Failure::new(message)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        match error.kind() {
            // Nobody reads on: no word of it, and the code that a shell gives a process that SIGPIPE ended.
            std::io::ErrorKind::BrokenPipe => Failure::exit(141, ""),
            _ => Failure::new(error.to_string()),
        }
    }
}

/// Runs one verb to its end.
pub fn run(verb: Verb) -> ExitCode {
    block_on(dispatch(verb))
}

/// Runs what a verb does, on a runtime of its own.
pub fn block_on(run: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(Err(Failure::from(error))),
    };
    let outcome = report(runtime.block_on(run));
    // A read of the terminal may still be waiting on its thread: it must not hold the exit up.
    runtime.shutdown_background();
    outcome
}

async fn dispatch(verb: Verb) -> Result<(), Failure> {
    macro_rules! call {
        ($verb:ident, $with:expr) => {{
            let with = $with;
            let config = Config::from_kubeconfig(with.kubeconfig.as_deref())?;
            let namespace = with.namespace.unwrap_or_else(|| config.namespace.clone());
            $verb::run(with.verb, Context { client: Client::connect(config)?, namespace }).await
        }};
    }
    match verb {
        Verb::Get(with) => call!(get, with),
        Verb::Describe(with) => call!(describe, with),
        Verb::History(with) => call!(history, with),
        Verb::Apply(with) => call!(apply, with),
        Verb::Delete(with) => call!(delete, with),
        Verb::Scale(with) => call!(scale, with),
        Verb::Logs(with) => call!(logs, with),
        Verb::Exec(with) => call!(exec, with),
        Verb::Status(with) => call!(status, with),
    }
}

fn report(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("kontiki: {}", failure.message);
            }
            ExitCode::from(failure.code)
        }
    }
}
