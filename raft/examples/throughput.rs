//! Measures three replicas on this machine: writes per second, latency, syncs; and how long writes pause when the
//! leader is killed with SIGKILL. Every replica is a process of its own.
//!
//!   cargo run --release --example throughput -- puts [SECONDS] [VALUE_BYTES]
//!   cargo run --release --example throughput -- kills [COUNT]
//!   cargo run --release --example throughput -- idle [SECONDS]

use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use kontiki_raft::{
    Action, Command, Config, HistoryWindow, Member, Op, Outcome, Precondition, ProposeError, Store, Timing,
};
use proto::pki::{self, Authority, PEER_NAME, Request};
use proto::seam::Env;
use proto::tls::Identity;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    proto::tls::install_provider();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    match arguments.first().map(String::as_str) {
        Some("replica") => replica(Path::new(&arguments[1]), number(2, 0), number(3, 0)).await,
        Some("idle") => idle(number(1, 20)).await,
        Some("kills") => kills(number(1, 20) as usize).await,
        _ => puts(number(1, 5), number(2, 2048) as usize).await,
    }
}

fn members(base: u64) -> Vec<Member> {
    let member = |id: u64| Member {
        id,
        peer_address: format!("127.0.0.1:{}", base + id),
        client_address: format!("127.0.0.1:{}", base + 10 + id),
    };
    (1..=3).map(member).collect()
}

async fn open(dir: &Path, id: u64, base: u64) -> Result<Store> {
    let members = members(base);
    let config = Config {
        id,
        dir: dir.join(format!("data-{id}")),
        peer_listen: members[id as usize - 1].peer_address.clone(),
        initial_members: members,
        cluster_id: "throughput".into(),
        tls: Identity::load(dir, &format!("replica-{id}"), "peers")?,
        timing: Timing::default(),
        history: HistoryWindow::default(),
        renewals: Default::default(),
    };
    Ok(Store::open(config, Env::real()).await?)
}

/// Makes the certificates of three replicas in a fresh directory.
fn prepare(dir: &Path) -> Result<()> {
    let authority = Authority::load_or_make(dir, "peers")?;
    for id in 1..=3 {
        let common_name = format!("kontiki:replica:{id}");
        let request = Request { common_name: &common_name, organizations: &[], hosts: &[PEER_NAME.to_string()] };
        pki::write(dir, &format!("replica-{id}"), &authority.sign(&request)?)?;
    }
    Ok(())
}

fn put(key: String, value: Bytes) -> Command {
    let op = Op { key: key.into(), precondition: Precondition::Any, action: Action::Put(value) };
    Command { fence: None, proposed_at_ms: Env::real().clock.now_ms(), author: "throughput".into(), ops: vec![op] }
}

/// Three replicas in this process, so that the counters of all of them can be read.
async fn puts(seconds: u64, value_bytes: usize) -> Result<()> {
    let dir = tempfile::tempdir()?;
    prepare(dir.path())?;
    let mut stores = Vec::new();
    for id in 1..=3 {
        stores.push(open(dir.path(), id, 17300).await?);
    }
    stores[0].barrier().await?;
    println!("clients   puts/s   p50 ms   p99 ms   syncs/put   CPU us/put");
    for clients in [1, 16, 256, 1000] {
        let syncs = || stores.iter().map(|store| store.metrics().syncs.load(Relaxed)).sum::<u64>();
        let (syncs_before, cpu_before, began) = (syncs(), cpu_us("self"), Instant::now());
        let until = began + Duration::from_secs(seconds);
        let workers = (0..clients).map(|client| {
            let store = stores[client % 3].clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                let mut n = 0u64;
                while Instant::now() < until {
                    let key = format!("core/pods/default/{client}-{}", n % 100);
                    let value = Bytes::from(vec![n as u8; value_bytes]);
                    let started = Instant::now();
                    match store.propose(put(key, value)).await {
                        Ok(Outcome::Applied { .. }) => took.push(started.elapsed()),
                        other => println!("{other:?}"),
                    }
                    n += 1;
                }
                took
            })
        });
        let mut took: Vec<Duration> = Vec::new();
        for worker in workers.collect::<Vec<_>>() {
            took.extend(worker.await?);
        }
        took.sort_unstable();
        let (count, elapsed) = (took.len(), began.elapsed().as_secs_f64());
        let at = |share: f64| took[(count as f64 * share) as usize].as_secs_f64() * 1e3;
        let rate = count as f64 / elapsed;
        let syncs = (syncs() - syncs_before) as f64 / count as f64 / 3.0;
        let cpu = (cpu_us("self") - cpu_before) as f64 / count as f64;
        println!("{clients:>7} {rate:>8.0} {:>8.2} {:>8.2} {syncs:>11.3} {cpu:>12.0}", at(0.5), at(0.99));
    }
    let elections: u64 = stores.iter().map(|store| store.metrics().leader_changes.load(Relaxed)).max().unwrap_or(0);
    println!("leader changes seen: {elections}; resident: {} MiB for all three", resident_mib("self")?);
    for store in &stores {
        store.shutdown().await;
    }
    Ok(())
}

