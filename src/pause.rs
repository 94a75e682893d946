//! `kontiki pause`: holds a Pod's namespaces open, and reaps what is orphaned into them. Acts.

use nix::sys::prctl::set_dumpable;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

/// Ends at TERM or INT. As process 1 of a container it inherits orphans; waiting for them is its only work.
///
/// Every Pod has one of these: one thread, no runtime, and next to no memory of its own.
pub fn run() -> std::io::Result<()> {
    // Whoever shares its process namespace has no business in its memory or its files.
    set_dumpable(false)?;
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD] {
        signals.add(signal);
    }
    // Blocked signals wait until they are asked for: none is lost between two waits.
    signals.thread_block()?;
    loop {
        match signals.wait()? {
            Signal::SIGCHLD => reap(),
            _ => return Ok(()),
        }
    }
}

fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            break;
        }
    }
}
