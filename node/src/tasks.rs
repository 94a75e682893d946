//! Tasks that are to last: of one that has ended unasked, whoever has it must hear. Acts.

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Waits until a task has ended that was to last, then says so. Who was told to end is not broken.
pub async fn broken(tasks: &mut JoinSet<&'static str>, shutdown: &CancellationToken) -> String {
    match tasks.join_next().await {
        Some(Ok(name)) if !shutdown.is_cancelled() => format!("{name} ended by itself"),
        Some(Err(panicked)) if !shutdown.is_cancelled() => format!("one of its tasks broke, {panicked}"),
        _ => std::future::pending().await,
    }
}

pub async fn named(name: &'static str, task: impl Future<Output = ()>) -> &'static str {
    task.await;
    name
}
