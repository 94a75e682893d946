//! What a replica does about damage that it finds while it runs: it begins anew, and the start has it filled by the others
//! ([`crate::mend`]). Only where a majority goes on without it, and one replica at a time (ADR 18 has the argument).
//! [`decide`] says whether it may; the rest acts.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use proto::mutants::{self, Mutant};
use proto::peer;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::disk::space::Level;
use crate::disk::{Disk, Note};
use crate::handover::HandedOver;
use crate::identity::Identity;
use crate::log::rows;
use crate::members::plan::LAG_MAX;
use crate::members::{MemberStatus, Members};
use crate::metrics::Metrics;
use crate::standing::Role;

/// Between two looks at the others.
const AGAIN: Duration = Duration::from_secs(2);
const ASK: Duration = Duration::from_millis(700);
/// A member that is silent for less may be the one that begins anew; after that it counts as lost.
const SILENCE: Duration = Duration::from_secs(120);
/// After the first time at once, the next not before this; it doubles with every further one. What rots so fast is a disk
/// that fails, and each time costs the others a snapshot.
const PAUSE_FIRST: Duration = Duration::from_secs(600);
const PAUSE_MAX: Duration = Duration::from_secs(24 * 3600);
/// After so long without damage a disk counts as sound again.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 3600);

/// What became of earlier runs of a replica in one process: how often it began anew, and when and why it did so last.
#[derive(Clone, Debug, Default)]
pub struct Renewals {
    pub count: u64,
    streak: u32,
    last: Option<Instant>,
    /// Not told: the tables are to be set aside, whatever can be read of them.
    pub(crate) damage: Option<String>,
}

impl Renewals {
    /// The replica begins anew now, for this damage.
    pub fn begin(&mut self, damage: String) {
        let now = Instant::now();
        if self.last.is_some_and(|last| now.duration_since(last) > FORGOTTEN) {
            self.streak = 0;
        }
        (self.count, self.streak) = (self.count + 1, self.streak + 1);
        (self.last, self.damage) = (Some(now), Some(damage));
    }

    /// How long it has to wait yet before it may do so once more.
    fn pause(&self) -> Duration {
        let Some(last) = self.last else { return Duration::ZERO };
        let doubled = PAUSE_FIRST.saturating_mul(1u32.checked_shl(self.streak - 1).unwrap_or(u32::MAX));
        doubled.min(PAUSE_MAX).saturating_sub(last.elapsed())
    }
}

/// Whether a replica's data is damaged, and how far it is with beginning anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Repair {
    #[default]
    None,
    /// It cannot or may not, for reasons of its own.
    Waits,
    /// It does so as soon as the others let it.
    Wants,
    /// It does so now, unless another one does.
    Goes,
}

impl Repair {
    pub(crate) fn out(self) -> peer::Repair {
        match self {
            Repair::None => peer::Repair::None,
            Repair::Waits => peer::Repair::Waits,
            Repair::Wants => peer::Repair::Wants,
            Repair::Goes => peer::Repair::Goes,
        }
    }

    pub(crate) fn read(repair: peer::Repair) -> Repair {
        match repair {
            peer::Repair::None => Repair::None,
            peer::Repair::Waits => Repair::Waits,
            peer::Repair::Wants => Repair::Wants,
            peer::Repair::Goes => Repair::Goes,
        }
    }
}

/// What the others are told. Cheap to clone.
#[derive(Clone, Default)]
pub struct Shown(Arc<AtomicI32>);

impl Shown {
    pub fn get(&self) -> Repair {
        peer::Repair::try_from(self.0.load(SeqCst)).map_or(Repair::None, Repair::read)
    }

    fn set(&self, repair: Repair) {
        self.0.store(repair.out().into(), SeqCst);
    }
}

/// One of the other voters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Other {
    Silent(Duration),
    Answers { applied: u64, serves: bool, fills: bool, leads: bool, repair: Repair },
}

#[derive(Clone, Debug)]
pub(crate) struct View {
    pub id: u64,
    pub applied: u64,
    pub serves: bool,
    pub leads: bool,
    /// Nothing hinders it but the others.
    pub may_go: bool,
    /// This one included, if it is one.
    pub voters: BTreeSet<u64>,
    pub others: BTreeMap<u64, Other>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Once this one leads no more, if it does.
    Go {
        heir: u64,
    },
    Wait(String),
    /// The one that is first is filled by who leads, which therefore has to be a replica with sound data: this one leads no more.
    Yield {
        heir: u64,
        why: String,
    },
}

