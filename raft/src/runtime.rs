//! The threads of a replica's process. Decides.

use std::sync::OnceLock;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

/// When the process's runtime was made.
static BEGAN: OnceLock<Instant> = OnceLock::new();

/// One worker for two processors. A proposal passes a dozen tasks; where these are on one thread, nobody has to be woken
/// in between, which is most of what a single write costs. The other processors have enough to do: syncs and
/// compactions run on threads of their own, and containers, their engine and the agent on the same host.
///
/// Where there is one, it is tokio's runtime for one thread, which runs tasks in the order in which they were woken; the other
/// kind, with one worker, took a fifth more processor time for the puts of many clients (bench/RESULTS.md).
///
/// `TOKIO_WORKER_THREADS` in the environment counts instead, as in any program on tokio.
pub fn replica() -> std::io::Result<Runtime> {
    let asked = std::env::var("TOKIO_WORKER_THREADS").ok().and_then(|asked| asked.parse().ok());
    let workers = asked.unwrap_or_else(|| workers(available_parallelism().map_or(1, usize::from)));
    let mut builder = match workers {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if workers > 1 {
        builder.worker_threads(workers);
    }
    BEGAN.get_or_init(Instant::now);
    builder.enable_all().build()
}

/// The moment from which the runtime counts, within a millisecond; `None`: it was not made here.
pub(crate) fn began() -> Option<Instant> {
    BEGAN.get().copied()
}

fn workers(processors: usize) -> usize {
    processors.div_ceil(2)
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_is_always_a_worker() {
        assert_eq!([1, 2, 3, 4, 16].map(super::workers), [1, 1, 2, 2, 8]);
    }
}
