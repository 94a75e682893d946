//! Systems that nobody disturbs: what they take when idle, and whether they change leaders while the machine is busy. Acts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::Failure;
use crate::caller;
use crate::load;
use crate::member::{Member, Memory};
use crate::system::{Kind, System};

/// Writers of each system while the processors are kept busy.
const WRITERS: usize = 4;
const VALUE_BYTES: usize = 256;
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// One member, idle.
pub struct Idle {
    pub kind: Kind,
    pub name: String,
    pub leads: bool,
    pub memory: Memory,
    /// Of one core, 0 to 1 and above.
    pub core: f64,
}

pub async fn idle(systems: &[System], seconds: u64) -> Vec<Idle> {
    let mut leading = Vec::new();
    for system in systems {
        let leader = system.leader().await;
        leading.extend((0..system.members.len()).map(|at| leader == Some(at)));
    }
    let members = || systems.iter().flat_map(|system| system.members.iter().map(|member| (system.kind, member)));
    let before: Vec<u64> = members().map(|(_, member)| member.cpu_us()).collect();
    sleep(Duration::from_secs(seconds)).await;
    let look = |(((kind, member), leads), before): (((Kind, &Member), bool), u64)| Idle {
        kind,
        name: member.name.clone(),
        leads,
        memory: member.memory(),
        core: (member.cpu_us() - before) as f64 / 1e6 / seconds as f64,
    };
    members().zip(leading).zip(before).map(look).collect()
}

/// What nobody caused: how often a system's term moved, and how many writes it took meanwhile.
pub struct Unrest {
    pub name: &'static str,
    pub elections: u64,
    pub writes: u64,
}

/// Keeps every processor busy with threads that only compute, and writes a little, for `seconds`.
pub async fn busy(systems: &mut [System], seconds: u64) -> Result<Vec<Unrest>, Failure> {
    let mut terms = Vec::new();
    let mut writers = tokio::task::JoinSet::new();
    let mut counts = Vec::new();
    for system in systems.iter_mut() {
        system.settled().await?;
        load::fill(system, VALUE_BYTES).await?;
        terms.push(system.term().await);
        let count = Arc::new(std::sync::atomic::AtomicU64::new(0));
        for writer in 0..WRITERS {
            let (mut caller, count) = (system.caller(writer), count.clone());
            writers.spawn(async move {
                for stamp in 0.. {
                    match caller.put(writer, caller::value(stamp, VALUE_BYTES)).await {
                        Ok(()) => _ = count.fetch_add(1, Relaxed),
                        Err(_) => sleep(Duration::from_millis(20)).await,
                    }
                }
            });
        }
        counts.push(count);
    }
    let burning = Burners::light(std::thread::available_parallelism()?.get());
    let until = Instant::now() + Duration::from_secs(seconds);
    let first = terms.clone();
    while Instant::now() < until {
        sleep(LOOK_EVERY).await;
        for (system, term) in systems.iter().zip(&mut terms) {
            *term = system.term().await.max(*term);
        }
    }
    drop(burning);
    writers.shutdown().await;
    let unrest = systems.iter().zip(first).zip(terms).zip(counts);
    Ok(unrest
        .map(|(((system, first), last), count)| Unrest {
            name: system.kind.name(),
            elections: last - first,
            writes: count.load(Relaxed),
        })
        .collect())
}

/// Threads that compute without pause until dropped.
struct Burners {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Burners {
    fn light(count: usize) -> Burners {
        let stop = Arc::new(AtomicBool::new(false));
        let burn = |_| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                while !stop.load(Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        let threads = (0..count).map(burn).collect();
        Burners { stop, threads }
    }
}

impl Drop for Burners {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
