//! Known historic bugs, each behind a switch of its own, for the suite that must find them. Without the feature
//! `mutants` every switch is the constant `false`. Decides nothing.

macro_rules! mutants {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Mutant {
            pub const ALL: &[(Mutant, &str, &str)] = &[
                $((Mutant::$name, stringify!($name), concat!($($doc),+)),)+
            ];
        }
    };
}

mutants! {
    /// A vote is answered before it is synced.
    VoteBeforeSync,
    /// An entry counts as durable before it is synced.
    AppendBeforeSync,
    /// A sync that failed counts as one that succeeded.
    FailedSyncIgnored,
    /// A leader, perhaps deposed, confirms a read to itself without asking a majority.
    LeaderReadsLocally,
    /// A follower serves a linearizable read from its own state.
    FollowerReadsLocally,
    /// Whoever answers a leader confirms its reads, whatever was promised to a later one.
    AnyAnswerConfirms,
    /// A leader and the follower that asks for the index of a read pass for a majority, of however many.
    TwoAreAMajority,
    /// A new leader takes for committed what it knew of before, and tells a read so.
    ReadsBeforeOwnEntry,
    /// A read that may be a little old is answered from a state of long ago.
    StaleForEver,
    /// A slow watcher loses all but its newest changes (etcd 18089).
    SlowWatcherLosesEvents,
    /// A watch begins one revision too late.
    WatchResumesLate,
    /// A bookmark promises one revision too many.
    ProgressAhead,
    /// Deletions do not reach the history.
    DeleteLeavesNoEvent,
    /// The applied index is stored before its data (etcd 13766).
    AppliedBeforeData,
    /// The applied index is stored after its data: entries are applied twice.
    AppliedAfterData,
    /// A command of an earlier term takes effect.
    FenceIgnored,
    /// A command takes effect though the key was changed meanwhile.
    RevisionIgnored,
    /// A command takes effect though the key exists.
    AbsenceIgnored,
    /// Of a command that is refused for one of its conditions, what comes before that takes effect.
    HalfACommandStays,
    /// A replica that was started anew has forgotten all history of before.
    HistoryBeginsAnew,
    /// A replica ends itself once it was filled by a snapshot.
    EndsOnceFilled,
    /// The history claims to reach back behind an installed snapshot.
    HistoryHoleAfterSnapshot,
    /// Of the past that is fetched from another replica, only the first piece comes, and it counts for all of it.
    PastFetchedInPart,
    /// Changes from before an installed snapshot stay in the watchers' memory.
    RingKeptAcrossSnapshot,
    /// A snapshot's metadata is older than its data.
    SnapshotMetaBeforeData,
    /// Objects that a snapshot no longer has stay.
    SnapshotKeepsDeleted,
    /// An installed snapshot is not what a restart finds.
    SnapshotGenerationForgotten,
    /// The log is purged under a reader, who gets the later entries instead.
    PurgedUnderReader,
    /// A purge is not remembered across a restart.
    PurgeForgotten,
    /// The log is dropped further than the saved objects have come.
    PurgedBeforeSaved,
    /// The log is dropped though rows of the history have their values in it.
    ClearedUnderHistory,
    /// Entries that a new leader has overruled stay on the disk.
    TruncationForgotten,
    /// Entries that a new leader has overruled stay in memory.
    TruncatedStayCached,
    /// A log that has lost its end passes for one that was never longer.
    MarkIgnored,
    /// A proposal of unknown outcome is proposed again.
    UnknownIsRetried,
    /// A proposal of unknown outcome is reported as refused.
    UnknownIsRefused,
    /// A replica that has lost its disk votes.
    ForgetfulVotes,
    /// A replica that has lost its disk founds the cluster anew.
    ForgetfulFounds,
    /// The revision is saved one too low.
    RevisionSavedLow,
    /// A follower that does not answer counts as one that has stored what was sent to it.
    SilenceCountsAsStored,
    /// A follower takes for committed what a leader, perhaps a deposed one, has only sent.
    SentCountsAsCommitted,
    /// A replica shows the members of an entry that is not committed.
    UncommittedMembersShown,
    /// The members of an entry are stored when it is appended, and stay in force when another leader has overruled it.
    UncommittedMembersKept,
    /// The id of a replica that was removed is given to a new one.
    IdReused,
    /// A stream to a follower goes on though the log was purged under it during the transfer of a snapshot.
    OvertakenStreamGoesOn,
    /// What the history was found to rely on before a snapshot replaced it counts after that: the log keeps a hole.
    ReliedGoesBack,
    /// A replica whose state was found to be wrong votes and serves all the same.
    OddServes,
    /// What is read to find damage is not checked.
    DamageOverlooked,
    /// A replica that finds damage begins anew at once, whatever the others do.
    BeginsAnewUnasked,
    /// Of two replicas with damaged data each lets the other one go first.
    DamagedWaitForEachOther,
    /// A controller goes on after its replica has lost the leadership, and its commands carry no term.
    ControllerOutlivesTerm,
    /// What a controller or the scheduler decides takes effect though what it has gone by was changed meanwhile.
    DecidedByTheOld,
    /// An agent gives a Pod's name back before its containers have ended.
    NameGivenBackEarly,
    /// An agent that was started anew acts before it has seen what runs.
    AgentActsBlindly,
    /// The end of a node's earlier session takes the place from the one that came after it under the same name.
    EarlierSessionCounts,
    /// A door answers a read from its own replica's state, and asks nobody whether that is the newest.
    DoorReadsUnconfirmed,
    /// A door's update takes effect though the object that it was decided by was changed meanwhile.
    DoorWritesBlindly,
}

#[cfg(feature = "mutants")]
thread_local! {
    static ON: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

impl Mutant {
    /// Only a whole cluster shows it.
    pub fn needs_cluster(self) -> bool {
        use Mutant::*;
        matches!(
            self,
            ControllerOutlivesTerm
                | DecidedByTheOld
                | NameGivenBackEarly
                | AgentActsBlindly
                | EarlierSessionCounts
                | DoorReadsUnconfirmed
                | DoorWritesBlindly
        )
    }
}

/// For this thread, and with it for one simulated world.
#[cfg(feature = "mutants")]
pub fn switch_on(mutant: Mutant) {
    ON.set(Some(mutant));
}

#[cfg(feature = "mutants")]
pub fn on(mutant: Mutant) -> bool {
    ON.get() == Some(mutant)
}

#[cfg(not(feature = "mutants"))]
pub const fn on(_: Mutant) -> bool {
    false
}
