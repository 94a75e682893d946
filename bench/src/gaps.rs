//! Takes the leader away under writers that do not pause: the longest time without an acknowledged write. Acts.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep, timeout};

use crate::Failure;
use crate::caller::{self, Caller};
use crate::system::System;

/// Writers, each with connections of its own to every member.
const WRITERS: usize = 8;
/// A writer that hears nothing for so long asks the next member. The same for every system, so that the gap is the
/// system's and not its client's.
const ATTEMPT: Duration = Duration::from_millis(250);
const PAUSE: Duration = Duration::from_millis(2);
/// Steady writes between two interruptions.
pub const CALM: Duration = Duration::from_millis(700);
/// How long an interruption is looked at, and at most when nothing is acknowledged.
const LOOK: Duration = Duration::from_millis(2_500);
pub const LOOK_MAX: Duration = Duration::from_secs(20);
const STEADY_TRIES: u32 = 10;
const STOP_DEADLINE: Duration = Duration::from_secs(15);
const VALUE_BYTES: usize = 256;

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum How {
    /// SIGKILL; started again afterwards.
    Kill,
    /// SIGSTOP; SIGCONT afterwards.
    Freeze,
    /// SIGTERM: it hands over and ends; started again afterwards.
    Stop,
    /// The leader is asked to hand over, and lives on.
    Transfer,
    /// For comparison: what the machine alone does to writes.
    Nothing,
}

impl How {
    pub fn name(self) -> &'static str {
        match self {
            How::Kill => "kill -9",
            How::Freeze => "SIGSTOP",
            How::Stop => "graceful stop",
            How::Transfer => "transfer",
            How::Nothing => "nothing done",
        }
    }
}

/// The longest time between two acknowledgements in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub long: Duration,
    /// From the interruption to its end.
    pub over_after: Duration,
}

/// What some rounds of interruptions of one system came to, together.
#[derive(Default)]
pub struct Interrupted {
    /// One of each interruption.
    pub gaps: Vec<Gap>,
    /// Acknowledged in all: around and between the interruptions.
    pub writes: usize,
}

impl Interrupted {
    pub fn add(&mut self, other: Interrupted) {
        self.gaps.extend(other.gaps);
        self.writes += other.writes;
    }
}

/// One round: `count` interruptions in a row, under writers of its own.
pub async fn run(system: &mut System, how: How, count: usize) -> Result<Interrupted, Failure> {
    system.settled().await?;
    crate::load::fill(system, VALUE_BYTES).await?;
    let acknowledged = Acknowledged::default();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let callers = (0..3).map(|at| system.caller(writer + at)).collect();
        writers.spawn(write(callers, writer, acknowledged.clone()));
    }
    let mut gaps = Vec::new();
    for _ in 0..count {
        acknowledged.forget();
        let leader = steady(system).await?;
        let from = Instant::now();
        match how {
            How::Kill => system.members[leader].kill(),
            How::Freeze => system.members[leader].signal(Signal::SIGSTOP)?,
            How::Stop => system.members[leader].signal(Signal::SIGTERM)?,
            How::Transfer => system.transfer(leader).await?,
            How::Nothing => {}
        }
        let gap = look(&acknowledged, from).await;
        match how {
            How::Kill => system.members[leader].start()?,
            How::Freeze => system.members[leader].signal(Signal::SIGCONT)?,
            How::Stop => {
                ended(system, leader).await?;
                system.members[leader].start()?;
            }
            How::Transfer | How::Nothing => {}
        }
        gaps.push(gap.ok_or_else(|| format!("{}: no write acknowledged within {LOOK_MAX:?}", how.name()))?);
    }
    system.settled().await?;
    Ok(Interrupted { gaps, writes: acknowledged.count() })
}

/// Who has led for a while, and leads right now.
async fn steady(system: &mut System) -> Result<usize, Failure> {
    let mut leader = system.settled().await?;
    for _ in 0..STEADY_TRIES {
        sleep(CALM).await;
        let now = system.settled().await?;
        if now == leader {
            return Ok(leader);
        }
        leader = now;
    }
    Err(format!("{}: the leader changes without being told to", system.kind.name()).into())
}