/// User and system time of a process in microseconds.
fn cpu_us(process: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    (ticks(11) + ticks(12)) * 10_000
}

fn resident_mib(process: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    Ok(line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024)
}

/// One replica as a process: a line on its client port is a key to write, the answer is a line.
async fn replica(dir: &Path, id: u64, base: u64) -> Result<()> {
    let store = open(dir, id, base).await?;
    let listener = tokio::net::TcpListener::bind(&members(base)[id as usize - 1].client_address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let store = store.clone();
        tokio::spawn(async move {
            let (read, mut write) = stream.into_split();
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let answer = match line.as_str() {
                    "leads" => format!("{}\n", store.standing().borrow().leads_in_term.is_some()),
                    key => match store.propose(put(key.into(), Bytes::from_static(&[7; 2048]))).await {
                        Ok(_) => "ok\n".into(),
                        Err(ProposeError::Unknown(_)) => "unknown\n".into(),
                        Err(ProposeError::NoSpace(_) | ProposeError::Refused(_)) => "refused\n".into(),
                    },
                };
                if write.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

struct Replica {
    process: Child,
    address: String,
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(dir: &Path, id: u64, base: u64) -> Result<Replica> {
    let mut process = Process::new(std::env::current_exe()?);
    process.arg("replica").arg(dir).arg(id.to_string()).arg(base.to_string()).stdout(Stdio::null());
    Ok(Replica { process: process.spawn()?, address: members(base)[id as usize - 1].client_address.clone() })
}

async fn ask(address: &str, line: &str) -> Result<String> {
    let asked = async {
        let (read, mut write) = tokio::net::TcpStream::connect(address).await?.into_split();
        write.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(BufReader::new(read).lines().next_line().await?.unwrap_or_default())
    };
    tokio::time::timeout(Duration::from_secs(3), asked).await?
}

async fn leader(replicas: &[Replica]) -> usize {
    loop {
        for (at, replica) in replicas.iter().enumerate() {
            if ask(&replica.address, "leads").await.is_ok_and(|answer| answer == "true") {
                return at;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What three replicas without work take of memory and of a core.
async fn idle(seconds: u64) -> Result<()> {
    let dir = tempfile::tempdir()?;
    prepare(dir.path())?;
    let replicas: Vec<Replica> = (1..=3).map(|id| spawn(dir.path(), id, 17500)).collect::<Result<_>>()?;
    leader(&replicas).await;
    let processes: Vec<String> = replicas.iter().map(|replica| replica.process.id().to_string()).collect();
    let before: Vec<u64> = processes.iter().map(|process| cpu_us(process)).collect();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    for (process, before) in processes.iter().zip(before) {
        let share = (cpu_us(process) - before) as f64 / seconds as f64 / 1e4;
        println!("resident: {} MiB, {share:.2} % of a core", resident_mib(process)?);
    }
    Ok(())
}

/// Kills the leader again and again under the load of 16 writers, and prints how long no write was acknowledged.
async fn kills(count: usize) -> Result<()> {
    const BASE: u64 = 17400;
    let dir = tempfile::tempdir()?;
    prepare(dir.path())?;
    let mut replicas: Vec<Replica> = (1..=3).map(|id| spawn(dir.path(), id, BASE)).collect::<Result<_>>()?;
    leader(&replicas).await;
    let zero = Instant::now();
    let newest = Arc::new(AtomicU64::new(0));
    let longest = Arc::new(AtomicU64::new(0));
    for writer in 0..16u64 {
        let (newest, longest) = (newest.clone(), longest.clone());
        let addresses: Vec<String> = replicas.iter().map(|replica| replica.address.clone()).collect();
        tokio::spawn(async move {
            for n in 0u64.. {
                let address = &addresses[((writer + n) % 3) as usize];
                if ask(address, &format!("core/pods/default/{writer}-{}", n % 50))
                    .await
                    .is_ok_and(|answer| answer == "ok")
                {
                    let now = zero.elapsed().as_micros() as u64;
                    let before = newest.fetch_max(now, Relaxed);
                    longest.fetch_max(now.saturating_sub(before), Relaxed);
                }
            }
        });
    }
    let mut gaps = Vec::new();
    for _ in 0..count {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let at = leader(&replicas).await;
        longest.store(0, Relaxed);
        let killed = zero.elapsed().as_micros() as u64;
        replicas[at].process.kill()?;
        replicas[at].process.wait()?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let gap = longest.load(Relaxed) / 1000;
        gaps.push(gap);
        println!("killed replica {} at {} ms: no write for {gap} ms", at + 1, killed / 1000);
        replicas[at] = spawn(dir.path(), at as u64 + 1, BASE)?;
    }
    gaps.sort_unstable();
    println!("{count} kills: median {} ms, maximum {} ms", gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
    for replica in &replicas {
        println!("resident: {} MiB", resident_mib(&replica.process.id().to_string())?);
    }
    Ok(())
}