/// May this replica, whose data is damaged, begin anew? Not while another one is away or may be, and only if the others
/// are a majority that goes on, one of them with sound data. Of several that want to, first goes who serves no more, which costs
/// nothing and without whom the rest may be no majority; then who leads; then the lower id. One that is hindered itself is first for
/// nobody, and leads for nobody who wants to.
pub(crate) fn decide(view: &View) -> Decision {
    let others = view.others.iter().filter(|(id, _)| **id != view.id && view.voters.contains(*id));
    let (mut able, mut ahead): (Vec<(u64, u64, bool)>, Option<u64>) = Default::default();
    let waits_for = |id: u64| format!("replica {id} is first, one does so at a time");
    for (id, other) in others.clone() {
        let Other::Answers { applied, serves, fills, leads, repair } = *other else { continue };
        if fills || repair == Repair::Goes {
            return Decision::Wait(waits_for(*id));
        }
        let is_first = !view.may_go || (serves, !leads, *id) < (view.serves, !view.leads, view.id);
        if repair == Repair::Wants && (is_first || mutants::on(Mutant::DamagedWaitForEachOther)) {
            ahead = ahead.or(Some(*id));
        }
        if serves && applied + LAG_MAX >= view.applied {
            able.push((*id, applied, repair == Repair::None));
        }
    }
    let heir =
        able.iter().filter(|(_, _, sound)| *sound).max_by_key(|(id, applied, _)| (*applied, std::cmp::Reverse(*id)));
    match (ahead, heir) {
        (Some(id), Some((heir, ..))) if view.leads => return Decision::Yield { heir: *heir, why: waits_for(id) },
        (Some(id), _) => return Decision::Wait(waits_for(id)),
        (None, _) if !view.may_go => return Decision::Wait("it may not go itself".into()),
        (None, _) => {}
    }
    let needed = view.voters.len() / 2 + 1;
    if able.len() < needed {
        let able = able.len();
        return Decision::Wait(format!("{needed} other voters must be well and up to date, and {able} are"));
    }
    for (id, other) in others.clone() {
        if matches!(other, Other::Silent(since) if *since < SILENCE) {
            return Decision::Wait(format!("replica {id} does not answer"));
        }
    }
    // Who leads fills it, from a log that has to be whole.
    let leader = others.clone().find(|(_, other)| matches!(other, Other::Answers { leads: true, .. }));
    let Some((heir, ..)) = heir else {
        return Decision::Wait("no other replica's data is sound".into());
    };
    match leader {
        None if !view.leads => Decision::Wait("nobody leads".into()),
        Some((id, _)) if !able.iter().any(|(other, _, sound)| other == id && *sound) => {
            Decision::Wait(format!("replica {id} leads, and is not well itself"))
        }
        _ => Decision::Go { heir: *heir },
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Renewal {
    pub(crate) members: Arc<Members>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) level: watch::Receiver<Level>,
    pub(crate) shown: Shown,
    pub(crate) renewals: Renewals,
    /// How many replicas the configuration names.
    pub(crate) initial: usize,
}

impl Renewal {
    /// Waits until damage is found and this replica may begin anew for it; then says what it is. It leads no more then,
    /// and the others wait for it: whoever called this now shuts the store down and opens it again, with
    /// [`Renewals::begin`]. Not to be cancelled but for a shutdown.
    pub async fn due(self) -> String {
        let mut rotten = self.metrics.rotten();
        let damage = rotten.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
        let Some(damage) = damage else { return std::future::pending().await };
        let mut silent = BTreeMap::new();
        loop {
            match self.attempt(&mut silent).await {
                Ok(()) => return damage,
                Err(why) => {
                    if self.metrics.repair_waits().as_ref() != Some(&why) {
                        tracing::warn!(why, "the damage is not repaired yet");
                    }
                    self.metrics.waits_for_repair(Some(why));
                }
            }
            // At another pace than the others, or two could stand back for each other again and again.
            tokio::time::sleep(AGAIN + ASK * self.members.id.min(9) as u32).await;
        }
    }

    async fn attempt(&self, silent: &mut BTreeMap<u64, Instant>) -> Result<(), String> {
        if let Some(why) = self.hindered() {
            self.shown.set(Repair::Waits);
            // Who is not hindered may need another leader.
            let _ = self.decided(silent, false).await;
            return Err(why);
        }
        if mutants::on(Mutant::BeginsAnewUnasked) {
            return Ok(());
        }
        // Shown before the others are asked: of two that go at once, one at least sees the other (ADR 18).
        self.shown.set(Repair::Wants);
        let tried = async {
            self.decided(silent, true).await?;
            self.shown.set(Repair::Goes);
            let heir = self.decided(silent, true).await?;
            match self.members.hand_over(Some(heir)).await {
                HandedOver::Done => Ok(()),
                HandedOver::Nobody | HandedOver::Late => {
                    Err(format!("replica {heir} did not take the leadership over"))
                }
            }
        };
        tried.await.inspect_err(|_| self.shown.set(Repair::Wants))
    }

    /// What keeps it from beginning anew, whatever the others do.
    fn hindered(&self) -> Option<String> {
        if self.members.trouble.franchise.guard.is_shut() {
            return Some("its state differs from a majority's, and its data must be looked at".into());
        }
        if self.metrics.device_failure().is_some() {
            return Some("its disk failed, and must be looked at".into());
        }
        if self.initial < 2 {
            return Some("its configuration names no other replica that has the data".into());
        }
        if *self.level.borrow() != Level::Ample {
            return Some("there is little room on its disk".into());
        }
        let vote = self.disk.note(Note::Vote).ok().flatten().is_some_and(|note| rows::is_vote(&note));
        if !vote {
            return Some("the copy of its vote cannot be read".into());
        }
        if Identity::found(&*self.disk).is_err_and(|error| error.kind() != io::ErrorKind::InvalidData) {
            return Some("the record of whose data this is cannot be read, and without it nothing starts here".into());
        }
        let pause = self.renewals.pause();
        (!pause.is_zero()).then(|| {
            let (count, minutes) = (self.renewals.count, pause.as_secs().div_ceil(60));
            let times = if count == 1 { "once".into() } else { format!("{count} times") };
            format!("it did so {times} since its start, look at the disk; again after {minutes} min")
        })
    }

    async fn decided(&self, silent: &mut BTreeMap<u64, Instant>, may_go: bool) -> Result<u64, String> {
        let view = self.view(silent, may_go).await;
        match decide(&view) {
            Decision::Go { heir } => Ok(heir),
            Decision::Wait(why) => Err(why),
            Decision::Yield { heir, why } => {
                self.members.hand_over(Some(heir)).await;
                Err(why)
            }
        }
    }

    async fn view(&self, silent: &mut BTreeMap<u64, Instant>, may_go: bool) -> View {
        let answers = self.members.ask(ASK).await;
        let standing = self.members.standing.borrow().clone();
        let voters: BTreeSet<u64> = {
            let metrics = self.members.raft.server_metrics();
            let metrics = metrics.borrow_watched();
            metrics.membership_config.voter_ids().collect()
        };
        let term = answers.iter().map(|answer| answer.term).max().unwrap_or(0);
        let mut other = |answer: &MemberStatus| match answer.applied_index {
            Some(applied) if answer.reachable => {
                silent.remove(&answer.member.id);
                let leads = answer.role == Some(Role::Leader) && answer.term == term;
                let (serves, fills, repair) = (answer.serves, answer.filling, answer.repair);
                Other::Answers { applied, serves, fills, leads, repair }
            }
            _ => Other::Silent(silent.entry(answer.member.id).or_insert_with(Instant::now).elapsed()),
        };
        let others = answers.iter().filter(|answer| answer.member.id != self.members.id);
        let others = others.map(|answer| (answer.member.id, other(answer))).collect();
        let (id, applied, leads) = (self.members.id, standing.applied_index, standing.role == Role::Leader);
        View { id, applied, serves: self.members.trouble.serves(), leads, may_go, voters, others }
    }
}

#[cfg(test)]
#[path = "renewal_tests.rs"]
mod tests;
