//! What came before a snapshot, on its way to a replica that was filled by one. Acts.

use std::sync::Arc;
use std::time::Duration;

use proto::peer::{PastChange, PastReply, PastRequest};
use tonic::Status;

use super::channels::Client;
use crate::command::Revision;
use crate::machine::history::tell::{self, Before, Told};
use crate::machine::published::Published;

/// Who is asked reads its disk, and there may be others who wait for that.
const DEADLINE: Duration = Duration::from_secs(10);

pub async fn ask(mut client: Client, after: Revision, upto: Revision) -> Result<Before, Status> {
    let asked = tokio::time::timeout(DEADLINE, client.past(PastRequest { after, upto })).await;
    let late = |_| Status::deadline_exceeded("what came before was not told in time");
    let PastReply { floor, whole, changes } = asked.map_err(late)??.into_inner();
    let told = |told: PastChange| {
        let change = postcard::from_bytes(&told.change).map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Told { change, behind: told.behind, ends_command: told.ends_command })
    };
    let changes: Result<Vec<Told>, Status> = changes.into_iter().map(told).collect();
    Ok(Before { floor, whole, changes: changes? })
}

pub async fn answer(published: &Arc<Published>, request: PastRequest) -> Result<PastReply, Status> {
    let before = tell::tell(published, request.after, request.upto).await;
    let Before { floor, whole, changes } = before.map_err(|error| Status::unavailable(error.to_string()))?;
    Ok(PastReply { floor, whole, changes: changes.into_iter().map(out).collect() })
}

fn out(told: Told) -> PastChange {
    let change = postcard::to_stdvec(&told.change).expect("a change has an encoding").into();
    PastChange { change, behind: told.behind, ends_command: told.ends_command }
}
