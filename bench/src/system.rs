//! Three members of one kind, started on this machine with mutual TLS everywhere, and callers to them. Acts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proto::api::api_client::ApiClient;
use proto::channel::{self, Options};
use proto::pki::{self, API_NAME, Authority, PEER_NAME, Request};
use proto::seam::{Env, Net};
use proto::tls::{self, Identity};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::Failure;
use crate::caller::{Caller, Standing};
use crate::line::Line;
use crate::member::Member;

/// Client ports from here on; they leave the ranges alone that `kontiki init` and etcd take by default.
const KONTIKI_PORT: u16 = 26443;
const STORE_PORT: u16 = 26543;
const ETCD_PORT: u16 = 27379;
/// etcd's own default is 2 GiB, after which it refuses writes.
const ETCD_QUOTA_BYTES: u64 = 8 << 30;
const SETTLED_DEADLINE: Duration = Duration::from_secs(60);
const ASK_DEADLINE: Duration = Duration::from_millis(700);
/// A member that is fewer changes behind counts as caught up while writes go on.
const BEHIND_MAX: u64 = 2_000;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub enum Kind {
    /// Three etcd members: bytes by key.
    Etcd,
    /// The store alone behind etcd's own calls: bytes by key.
    Store,
    /// Three `kontiki server`: ConfigMaps, admitted and validated, through the native API.
    Kontiki,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Etcd => "etcd",
            Kind::Store => "store",
            Kind::Kontiki => "kontiki",
        }
    }
}

pub struct System {
    pub kind: Kind,
    pub members: Vec<Member>,
    addresses: Vec<String>,
    tls: TlsConnector,
    net: Arc<dyn Net>,
    /// One to each member, for questions about who leads.
    asking: Vec<Caller>,
}

impl System {
    /// Starts the members in a fresh directory and waits until they have a leader. `kontiki`: the binary.
    pub async fn start(kind: Kind, dir: &Path, kontiki: &Path) -> Result<System, Failure> {
        std::fs::create_dir_all(dir)?;
        let (identity, addresses, members) = match kind {
            Kind::Kontiki => replicas(dir, kontiki)?,
            Kind::Etcd => with_own_pki(dir, ETCD_PORT, etcd)?,
            Kind::Store => with_own_pki(dir, STORE_PORT, store)?,
        };
        let tls = tls::connector(&identity, &["h2"])?;
        let mut system = System { kind, members, addresses, tls, net: Env::real().net, asking: Vec::new() };
        system.asking = (0..system.members.len()).map(|at| system.caller(at)).collect();
        for member in &mut system.members {
            member.start()?;
        }
        system.settled().await?;
        Ok(system)
    }

    /// A connection of its own to one member; dials at the first call.
    pub fn caller(&self, member: usize) -> Caller {
        let address = self.addresses[member % self.addresses.len()].clone();
        let (net, tls) = (self.net.clone(), self.tls.clone());
        let channel = channel::to(net.clone(), tls.clone(), address.clone(), API_NAME, Options::default());
        match self.kind {
            Kind::Kontiki => Caller::Api(ApiClient::new(channel.clone()), channel),
            Kind::Etcd | Kind::Store => Caller::Kv(Line::new(net, tls, address), channel),
        }
    }

    pub fn pids(&self) -> Vec<u32> {
        self.members.iter().filter_map(Member::pid).collect()
    }

    /// User and system time of all members.
    pub fn cpu_us(&self) -> u64 {
        self.members.iter().map(Member::cpu_us).sum()
    }

    /// What each member says of itself; `None` from one that does not answer.
    pub async fn standings(&self) -> Vec<Option<Standing>> {
        let asked = self
            .asking
            .iter()
            .map(|caller| async move { timeout(ASK_DEADLINE, caller.clone().standing()).await.ok()?.ok() });
        futures::future::join_all(asked).await
    }

    /// Which member leads; `None` unless all answer, agree on it and are about equally far.
    pub async fn leader(&self) -> Option<usize> {
        let standings: Option<Vec<Standing>> = self.standings().await.into_iter().collect();
        standings.as_deref().and_then(agreed)
    }

