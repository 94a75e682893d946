//! The one binary, `kontiki`: parse, build the real surroundings, run. Decides nothing.

mod demo_web;
mod init;
mod node_file;
mod open_files;
mod pause;
mod recover;
mod replica;
mod snapshot;
mod unused;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// Runs containers on a group of Docker hosts and keeps them running when machines die.
#[derive(Parser)]
#[command(name = "kontiki", version, propagate_version = true, arg_required_else_help = true)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    #[command(flatten)]
    Client(client::cli::Verb),
    /// Show and change who the cluster's replicas are.
    Replica(replica::Args),
    /// Save the cluster's state to a file, check such a file, begin a new cluster from it.
    Snapshot(snapshot::Args),
    /// Go on with what is left when most replicas are lost for ever.
    Recover(recover::Args),
    /// Make a new cluster's certificates, configuration files and kubeconfig.
    Init(init::Args),
    /// Run a replica: a member of the control plane.
    Server(ConfigFile),
    /// Run a node's agent: it drives the Docker engine of this host.
    Node(ConfigFile),
    /// Hold a Pod's namespaces open (the process of every Pod's first container). `main` sees to it before all else.
    #[command(hide = true)]
    Pause,
    /// A small web server to try a cluster with: answers with hostname, Pod IP and request count.
    DemoWeb(demo_web::Args),
}

#[derive(clap::Args)]
struct ConfigFile {
    /// The configuration file, YAML, as `kontiki init` writes it.
    #[arg(long, short)]
    config: PathBuf,
}

/// What a shell shows of a process that the signal ended.
const SIGPIPE_EXIT: i32 = 128 + 13;

type Failure = Box<dyn std::error::Error>;

/// Takes less of a busy replica's processor time than glibc's, and 1 to 2 MiB more when idle (ADR 16).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // One runs in every Pod: it pays for nothing that it does not need.
    if is_pause(std::env::args_os().skip(1)) {
        return finish(pause::run().map_err(Failure::from));
    }
    end_where_nobody_reads();
    proto::tls::install_provider();
    let outcome = match Command::parse().verb {
        Verb::Client(verb) => return client::cli::run(verb),
        Verb::Replica(args) => return replica::run(args),
        Verb::Snapshot(args) => return snapshot::run(args),
        Verb::Recover(args) => return recover::run(args),
        Verb::Init(args) => init::run(args),
        Verb::Server(file) => server(file),
        Verb::Node(file) => node(file),
        Verb::Pause => pause::run().map_err(Failure::from),
        Verb::DemoWeb(args) => demo_web::run(args).map_err(Failure::from),
    };
    finish(outcome)
}

/// `kontiki … | head`: who has read enough is gone, and no panic of ours has to be told of it.
fn end_where_nobody_reads() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let why = panic.payload_as_str().unwrap_or_default();
        if why.starts_with("failed printing to stdout") && why.contains("Broken pipe") {
            std::process::exit(SIGPIPE_EXIT);
        }
        told(panic);
    }));
}

fn is_pause(arguments: impl Iterator<Item = std::ffi::OsString>) -> bool {
    arguments.eq([std::ffi::OsString::from("pause")])
}

fn finish(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kontiki: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn server(file: ConfigFile) -> Result<(), Failure> {
    let config = server::Config::load(&file.config)?;
    serve(raft::runtime::replica(), |shutdown| server::run(config, proto::seam::Env::real(), shutdown))
}

fn node(file: ConfigFile) -> Result<(), Failure> {
    let config = node_file::load(&file.config)?;
    let runtime = std::sync::Arc::new(node::docker::Docker::from_host(std::env::var("DOCKER_HOST").ok().as_deref()));
    serve(agent_runtime(), |shutdown| node::run(config, proto::seam::Env::real(), runtime, shutdown))
}

/// An agent waits for its engine and for replicas: more threads would only hold more memory.
const AGENT_THREADS: usize = 2;

fn agent_runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(AGENT_THREADS).enable_all().build()
}

/// Runs until the process is told to end (TERM or INT), then lets it finish in order.
fn serve<F, E>(runtime: std::io::Result<Runtime>, run: impl FnOnce(CancellationToken) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), E>>,
    E: std::error::Error + 'static,
{
    log_to_stderr();
    open_files::raise();
    runtime?.block_on(async {
        let shutdown = CancellationToken::new();
        let beside = [tokio::spawn(end_on_signal(shutdown.clone())), tokio::spawn(unused::give_back())];
        let outcome = run(shutdown).await.map_err(Failure::from);
        beside.iter().for_each(|task| task.abort());
        outcome
    })
}

async fn end_on_signal(shutdown: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    // Without them the signals end the process at once, as they always do.
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    shutdown.cancel();
}

fn log_to_stderr() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("KONTIKI_LOG").unwrap_or_else(|_| EnvFilter::new("info,openraft=error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = next.source();
    }
    text
}
