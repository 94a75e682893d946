//! `kontiki exec`: a command in a container, with this terminal as its own where asked for.

use std::io::{IsTerminal as _, Write as _};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};

use super::{Context, Failure, resource};
use crate::streams::ProcessInput;
use crate::{ExecRequest, ProcessOutput};

#[derive(clap::Args)]
pub struct Args {
    /// The Pod.
    pod: String,
    /// The container; needed when the Pod has several.
    #[arg(long, short)]
    container: Option<String>,
    /// Pass standard input on.
    #[arg(long, short = 'i')]
    stdin: bool,
    /// Give the command a terminal.
    #[arg(long, short)]
    tty: bool,
    /// The command and its arguments, after `--`.
    #[arg(required = true, last = true)]
    command: Vec<String>,
}

pub async fn run(args: Args, context: Context) -> Result<(), Failure> {
    let tty = args.tty && std::io::stdin().is_terminal();
    if args.tty && !tty {
        eprintln!("kontiki: standard input is no terminal, so the command gets none");
    }
    let request = ExecRequest {
        namespace: context.namespace,
        pod: resource::pod(&args.pod)?,
        container: args.container.unwrap_or_default(),
        command: args.command,
        stdin: args.stdin,
        tty,
    };
    let mut process = context.client.exec(request).await?;
    let raw = if tty { Some(RawTerminal::enter()?) } else { None };
    let mut helpers = tokio::task::JoinSet::new();
    if args.stdin {
        helpers.spawn(pass_stdin(process.input()));
    }
    if tty {
        helpers.spawn(pass_resizes(process.input()));
    }
    let exit = loop {
        match process.next().await? {
            Some(ProcessOutput::Stdout(data)) => write(std::io::stdout(), &data)?,
            Some(ProcessOutput::Stderr(data)) => write(std::io::stderr(), &data)?,
            Some(ProcessOutput::Exit { code, error }) => break (code, error),
            None => break (1, Some("the stream ended before the command did".into())),
        }
    };
    drop(raw);
    match exit {
        (0, None) => Ok(()),
        (_, Some(error)) => Err(Failure::new(error)),
        (code, None) => Err(Failure::exit(
            u8::try_from(code).unwrap_or(1).max(1),
            format!("the command ended with exit code {code}"),
        )),
    }
}

fn write(mut out: impl std::io::Write, data: &[u8]) -> std::io::Result<()> {
    out.write_all(data)?;
    out.flush()
}

async fn pass_stdin(input: ProcessInput) {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; 16 << 10];
    loop {
        match stdin.read(&mut buffer).await {
            Ok(0) | Err(_) => {
                input.end().await;
                return;
            }
            Ok(count) => {
                if !input.write(buffer[..count].to_vec()).await {
                    return;
                }
            }
        }
    }
}

async fn pass_resizes(input: ProcessInput) {
    let Ok(mut changed) = signal(SignalKind::window_change()) else { return };
    loop {
        if let Ok(size) = tcgetwinsize(std::io::stdout())
            && !input.resize(size.ws_col, size.ws_row).await
        {
            return;
        }
        changed.recv().await;
    }
}

/// The terminal hands every key on as it is; put back when dropped.
struct RawTerminal(Termios);

impl RawTerminal {
    fn enter() -> Result<RawTerminal, Failure> {
        let before = tcgetattr(std::io::stdin()).map_err(std::io::Error::from)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).map_err(std::io::Error::from)?;
        Ok(RawTerminal(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // The process ends next; there is nobody left to tell.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
        let _ = std::io::stdout().flush();
    }
}
