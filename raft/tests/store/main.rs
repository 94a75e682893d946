//! The store as its users see it: replicas in this process, on loopback, each with RocksDB in a directory of its own. One
//! binary for all, since building one takes longer than running them.

mod addresses;
mod cluster;
mod common;
mod emptied;
mod full_disk;
mod integrity;
mod lanes;
mod lost_end;
mod members;
mod metrics;
mod offline;
mod open_files;
mod pipeline;
mod reads;
mod renewal;
mod rot;
mod slow_disk;
mod slow_net;
mod snapshot;
mod watch;
