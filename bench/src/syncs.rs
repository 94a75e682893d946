//! Counts the calls of fsync and fdatasync that processes make, as the kernel sees them. Acts.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// perf and strace need a moment to attach to every thread.
const ATTACH: Duration = Duration::from_millis(250);

/// A counter that runs. perf reads a kernel counter and slows nothing down; where it is not to be had, strace stops the
/// process at every such call, which shows in the latencies.
pub struct Counter {
    tool: Tool,
    child: Child,
    output: tempfile::NamedTempFile,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tool {
    Perf,
    Strace,
}

impl Tool {
    pub fn name(self) -> &'static str {
        match self {
            Tool::Perf => "perf",
            Tool::Strace => "strace",
        }
    }
}

/// What was counted, and by whom: strace costs the members time, perf does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Syncs {
    pub calls: u64,
    pub by: Tool,
}

impl Syncs {
    /// `None` where another tool counted: one sum cannot say how it came about.
    pub fn plus(self, other: Syncs) -> Option<Syncs> {
        (self.by == other.by).then_some(Syncs { calls: self.calls + other.calls, by: self.by })
    }
}

impl Counter {
    /// `None` when neither tool may look at these processes.
    pub async fn start(pids: &[u32]) -> Option<Counter> {
        for tool in [Tool::Perf, Tool::Strace] {
            let output = tempfile::NamedTempFile::new().ok()?;
            let Ok(child) = spawn(tool, pids, output.path().to_path_buf()) else { continue };
            let mut counter = Counter { tool, child, output };
            tokio::time::sleep(ATTACH).await;
            if matches!(counter.child.try_wait(), Ok(None)) {
                return Some(counter);
            }
        }
        None
    }

    /// Ends it; how many calls it saw.
    pub async fn stop(mut self) -> Option<Syncs> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT).ok()?;
        tokio::task::spawn_blocking(move || {
            self.child.wait().ok()?;
            let text = std::fs::read_to_string(self.output.path()).ok()?;
            Some(Syncs { calls: count(self.tool, &text)?, by: self.tool })
        })
        .await
        .ok()?
    }
}

fn spawn(tool: Tool, pids: &[u32], output: PathBuf) -> std::io::Result<Child> {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let mut command = match tool {
        Tool::Perf => {
            let mut command = Command::new(tool.name());
            command.args(["stat", "-x", ",", "-e", "syscalls:sys_enter_fsync,syscalls:sys_enter_fdatasync", "-p"]);
            command.arg(pids.join(",")).arg("-o").arg(output);
            command
        }
        Tool::Strace => {
            let mut command = Command::new(tool.name());
            command.args(["-f", "-c", "-e", "trace=fsync,fdatasync", "-o"]).arg(output);
            pids.iter().for_each(|pid| _ = command.args(["-p", pid]));
            command
        }
    };
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// The sum over both calls. `None`: the output is not what the tool writes when it could count.
fn count(tool: Tool, text: &str) -> Option<u64> {
    let lines = text.lines().filter(|line| line.contains("fsync") || line.contains("fdatasync"));
    let counts: Vec<Option<u64>> = match tool {
        Tool::Perf => lines.map(|line| line.split(',').next()?.parse().ok()).collect(),
        // % time, seconds, usecs/call, calls, …
        Tool::Strace => lines.map(|line| line.split_whitespace().nth(3)?.parse().ok()).collect(),
    };
    // strace writes no line for a call that it did not see.
    if counts.is_empty() && tool == Tool::Perf {
        return None;
    }
    counts.into_iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_calls_count() {
        let perf =
            "# started\n\n12,,syscalls:sys_enter_fsync,1,100.00,,\n30,,syscalls:sys_enter_fdatasync,1,100.00,,\n";
        assert_eq!(count(Tool::Perf, perf), Some(42));
        assert_eq!(count(Tool::Perf, "<not counted>,,syscalls:sys_enter_fsync,0,100.00,,\n"), None);
        assert_eq!(count(Tool::Perf, ""), None);
        let strace =
            "% time seconds usecs/call calls errors syscall\n 99.0 0.5 500 11 fdatasync\n 1.0 0.1 100 2 fsync\n";
        assert_eq!(count(Tool::Strace, strace), Some(13));
    }
}
