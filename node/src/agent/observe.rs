//! Looks at one container: the engine's record, and its last words from the file it may have left. Acts (reads only).

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use tokio::time::Instant;

use super::news::News;
use crate::pod::Host;
use crate::runtime::{ContainerId, Error, Role, Runtime, State};

/// Kubernetes' own limit.
const MESSAGE_BYTES_MAX: u64 = 4096;

pub async fn observe(runtime: &Arc<dyn Runtime>, host: &Arc<Host>, id: &ContainerId) -> Result<News, Error> {
    let at = Instant::now();
    let mut container = runtime.inspect(id).await?;
    if let Some(container) = &mut container
        && container.labels.role != Role::Pause
        && let State::Exited(exit) = &mut container.state
    {
        let labels = &container.labels;
        let path = host.message_path(&labels.pod_uid, &labels.container, labels.attempt);
        exit.message = proto::seam::apart(move || message(&path)).await.unwrap_or_default();
    }
    Ok(News::Seen { at, id: id.clone(), container: container.map(Box::new) })
}

fn message(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    // A container may have put anything there: only a plain file is read, and only so much of it.
    let meta = std::fs::symlink_metadata(path).ok().filter(|meta| meta.is_file() && meta.len() > 0)?;
    std::fs::File::open(path).ok()?.take(MESSAGE_BYTES_MAX.min(meta.len())).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
