//! The replicated store: propose, read, watch. Nobody else knows openraft or RocksDB. Read in this order:
//!
//! - [`command`]: what may be proposed, and what comes of it;
//! - [`store`]: the handle that the rest of a replica holds;
//! - `machine`: the replicated state: `apply` (pure), history, snapshots;
//! - `open`: how its parts are put together;
//! - `log`, `disk`: the log and the vote, and what lies below;
//! - `peer`: the wire to the other replicas;
//! - `accord`: whether the replicas' states agree, and what becomes of the odd one;
//! - `propose`, `admission`, `intake`, `read`, `past`, [`watch`]: the ways in and out;
//! - `mend`, `scrub`, `renewal`, `trouble`: damaged data, and how it is told; `fetch`: the past of a replica that was filled;
//! - `bootstrap`, `recall`, `members`, [`standing`], `handover`, `ending`: birth, what an emptied replica may believe, membership,
//!   leadership, the end;
//! - [`runtime`]: the threads that a replica's process wants;
//! - [`backup`], [`offline`]: snapshot files, and what is done to a data directory while its replica does not run.

mod accord;
mod admission;
pub mod backup;
mod bootstrap;
pub mod command;
pub mod config;
mod disk;
mod ending;
mod fetch;
mod handover;
pub mod identity;
mod intake;
mod log;
mod machine;
pub mod members;
mod mend;
pub mod metrics;
pub mod offline;
mod open;
mod past;
mod peer;
pub mod propose;
pub mod read;
mod recall;
mod record;
mod renewal;
mod rhythm;
pub mod runtime;
mod scrub;
pub mod standing;
pub mod state;
pub mod store;
mod trouble;
mod types;
mod upkeep;
pub mod watch;

pub use command::{Action, Change, Command, Op, Outcome, Precondition, Previous, Revision, Versioned};
pub use disk::{Batch, Disk, Free, Note, Row, Table, Write};
pub use metrics::Metrics;
pub use renewal::{Renewals, Repair};
pub use store::{
    ChangeError, Changes, Config, Gone, HistoryError, HistoryWindow, Member, MemberChange, MemberStatus, News,
    OpenError, ProposeError, ReadError, Role, Roster, Standing, State, Store, Timing, Untold, Unwell, Watcher,
};
