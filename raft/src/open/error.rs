//! Why a store cannot be opened, and whether that may pass. Pure.

use std::io;
use std::path::PathBuf;

use crate::disk::rocks;
use crate::peer::channels;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{0}")]
    Other(String),
    #[error(transparent)]
    Disk(#[from] rocks::Error),
    #[error("a snapshot was being restored into {0}, and that was not finished: restore it again")]
    Unfinished(PathBuf),
    #[error("the replica in {0} was being recovered, and that was not finished: do it again with `kontiki recover`")]
    Unrecovered(PathBuf),
    #[error("the data in {dir} cannot be used: {source}")]
    Data {
        dir: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the data in {dir} belongs to cluster {found:?}, not to {wanted:?}")]
    OtherCluster { dir: PathBuf, found: String, wanted: String },
    #[error("the data in {dir} belongs to replica {found}, not to replica {wanted}")]
    OtherReplica { dir: PathBuf, found: u64, wanted: u64 },
    #[error("cannot listen for peers on {address}: {source}")]
    Listen {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Channels(#[from] channels::Error),
}

impl OpenError {
    /// Does somebody else still hold what it needs, who may give it back?
    pub fn is_taken(&self) -> bool {
        match self {
            OpenError::Disk(rocks::Error::InUse { .. }) => true,
            OpenError::Listen { source, .. } => source.kind() == io::ErrorKind::AddrInUse,
            _ => false,
        }
    }
}
