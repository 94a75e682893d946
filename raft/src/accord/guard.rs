//! Whether this replica may vote and serve. Once shut it stays so, over restarts too, until its data is wiped. Acts.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bytes::Bytes;
use proto::mutants::{self, Mutant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::disk::room::Room;
use crate::disk::{Batch, Disk, Table};
use crate::handover::{Handover, Wish};
use crate::metrics::Metrics;
use crate::record;

const FENCED: Bytes = Bytes::from_static(b"fenced");

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fence {
    #[default]
    Open,
    /// States differ, and nobody knows yet whose is right: serves nothing until that is settled.
    Doubt(String),
    /// This replica's state is wrong. It neither votes nor serves.
    Shut(String),
}

impl Fence {
    /// Why this replica serves nothing; `None`: it serves.
    pub fn why(&self) -> Option<&str> {
        match self {
            Fence::Open => None,
            Fence::Doubt(why) | Fence::Shut(why) => Some(why),
        }
    }

    pub fn is_shut(&self) -> bool {
        matches!(self, Fence::Shut(_))
    }
}

/// Why an earlier run of this replica was fenced; `None`: it was not. A record that cannot be read says that it was.
pub fn fenced(disk: &dyn Disk) -> io::Result<Option<String>> {
    let what = || "meta record fenced".to_string();
    let row = disk.get(Table::Meta, &FENCED)?;
    Ok(row.map(|row| record::decode::<String>(&row, &what).unwrap_or_else(|error| error.to_string())))
}

pub struct Guard {
    fence: watch::Sender<Fence>,
    room: Arc<Room>,
    metrics: Arc<Metrics>,
}

impl Guard {
    pub fn open(room: Arc<Room>, metrics: Arc<Metrics>) -> io::Result<Arc<Guard>> {
        let fence = fenced(&*room.disk)?.map_or(Fence::Open, Fence::Shut);
        let guard = Guard { fence: watch::Sender::new(fence.clone()), room, metrics };
        guard.report(&fence);
        Ok(Arc::new(guard))
    }

    pub fn subscribe(&self) -> watch::Receiver<Fence> {
        self.fence.subscribe()
    }

    pub fn why(&self) -> Option<String> {
        self.fence.borrow().why().map(str::to_owned)
    }

    pub fn is_shut(&self) -> bool {
        self.fence.borrow().is_shut()
    }

    /// For good. Takes effect at once; the record of it is durable with the next sync.
    pub fn shut(&self, why: &str) {
        if mutants::on(Mutant::OddServes) {
            return;
        }
        let shut = Fence::Shut(why.to_owned());
        if !self.fence.send_if_modified(|fence| !fence.is_shut() && std::mem::replace(fence, shut.clone()) != shut) {
            return;
        }
        tracing::error!(why, "this replica is fenced: it neither votes nor serves until its data is wiped");
        self.report(&shut);
        let mut batch = Batch::default();
        batch.put(Table::Meta, FENCED, record::encode(&why));
        if let Err(error) = self.room.disk.write(&batch) {
            tracing::warn!(%error, "the fence is not on the disk: it ends with this process");
        }
    }

    /// `None` ends the doubt.
    pub fn doubt(&self, why: Option<&str>) {
        let wanted = why.map_or(Fence::Open, |why| Fence::Doubt(why.to_owned()));
        let change = |fence: &mut Fence| {
            // The first reason stays: the index in it moves on with every look.
            let same = fence.is_shut() || fence.why().is_some() == wanted.why().is_some();
            if !same {
                *fence = wanted.clone();
            }
            !same
        };
        if self.fence.send_if_modified(change) {
            match why {
                Some(why) => tracing::error!(why, "this replica serves nothing until that is settled"),
                None => tracing::info!("the states agree again: this replica serves"),
            }
            self.report(&wanted);
        }
    }

    fn report(&self, fence: &Fence) {
        Metrics::set(&self.metrics.fenced, u64::from(fence.is_shut()));
        Metrics::set(&self.metrics.in_doubt, u64::from(matches!(fence, Fence::Doubt(_))));
    }
}

/// May this replica vote, and stand for election? Cheap to clone.
#[derive(Clone)]
pub struct Franchise {
    pub guard: Arc<Guard>,
    /// Set while this replica may have forgotten what it once acknowledged: then its vote is worth nothing.
    pub abstains: Arc<AtomicBool>,
    /// It has forgotten something for certain. Of an empty directory nobody knows: it may be a new replica's.
    pub lost_data: bool,
    /// It cannot be told what it has forgotten: its configuration names nobody else.
    pub asks_nobody: bool,
}

const ASKS_NOBODY: &str = "is new or was emptied, and its configuration names no other replica: it begins a cluster of its own \
                           unless others call it within 2 seconds; if they do, it waits until they are written into \
                           `members` there and it is started again";

impl Franchise {
    /// Why not, in words; `None`: it may.
    pub fn lost(&self) -> Option<String> {
        match &*self.guard.fence.borrow() {
            Fence::Shut(why) => Some(why.clone()),
            _ => self.abstention().map(|why| format!("this replica {why}")),
        }
    }

    /// Why it abstains, as a sentence goes on that begins with its name; `None`: it does not.
    pub fn abstention(&self) -> Option<&'static str> {
        match (self.abstains.load(Relaxed), self.asks_nobody, self.lost_data) {
            (false, ..) => None,
            (true, true, _) => Some(ASKS_NOBODY),
            (true, false, true) => Some("lost data and does not vote until it is filled again"),
            (true, false, false) => Some("is new or was emptied, and does not vote until the others have filled it"),
        }
    }
}

/// Once the fence is shut: no more elections, and no more leadership. Ends then, or with `stop`.
pub async fn hold(guard: Arc<Guard>, handover: Handover, stop: CancellationToken) {
    let mut fence = guard.subscribe();
    tokio::select! {
        () = stop.cancelled() => return,
        shut = fence.wait_for(Fence::is_shut) => if shut.is_err() { return },
    }
    handover.raft.runtime_config().elect(false);
    // Without heartbeats the others elect somebody in any case.
    handover.run(Wish::Anyone).await;
    handover.raft.runtime_config().heartbeat(false);
}
