//! The threads of a replica's process. Decides.

use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};

/// One worker for two processors. A proposal passes a dozen tasks; where these are on one thread, nobody has to be woken
/// in between, which is most of what a single write costs. The other processors have enough to do: syncs and
/// compactions run on threads of their own, and containers, their engine and the agent on the same host.
///
/// `TOKIO_WORKER_THREADS` in the environment counts instead, as in any program on tokio.
pub fn replica() -> std::io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        builder.worker_threads(workers(available_parallelism().map_or(1, usize::from)));
    }
    builder.enable_all().build()
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
