//! `kontiki logs`: a container's log on standard output.

use std::io::Write as _;

use super::{Context, Failure, resource};
use crate::LogsRequest;

#[derive(clap::Args)]
pub struct Args {
    /// The Pod.
    pod: String,
    /// The container; needed when the Pod has several.
    #[arg(long, short)]
    container: Option<String>,
    /// Go on as the container writes.
    #[arg(long, short)]
    follow: bool,
    /// The log of the container's run before this one.
    #[arg(long, short)]
    previous: bool,
    /// A time before every line.
    #[arg(long)]
    timestamps: bool,
    /// Only the last lines.
    #[arg(long, value_name = "LINES")]
    tail: Option<i64>,
    /// Only what is younger than so many seconds.
    #[arg(long, value_name = "SECONDS")]
    since: Option<i64>,
}

pub async fn run(args: Args, context: Context) -> Result<(), Failure> {
    let request = LogsRequest {
        namespace: context.namespace,
        pod: resource::pod(&args.pod)?,
        container: args.container.unwrap_or_default(),
        follow: args.follow,
        previous: args.previous,
        timestamps: args.timestamps,
        tail_lines: args.tail,
        since_seconds: args.since,
        limit_bytes: None,
    };
    let mut stream = context.client.logs(request).await?;
    let mut out = std::io::stdout().lock();
    while let Some(chunk) = stream.next().await? {
        out.write_all(&chunk)?;
        out.flush()?;
    }
    Ok(())
}
