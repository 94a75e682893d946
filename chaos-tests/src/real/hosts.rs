//! The testbed of `deploy/hosts.sh`, and what a plan does to it. Acts.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use std::{fmt, io};

use tokio::process::Command;

use super::actions::Action;
use super::disk;
use super::plan::Host;

/// For one verb of the script: an engine takes its time.
const VERB_MAX: Duration = Duration::from_secs(120);
/// For a question to an engine.
const ENGINE_MAX: Duration = Duration::from_secs(10);
/// A killed process is gone within this.
const GONE_MAX: Duration = Duration::from_secs(10);

/// Where the replicas are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Each in a namespace of its own, at `10.<net>.0.<host>`.
    Apart(u8),
    /// All on 127.0.0.1, from this port on. Nothing can be cut between them, and no host has an engine of its own.
    Loopback(u16),
}

#[derive(Clone)]
pub struct Hosts {
    pub script: PathBuf,
    /// `KONTIKI_HOSTS_DIR`; all else the script takes from the environment too.
    pub dir: PathBuf,
    pub network: Network,
    pub count: u64,
    pub small_disk: Option<Host>,
}

/// A container that runs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Container {
    /// Its Pod's uid.
    pub pod: String,
    /// What it is for: app, pause.
    pub role: String,
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.role, self.pod)
    }
}

impl Hosts {
    pub fn address(&self, host: Host) -> String {
        match self.network {
            Network::Apart(net) => format!("10.{net}.0.{host}:6443"),
            // As `kontiki init` lays them out: two ports for each replica.
            Network::Loopback(port) => format!("127.0.0.1:{}", u64::from(port) + 2 * (host - 1)),
        }
    }

    pub fn addresses(&self) -> Vec<String> {
        (1..=self.count).map(|host| self.address(host)).collect()
    }

    /// Can packets between two hosts be dropped?
    pub fn has_links(&self) -> bool {
        matches!(self.network, Network::Apart(_))
    }

    /// `Ok` says what was done where the plan does not.
    pub async fn act(&self, action: &Action) -> Result<Option<String>, String> {
        match action {
            Action::Kill(host) => self.kill(*host).await?,
            Action::Start(host) => self.verb(&["start", &host.to_string()]).await?,
            Action::Freeze(host) => self.signal(*host, "STOP").await?,
            Action::Thaw(host) => self.signal(*host, "CONT").await?,
            Action::Cut(pairs) => self.links("cut-one-way", pairs).await?,
            Action::Mend(pairs) => self.links("mend-one-way", pairs).await?,
            // The users do it.
            Action::Transfer(_) => {}
            Action::SwitchOff(host) => self.verb(&["fail", &host.to_string()]).await?,
            Action::Fill(host) => self.files(*host, |replica| disk::fill(&replica.join("small/filler"))).await?,
            Action::Free(host) => self.files(*host, |replica| disk::free(&replica.join("small/filler"))).await?,
            Action::Tear(host, tear) => {
                let tear = *tear;
                return self.files(*host, move |replica| disk::tear(&replica.join("data"), tear)).await.map(Some);
            }
            Action::Flip(host, file, place) => {
                let (file, place) = (*file, *place);
                return self
                    .files(*host, move |replica| disk::flip(&replica.join("data"), file, place))
                    .await
                    .map(Some);
            }
        }
        Ok(None)
    }

    /// Whatever is wrong is made well.
    pub async fn end_faults(&self) -> Result<(), String> {
        if self.has_links() {
            self.verb(&["heal"]).await?;
        }
        if let Some(host) = self.small_disk {
            self.act(&Action::Free(host)).await?;
        }
        let starts = (1..=self.count).map(|host| async move {
            self.signal(host, "CONT").await?;
            self.verb(&["start", &host.to_string()]).await
        });
        futures::future::try_join_all(starts).await.map(drop)
    }

    /// The hosts whose replica does not run.
    pub fn ended(&self) -> Vec<Host> {
        (1..=self.count).filter(|host| self.pid(*host).is_none()).collect()
    }

    /// The file that a replica's log goes to, over all its restarts.
    pub fn log(&self, host: Host) -> PathBuf {
        self.replica(host).join("log")
    }

    /// How much the log of a replica has now.
    pub fn log_length(&self, host: Host) -> usize {
        std::fs::metadata(self.log(host)).map_or(0, |found| found.len() as usize)
    }

    /// What it has had since it was so long.
    pub fn said_since(&self, host: Host, length: usize) -> String {
        let log = std::fs::read(self.log(host)).unwrap_or_default();
        String::from_utf8_lossy(log.get(length..).unwrap_or_default()).into_owned()
    }

    /// What the logs of these say last.
    pub fn last_words(&self) -> String {
        let words = |host: Host| {
            let log = std::fs::read(self.log(host)).unwrap_or_default();
            let text = String::from_utf8_lossy(&log[log.len().saturating_sub(2000)..]).into_owned();
            let tail: Vec<&str> = text.lines().rev().take(4).collect();
            format!("\n  replica {host} does not run: {}", tail.into_iter().rev().collect::<Vec<_>>().join("\n    "))
        };
        self.ended().into_iter().map(words).collect()
    }

