//! Clients that call without pause for a while: how many calls, how long each, at what cost. Acts.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tonic::Status;

use crate::Failure;
use crate::caller::{self, Caller};
use crate::meter::Meter;
use crate::stats::Samples;
use crate::syncs::Syncs;
use crate::system::{Kind, System};

/// Keys that the workloads share; each client stays with its own part of them.
pub const KEYS: usize = 1_000;
/// Clients that share a connection.
const CLIENTS_PER_CONNECTION: usize = 10;
/// From then on a client gives a call up; it counts as failed.
const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// After a failed call, so that a member that refuses costs little.
const PAUSE: Duration = Duration::from_millis(5);
/// Of three members, so many have a write on their disk before it is acknowledged.
const MAJORITY: u64 = 2;
/// So many clients or more put at once in a crowd, whose writes share syncs.
const CROWD: usize = 1_000;
/// The goal for a crowd: a member of ours syncs at most once for so many of its writes, 0.05 times for each.
const PUTS_A_SYNC_MIN: u64 = 20;
/// Of ten calls of the mixed workload, this many are reads.
const READS_OF_TEN: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    Put {
        bytes: usize,
    },
    Read {
        linearizable: bool,
    },
    /// Linearizable reads, and one put in five.
    Mixed {
        bytes: usize,
    },
}

impl Work {
    pub fn name(self) -> String {
        match self {
            Work::Put { bytes } => format!("put {bytes} B"),
            Work::Read { linearizable: true } => "read, linearizable".into(),
            Work::Read { linearizable: false } => "read, local".into(),
            Work::Mixed { bytes } => format!("mixed: 4 linearizable reads, 1 put of {bytes} B"),
        }
    }
}

/// What some rounds of one workload came to, together.
#[derive(Default)]
pub struct Measured {
    pub took: Vec<Duration>,
    pub failed: usize,
    pub wall: Duration,
    /// Of all members.
    pub cpu_us: u64,
    pub generator_us: u64,
    /// Of all members; `None` where they could not be counted, or not alike.
    pub syncs: Option<Syncs>,
}

impl Measured {
    pub fn add(&mut self, other: Measured) {
        self.syncs = match (self.syncs, other.syncs) {
            (_, its) if self.took.is_empty() => its,
            (Some(mine), Some(its)) => mine.plus(its),
            // Those of one round say nothing of the calls of both.
            _ => None,
        };
        self.took.extend(other.took);
        self.failed += other.failed;
        self.wall += other.wall;
        self.cpu_us += other.cpu_us;
        self.generator_us += other.generator_us;
    }

    pub fn per_second(&self) -> f64 {
        self.took.len() as f64 / self.wall.as_secs_f64()
    }

    pub fn samples(&self) -> Samples {
        Samples::new(self.took.clone())
    }
}

/// Makes the keys. Safe to repeat.
pub async fn fill(system: &System, bytes: usize) -> Result<(), Failure> {
    let makers = (0..16usize).map(|maker| {
        let mut caller = system.caller(maker);
        async move {
            for key in (maker..KEYS).step_by(16) {
                caller.create(key, caller::value(0, bytes)).await?;
            }
            Ok::<(), Status>(())
        }
    });
    futures::future::try_join_all(makers).await?;
    Ok(())
}

/// `clients` call without pause for `seconds`. A single client talks to the leader, as etcd's own guide measures it;
/// more are spread over the members.
pub async fn run(system: &mut System, work: Work, clients: usize, seconds: f64) -> Result<Measured, Failure> {
    let leader = system.settled().await?;
    let connections: Vec<Caller> =
        (0..clients.div_ceil(CLIENTS_PER_CONNECTION)).map(|at| system.caller(leader + at)).collect();
    // Dialled before the clock starts.
    for connection in &connections {
        timeout(CALL_DEADLINE, connection.clone().get(0, false)).await??;
    }
    let meter = Meter::start(system).await;
    let until = meter.start + Duration::from_secs_f64(seconds);
    let mut running = tokio::task::JoinSet::new();
    for client in 0..clients {
        let caller = connections[client % connections.len()].clone();
        running.spawn(one(caller, work, client, clients, until));
    }
    let mut measured = Measured::default();
    while let Some(ended) = running.join_next().await {
        let (took, failed) = ended?;
        measured.took.extend(took);
        measured.failed += failed;
    }
    meter.stop(system, &mut measured).await;
    if measured.took.is_empty() {
        return Err(format!("{}: not one call of {} succeeded", system.kind.name(), work.name()).into());
    }
    check(system.kind, system.members.len(), work, clients, &measured)?;
    Ok(measured)
}

/// Whether puts took as many syncs as they must, and no more than they should.
fn check(kind: Kind, members: usize, work: Work, clients: usize, measured: &Measured) -> Result<(), String> {
    let (alone, crowd) = (clients == 1, clients >= CROWD && kind != Kind::Etcd);
    if !matches!(work, Work::Put { .. }) || !(alone || crowd) {
        return Ok(());
    }
    let name = kind.name();
    let Some(syncs) = measured.syncs else {
        eprintln!("bench: {name}: neither perf nor strace counts: how often its members sync is not verified");
        return Ok(());
    };
    let puts = measured.took.len();
    let checked = if alone { durable(syncs.calls, puts) } else { shared(syncs.calls, members, puts) };
    checked.map_err(|why| format!("{name}: {why}"))
}

