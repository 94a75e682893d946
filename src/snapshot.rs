//! `kontiki snapshot`: saves the state of a cluster to a file, checks such a file, begins a new cluster from it. Acts.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use client::cli::{Context, Failure, block_on};
use raft::backup::{self, Header};
use raft::offline::{self, NewReplica, REVISION_JUMP};
use serde_json::json;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Write the cluster's state, as it is now, to a file.
    Save(Save),
    /// Hold a file against its checksums, and say what it is.
    Status(Status),
    /// Make a file the beginning of a new cluster, for one replica that has no data yet. Do so for each of its replicas.
    Restore(Restore),
}

#[derive(clap::Args)]
struct Save {
    file: PathBuf,
    /// What the replica that answers has, though no leader may be there to say whether it is the newest.
    #[arg(long)]
    local: bool,
    /// Which cluster and as whom [default: $KUBECONFIG, ./.kontiki/kubeconfig, ~/.kube/config].
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Status {
    file: PathBuf,
    /// `json` for scripts.
    #[arg(long, short, value_parser = ["json", "table"], default_value = "table")]
    output: String,
}

#[derive(clap::Args)]
struct Restore {
    file: PathBuf,
    /// The configuration of the replica, as `kontiki init` made it for the new cluster.
    #[arg(long, short)]
    config: PathBuf,
    /// Its data directory, which must be empty [default: the configuration's].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How far the revision jumps at least. It goes further, to when the configuration was made, unless `clusterId` there was
    /// chosen by hand: then take more than the last time when a file of the same cluster is restored once more.
    #[arg(long, default_value_t = REVISION_JUMP, value_parser = clap::value_parser!(u64).range(1..=1 << 50))]
    revision_jump: u64,
}

/// A replica that gives nothing for this long has died.
const STALL: Duration = Duration::from_secs(30);

pub fn run(args: Args) -> ExitCode {
    block_on(async {
        match args.verb {
            Verb::Save(save) => run_save(save).await,
            Verb::Status(status) => run_status(status),
            Verb::Restore(restore) => run_restore(restore).await,
        }
    })
}

/// The file gets its name only when it is whole.
async fn run_save(args: Save) -> Result<(), Failure> {
    let context = Context::from_kubeconfig(args.kubeconfig.as_deref())?;
    if args.file.exists() {
        return Err(Failure::new(format!("{} exists already", args.file.display())));
    }
    let part = PathBuf::from(format!("{}.part", args.file.display()));
    let saved = save(&context, args.local, &part).await;
    let header = match saved {
        Ok(header) => header,
        Err(failure) => {
            let _ = std::fs::remove_file(&part);
            return Err(failure);
        }
    };
    let dir = args.file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let named = std::fs::rename(&part, &args.file).and_then(|()| std::fs::File::open(dir)?.sync_all());
    named.map_err(|error| about(&args.file, error))?;
    println!("{}: {} objects at revision {}, whole", args.file.display(), header.objects, header.revision);
    Ok(())
}

async fn save(context: &Context, local: bool, part: &Path) -> Result<Header, Failure> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // It holds the Secrets.
    let out = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(part);
    let mut out = out.map_err(|error| about(part, error))?;
    let mut stream = context.client.snapshot(local).await?;
    loop {
        match tokio::time::timeout(STALL, stream.message()).await {
            Ok(Ok(Some(piece))) => out.write_all(&piece.data).map_err(|error| about(part, error))?,
            Ok(Ok(None)) => break,
            Ok(Err(status)) => return Err(Failure::new(format!("the stream broke: {}", status.message()))),
            Err(_) => return Err(Failure::new(format!("the replica gave nothing for {} s", STALL.as_secs()))),
        }
    }
    out.sync_all().map_err(|error| about(part, error))?;
    check(part)
}

fn check(path: &Path) -> Result<Header, Failure> {
    backup::read_file(path, |_, _| Ok(())).map_err(|error| Failure::new(error.to_string()))
}

fn about(file: &Path, error: impl std::error::Error) -> Failure {
    Failure::new(format!("{}: {error}", file.display()))
}

fn run_status(args: Status) -> Result<(), Failure> {
    let header = check(&args.file)?;
    let size = std::fs::metadata(&args.file)?.len();
    let taken = jiff::Timestamp::from_millisecond(header.taken_at_ms as i64);
    let taken = taken.map_or_else(|_| "?".into(), |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let (index, term) = (header.applied_index, header.applied_term);
    if args.output == "json" {
        let shown = json!({
            "file": args.file, "whole": true, "format": header.format, "clusterId": header.cluster_id,
            "replica": header.replica, "takenAt": taken, "revision": header.revision, "appliedIndex": index,
            "appliedTerm": term, "objects": header.objects, "bytes": header.bytes, "fileBytes": size,
        });
        println!("{shown:#}");
        return Ok(());
    }
    let rows = [
        ("cluster", header.cluster_id),
        ("taken", format!("{taken}, by replica {}", header.replica)),
        ("revision", header.revision.to_string()),
        ("applied", format!("entry {index} of term {term}")),
        ("objects", format!("{}, {} bytes with their keys", header.objects, header.bytes)),
        ("file", format!("{size} bytes, every checksum matches")),
    ];
    rows.iter().for_each(|(name, value)| println!("{name:<10}{value}"));
    Ok(())
}

async fn run_restore(args: Restore) -> Result<(), Failure> {
    let config = server::Config::load(&args.config).map_err(|error| Failure::new(error.to_string()))?;
    let dir = args.data_dir.unwrap_or(config.data);
    let members = config.members.into_iter().map(|member| raft::Member {
        id: member.id,
        peer_address: member.peer_address,
        client_address: member.client_address,
    });
    let new = NewReplica { id: config.id, cluster_id: config.cluster_id, members: members.collect(), dir };
    let restored = offline::restore(&args.file, &new, args.revision_jump).await;
    let (header, begins) = restored.map_err(|error| Failure::new(crate::chain(&error)))?;
    println!(
        "replica {} of cluster {} begins in {} with {} objects, at revision {begins}",
        new.id,
        new.cluster_id,
        new.dir.display(),
        header.objects,
    );
    if new.members.len() > 1 {
        println!("restore the same file for each of the {} replicas, then start them", new.members.len());
    }
    Ok(())
}