    /// Waits until all members answer, agree on a leader and are about equally far. Which one leads.
    pub async fn settled(&mut self) -> Result<usize, Failure> {
        let deadline = Instant::now() + SETTLED_DEADLINE;
        loop {
            if let Some(leader) = self.leader().await {
                return Ok(leader);
            }
            if let Some(ended) = self.members.iter_mut().find_map(|member| {
                let ended = member.pid().is_some() && member.ended();
                ended.then(|| format!("{} ended: {}", member.name, member.last_words()))
            }) {
                return Err(ended.into());
            }
            if Instant::now() > deadline {
                return Err(format!("{} did not settle within {SETTLED_DEADLINE:?}", self.kind.name()).into());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// The highest term that a member knows.
    pub async fn term(&self) -> u64 {
        self.standings().await.into_iter().flatten().map(|standing| standing.term).max().unwrap_or_default()
    }

    /// Asks the leader to hand over to the member after it.
    pub async fn transfer(&self, leader: usize) -> Result<(), Failure> {
        let to = (leader + 1) % self.members.len();
        let target = self.asking[to].clone().standing().await?.id;
        Ok(timeout(SETTLED_DEADLINE, self.asking[leader].clone().move_leader(target)).await??)
    }
}

/// Which one all name as leader.
fn agreed(standings: &[Standing]) -> Option<usize> {
    let leader = standings.first()?.leader;
    let same = standings.iter().all(|standing| standing.leader == leader && standing.term == standings[0].term);
    let newest = standings.iter().map(|standing| standing.revision).max()?;
    let caught_up = standings.iter().all(|standing| newest - standing.revision < BEHIND_MAX);
    standings.iter().position(|standing| standing.id == leader).filter(|_| leader != 0 && same && caught_up)
}

type Parts = (Identity, Vec<String>, Vec<Member>);
/// A program and its arguments.
type Invocation = (PathBuf, Vec<String>);

/// Replicas as `kontiki init` sets them up, without agents.
fn replicas(dir: &Path, kontiki: &Path) -> Result<Parts, Failure> {
    let port = KONTIKI_PORT.to_string();
    let made = std::process::Command::new(kontiki)
        .args(["init", "--replicas", "3", "--nodes", "0", "--port", &port, "--dir"])
        .arg(dir)
        .output()
        .map_err(|error| format!("cannot run {}: {error}", kontiki.display()))?;
    if !made.status.success() {
        return Err(format!("kontiki init: {}", String::from_utf8_lossy(&made.stderr)).into());
    }
    let config = client::Config::from_kubeconfig(Some(&dir.join("kubeconfig")))?;
    let member = |id: usize| {
        let home = dir.join(format!("replica-{id}"));
        let file = home.join("config.yaml").display().to_string();
        Member::new(format!("kontiki {id}"), kontiki.into(), vec!["server".into(), "--config".into(), file], home)
    };
    Ok((config.identity, config.addresses, (1..=3).map(member).collect()))
}

fn with_own_pki(
    dir: &Path,
    port: u16,
    arguments: fn(&Path, u16, usize) -> Result<Invocation, Failure>,
) -> Result<Parts, Failure> {
    let pki_dir = dir.join("pki");
    let authority = Authority::load_or_make(&pki_dir, "ca")?;
    let local = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let issue = |file: &str, common_name: &str, name: Option<&str>| -> Result<(), Failure> {
        let hosts: Vec<String> = name.map(str::to_owned).into_iter().chain(local.clone()).collect();
        let signed = authority.sign(&Request { common_name, organizations: &[], hosts: &hosts })?;
        Ok(pki::write(&pki_dir, file, &signed)?)
    };
    issue("client", "bench", None)?;
    let mut members = Vec::new();
    for id in 1..=3 {
        issue(&format!("server-{id}"), "server", Some(API_NAME))?;
        issue(&format!("peer-{id}"), &format!("kontiki:replica:{id}"), Some(PEER_NAME))?;
        let (program, arguments) = arguments(dir, port, id)?;
        let name = format!("{} {id}", dir.file_name().unwrap_or_default().to_string_lossy());
        members.push(Member::new(name, program, arguments, dir.join(format!("member-{id}"))));
    }
    let addresses = (1..=3).map(|id| format!("127.0.0.1:{}", port + id)).collect();
    Ok((Identity::load(&pki_dir, "client", "ca")?, addresses, members))
}

fn store(dir: &Path, port: u16, id: usize) -> Result<Invocation, Failure> {
    let arguments = ["door", "--id", &id.to_string(), "--port", &port.to_string(), "--dir"];
    let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
    arguments.push(dir.display().to_string());
    Ok((std::env::current_exe()?, arguments))
}

/// etcd with its defaults (heartbeat 100 ms, election 1 s), but for TLS, addresses and the room it may take.
fn etcd(dir: &Path, port: u16, id: usize) -> Result<Invocation, Failure> {
    let client = |id: usize| format!("https://127.0.0.1:{}", port as usize + id);
    let peer = |id: usize| format!("https://127.0.0.1:{}", port as usize + 10 + id);
    let cluster: Vec<String> = (1..=3).map(|id| format!("m{id}={}", peer(id))).collect();
    let pki = |file: String| dir.join("pki").join(file).display().to_string();
    let options = [
        ("name", format!("m{id}")),
        ("data-dir", dir.join(format!("member-{id}/data")).display().to_string()),
        ("listen-client-urls", client(id)),
        ("advertise-client-urls", client(id)),
        ("listen-peer-urls", peer(id)),
        ("initial-advertise-peer-urls", peer(id)),
        ("initial-cluster", cluster.join(",")),
        ("initial-cluster-token", "kontiki-bench".into()),
        ("initial-cluster-state", "new".into()),
        ("client-cert-auth", "true".into()),
        ("trusted-ca-file", pki("ca.crt".into())),
        ("cert-file", pki(format!("server-{id}.crt"))),
        ("key-file", pki(format!("server-{id}.key"))),
        ("peer-client-cert-auth", "true".into()),
        ("peer-trusted-ca-file", pki("ca.crt".into())),
        ("peer-cert-file", pki(format!("peer-{id}.crt"))),
        ("peer-key-file", pki(format!("peer-{id}.key"))),
        ("quota-backend-bytes", ETCD_QUOTA_BYTES.to_string()),
        ("logger", "zap".into()),
        ("log-outputs", "stderr".into()),
        ("log-level", "error".into()),
    ];
    Ok(("etcd".into(), options.iter().map(|(name, value)| format!("--{name}={value}")).collect()))
}
