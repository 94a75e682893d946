//! One process of a measured system: starts, signals and ends it, and reads what the kernel counts of it. Acts.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Failure;

/// The kernel counts processor time in this unit on every Linux we build for.
const TICK_US: u64 = 10_000;

/// Killed when dropped.
pub struct Member {
    pub name: String,
    program: PathBuf,
    arguments: Vec<String>,
    dir: PathBuf,
    child: Option<Child>,
}

impl Member {
    /// `dir`: where its log and its pid file go.
    pub fn new(name: String, program: PathBuf, arguments: Vec<String>, dir: PathBuf) -> Member {
        Member { name, program, arguments, dir, child: None }
    }

    pub fn start(&mut self) -> Result<(), Failure> {
        std::fs::create_dir_all(&self.dir)?;
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.join("log"))?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", self.program.display()))?;
        std::fs::write(self.dir.join("pid"), child.id().to_string())?;
        self.child = Some(child);
        Ok(())
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let pid = self.pid().ok_or_else(|| format!("{} does not run", self.name))?;
        Ok(kill(Pid::from_raw(pid as i32), signal)?)
    }

    /// Ends it with SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            let _ = std::fs::remove_file(self.dir.join("pid"));
        }
    }

    /// Has the process ended by itself? Then it may be started again.
    pub fn ended(&mut self) -> bool {
        let ended = self.child.as_mut().is_none_or(|child| matches!(child.try_wait(), Ok(Some(_))));
        if ended {
            self.child = None;
        }
        ended
    }

    /// User and system time in microseconds; 0 for a process that is gone.
    pub fn cpu_us(&self) -> u64 {
        self.pid().map_or(0, |pid| cpu_us(&pid.to_string()))
    }

    pub fn memory(&self) -> Memory {
        self.pid().map(|pid| memory(&pid.to_string())).unwrap_or_default()
    }

    /// The last lines of its log, for an error.
    pub fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `process`: a pid, or `self`.
pub fn cpu_us(process: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    (ticks(11) + ticks(12)) * TICK_US
}

/// In KiB. `anonymous` leaves out what is mapped from files: the program itself, and etcd's database.
#[derive(Clone, Copy, Default)]
pub struct Memory {
    pub resident: u64,
    pub anonymous: u64,
}

fn memory(process: &str) -> Memory {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    Memory { resident: kib("VmRSS:"), anonymous: kib("RssAnon:") }
}