/// Looks until writes go on, and at least for [`LOOK`]. `None`: they did not within [`LOOK_MAX`].
pub async fn look(acknowledged: &Acknowledged, from: Instant) -> Option<Gap> {
    loop {
        sleep(LOOK).await;
        let now = Instant::now();
        match acknowledged.longest_gap(from, now) {
            Some(gap) => return Some(gap),
            None if now - from > LOOK_MAX => return None,
            None => {}
        }
    }
}

async fn ended(system: &mut System, member: usize) -> Result<(), Failure> {
    let deadline = Instant::now() + STOP_DEADLINE;
    while !system.members[member].ended() {
        if Instant::now() > deadline {
            return Err(format!("{} does not end after SIGTERM", system.members[member].name).into());
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn write(mut callers: Vec<Caller>, writer: usize, acknowledged: Acknowledged) {
    let mut at = 0;
    loop {
        let value = caller::value(caller::stamp_of(Instant::now()), VALUE_BYTES);
        if matches!(timeout(ATTEMPT, callers[at].put(writer, value)).await, Ok(Ok(()))) {
            acknowledged.add(Instant::now());
        } else {
            at = (at + 1) % callers.len();
            sleep(PAUSE).await;
        }
    }
}

/// When each write was acknowledged.
#[derive(Clone, Default)]
pub struct Acknowledged(Arc<Mutex<Times>>);

#[derive(Default)]
struct Times {
    kept: Vec<Instant>,
    forgotten: usize,
}

impl Acknowledged {
    pub fn add(&self, at: Instant) {
        self.0.lock().expect("no holder panics").kept.push(at);
    }

    /// All of them, also those whose time was forgotten.
    pub fn count(&self) -> usize {
        let times = self.0.lock().expect("no holder panics");
        times.forgotten + times.kept.len()
    }

    fn forget(&self) {
        let mut times = self.0.lock().expect("no holder panics");
        times.forgotten += times.kept.len();
        times.kept.clear();
    }

    /// The longest time between two acknowledgements, from the last one before `from` on; `None` while the newest one
    /// lies so far back that the gap may still be open.
    fn longest_gap(&self, from: Instant, now: Instant) -> Option<Gap> {
        let mut times = self.0.lock().expect("no holder panics").kept.clone();
        times.sort();
        let newest = times.last().copied().filter(|newest| *newest > from)?;
        let first = times.partition_point(|time| *time < from).saturating_sub(1);
        let gaps = times[first..].windows(2).map(|pair| Gap { long: pair[1] - pair[0], over_after: pair[1] - from });
        let longest = gaps.max_by_key(|gap| gap.long)?;
        (now - newest < longest.long.max(ATTEMPT)).then_some(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_begins_before_the_interruption_and_must_be_over() {
        let zero = Instant::now();
        let at = |ms: u64| zero + Duration::from_millis(ms);
        let acknowledged = Acknowledged::default();
        for ms in [0, 500, 990, 1_400, 1_410] {
            acknowledged.add(at(ms));
        }
        let gap = Gap { long: Duration::from_millis(410), over_after: Duration::from_millis(400) };
        assert_eq!(acknowledged.longest_gap(at(1_000), at(1_420)), Some(gap));
        assert_eq!(acknowledged.longest_gap(at(1_000), at(3_000)), None);
        assert_eq!(acknowledged.longest_gap(at(2_000), at(2_100)), None);
    }

    #[test]
    fn a_write_counts_whose_time_is_forgotten() {
        let (acknowledged, now) = (Acknowledged::default(), Instant::now());
        acknowledged.add(now);
        acknowledged.forget();
        assert_eq!(acknowledged.longest_gap(now, now), None);
        acknowledged.add(now);
        acknowledged.add(now);
        assert_eq!(acknowledged.count(), 3);
    }
}