/// Of writes that came one after the other. A majority has synced each of them before it is acknowledged, and the next
/// one comes later: so there are at least so many syncs.
fn durable(syncs: u64, acknowledged: usize) -> Result<(), String> {
    if syncs >= MAJORITY * acknowledged as u64 {
        return Ok(());
    }
    Err(format!(
        "no durable writes: all members together synced {syncs} times for {acknowledged} acknowledged puts of one client, \
         and each put takes {MAJORITY}"
    ))
}

/// Of writes that came in a crowd. `syncs`: of all members together.
fn shared(syncs: u64, members: usize, acknowledged: usize) -> Result<(), String> {
    if syncs * PUTS_A_SYNC_MIN <= members as u64 * acknowledged as u64 {
        return Ok(());
    }
    Err(format!(
        "too many syncs: all {members} members together synced {syncs} times for {acknowledged} acknowledged puts of a \
         crowd, and each is to sync once for {PUTS_A_SYNC_MIN} of them at most"
    ))
}

async fn one(mut caller: Caller, work: Work, client: usize, clients: usize, until: Instant) -> (Vec<Duration>, usize) {
    let mut took = Vec::new();
    let mut failed = 0;
    let mut key = client % KEYS;
    for turn in client.. {
        let sent = Instant::now();
        if sent >= until {
            break;
        }
        let call = call(&mut caller, work, turn, key, caller::stamp_of(sent));
        if matches!(timeout(CALL_DEADLINE, call).await, Ok(Ok(()))) {
            took.push(sent.elapsed());
        } else {
            failed += 1;
            sleep(PAUSE).await;
        }
        key += clients;
        if key >= KEYS {
            key = client % KEYS;
        }
    }
    (took, failed)
}

async fn call(caller: &mut Caller, work: Work, turn: usize, key: usize, stamp: u64) -> Result<(), Status> {
    match work {
        Work::Put { bytes } => caller.put(key, caller::value(stamp, bytes)).await,
        Work::Read { linearizable } => caller.get(key, linearizable).await,
        Work::Mixed { .. } if turn % 10 < READS_OF_TEN => caller.get(key, true).await,
        Work::Mixed { bytes } => caller.put(key, caller::value(stamp, bytes)).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syncs::Tool;

    #[test]
    fn a_put_takes_a_majority_of_syncs() {
        assert_eq!(durable(200, 100), Ok(()));
        assert_eq!(durable(301, 100), Ok(()), "the third member's, and others");
        assert!(durable(199, 100).unwrap_err().starts_with("no durable writes: "));
        assert!(durable(0, 1).is_err());
    }

    #[test]
    fn puts_of_a_crowd_share_their_syncs() {
        assert_eq!(shared(150, 3, 1_000), Ok(()));
        assert!(shared(151, 3, 1_000).unwrap_err().starts_with("too many syncs: "));
    }

    #[test]
    fn what_is_checked_is_puts_of_one_and_of_a_crowd_and_the_crowd_s_with_our_own_members_only() {
        let put = Work::Put { bytes: 256 };
        let fails = |kind, work, clients, calls| {
            let syncs = Some(Syncs { calls, by: Tool::Perf });
            let measured = Measured { took: vec![Duration::ZERO; 1_000], syncs, ..Measured::default() };
            check(kind, 3, work, clients, &measured).is_err()
        };
        for kind in [Kind::Store, Kind::Kontiki] {
            assert!(!fails(kind, put, CROWD, 150) && fails(kind, put, CROWD, 151), "{kind:?}");
        }
        assert!(!fails(Kind::Etcd, put, CROWD, 151) && !fails(Kind::Store, put, CROWD - 1, 151));
        assert!(!fails(Kind::Store, Work::Mixed { bytes: 256 }, CROWD, 151));
        for kind in [Kind::Etcd, Kind::Store, Kind::Kontiki] {
            assert!(!fails(kind, put, 1, 2_000) && fails(kind, put, 1, 1_999), "{kind:?}");
        }
        let uncounted = Measured { took: vec![Duration::ZERO], ..Measured::default() };
        assert_eq!(check(Kind::Store, 3, put, 1, &uncounted), Ok(()));
    }

    #[test]
    fn syncs_are_known_of_all_rounds_or_of_none() {
        let by = |tool, calls| Some(Syncs { calls, by: tool });
        let perf = |calls| by(Tool::Perf, calls);
        let round = |syncs| Measured { took: vec![Duration::ZERO], syncs, ..Measured::default() };
        let sum = |rounds: &[Option<Syncs>]| {
            let mut sum = Measured::default();
            rounds.iter().for_each(|syncs| sum.add(round(*syncs)));
            sum.syncs
        };
        assert_eq!(sum(&[perf(2), perf(3)]), perf(5));
        assert_eq!(sum(&[None, perf(3)]), None);
        assert_eq!(sum(&[perf(2), None]), None);
        assert_eq!(sum(&[perf(2), by(Tool::Strace, 3)]), None, "a row says which tool counted");
    }
}