    /// What a host's own engine runs.
    pub async fn containers(&self, host: Host) -> Result<Vec<Container>, String> {
        let Network::Apart(net) = self.network else {
            return Err(format!("host {host} is on loopback and has no engine of its own"));
        };
        let mut command = Command::new("docker");
        command.arg("-H").arg(format!("unix:///run/kontiki{net}-{host}/docker.sock"));
        let format = r#"{{.Label "io.kontiki.pod.uid"}} {{.Label "io.kontiki.container.kind"}}"#;
        command.args(["ps", "--format", format]).stdin(Stdio::null()).kill_on_drop(true);
        let output = match tokio::time::timeout(ENGINE_MAX, command.output()).await {
            Ok(Ok(output)) if output.status.success() => output.stdout,
            Ok(Ok(output)) => {
                return Err(format!("the engine of host {host}: {}", String::from_utf8_lossy(&output.stderr)));
            }
            Ok(Err(error)) => return Err(format!("docker: {error}")),
            Err(_) => return Err(format!("the engine of host {host} says nothing within {ENGINE_MAX:?}")),
        };
        let lines = String::from_utf8_lossy(&output).into_owned();
        let container = |line: &str| {
            let (pod, role) = line.split_once(' ').unwrap_or((line, ""));
            Container { pod: pod.into(), role: role.into() }
        };
        Ok(lines.lines().map(container).collect())
    }

    /// Runs a command in a host's network, with its engine as `docker`'s.
    pub async fn run(&self, host: Host, command: &[&str]) -> Result<(), String> {
        let host = host.to_string();
        self.verb(&[&["run", &host], command].concat()).await
    }

    /// The processes of ours that run: replicas and agents, by their names.
    pub fn processes(&self) -> Vec<(String, u32)> {
        let names = (1..=self.count).flat_map(|host| ["replica", "node"].map(|kind| format!("{kind}-{host}")));
        names.filter_map(|name| self.pid_of(&name).map(|pid| (name, pid))).collect()
    }

    async fn verb(&self, args: &[&str]) -> Result<(), String> {
        let mut command = Command::new(&self.script);
        command.args(args).env("KONTIKI_HOSTS_DIR", &self.dir);
        if let Network::Apart(net) = self.network {
            command.env("KONTIKI_HOSTS_NET", net.to_string());
        }
        // What it starts in the background must not hold a pipe of ours.
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.join("verbs.log"));
        let log = log.map_err(|error| error.to_string())?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let failed =
            |why: String| format!("hosts.sh {}: {why} (see {})", args.join(" "), self.dir.join("verbs.log").display());
        match tokio::time::timeout(VERB_MAX, command.status()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(failed(status.to_string())),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed("it did not end".into())),
        }
    }

    async fn links(&self, verb: &str, pairs: &[(Host, Host)]) -> Result<(), String> {
        for (from, to) in pairs {
            self.verb(&[verb, &from.to_string(), &to.to_string()]).await?;
        }
        Ok(())
    }

    fn replica(&self, host: Host) -> PathBuf {
        self.dir.join(format!("replica-{host}"))
    }

    /// Of the replica, if it runs.
    fn pid(&self, host: Host) -> Option<u32> {
        self.pid_of(&format!("replica-{host}"))
    }

    fn pid_of(&self, name: &str) -> Option<u32> {
        let pid: u32 = std::fs::read_to_string(self.dir.join(name).join("pid")).ok()?.trim().parse().ok()?;
        let program = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        program.starts_with(self.dir.join("bin")).then_some(pid)
    }

    async fn signal(&self, host: Host, signal: &str) -> Result<(), String> {
        let Some(pid) = self.pid(host) else { return Ok(()) };
        // It may end at this very moment.
        let sent = Command::new("kill").args(["-s", signal, &pid.to_string()]).stderr(Stdio::null()).status().await;
        sent.map(drop).map_err(|error| format!("kill -s {signal} {pid}: {error}"))
    }

    async fn kill(&self, host: Host) -> Result<(), String> {
        self.signal(host, "KILL").await?;
        let gone = async {
            while self.pid(host).is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(GONE_MAX, gone).await.map_err(|_| format!("replica {host} cannot be killed"))
    }

    async fn files<T: Send + 'static>(
        &self,
        host: Host,
        act: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, String> {
        let dir = self.replica(host);
        let done = tokio::task::spawn_blocking(move || act(&dir)).await.map_err(|error| error.to_string())?;
        done.map_err(|error| format!("the files of replica {host}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_replica_has_an_address() {
        let hosts =
            |network| Hosts { script: PathBuf::new(), dir: PathBuf::new(), network, count: 3, small_disk: None };
        let apart = ["10.97.0.1:6443", "10.97.0.2:6443", "10.97.0.3:6443"];
        assert_eq!(hosts(Network::Apart(97)).addresses(), apart);
        let loopback = ["127.0.0.1:13443", "127.0.0.1:13445", "127.0.0.1:13447"];
        assert_eq!(hosts(Network::Loopback(13443)).addresses(), loopback);
    }
}
