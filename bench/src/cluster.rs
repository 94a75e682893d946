//! A cluster's directory: its processes by pid, and clients to it. Acts.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use client::{Client, Config};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto::api::StatusReply;
use tokio::time::{Instant, sleep};

use crate::Failure;

const SETTLED_DEADLINE: Duration = Duration::from_secs(60);
const ASK_DEADLINE: Duration = Duration::from_secs(3);
/// A replica that is fewer entries behind counts as caught up while writes go on.
const BEHIND_MAX: i64 = 100;

pub struct Cluster {
    dir: PathBuf,
}

/// Who leads, and since which election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead {
    pub replica: u64,
    pub term: u64,
}

impl Cluster {
    pub fn at(dir: PathBuf) -> Cluster {
        Cluster { dir }
    }

    pub fn client(&self) -> Result<Client, Failure> {
        Ok(Client::connect(Config::from_kubeconfig(Some(&self.dir.join("kubeconfig")))?)?)
    }

    /// A kube-rs client to one replica, or with `None` through the agent's proxy, as kubectl goes.
    pub async fn kube(&self, replica: Option<usize>) -> Result<kube::Client, Failure> {
        let path = self.dir.join("kubeconfig");
        let mut file: serde_json::Value = serde_yaml::from_str(&std::fs::read_to_string(&path)?)?;
        if let Some(replica) = replica {
            let cluster = &mut file["clusters"][0]["cluster"];
            let address =
                cluster["extensions"][0]["extension"]["replicas"][replica].as_str().ok_or("no such replica")?;
            cluster["server"] = format!("https://{address}").into();
        }
        let kubeconfig = kube::config::Kubeconfig::from_yaml(&serde_yaml::to_string(&file)?)?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
        Ok(kube::Client::try_from(config)?)
    }

    /// The processes: `replica-1` … `node-3`, those that have a pid file.
    pub fn processes(&self) -> Result<Vec<String>, Failure> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.path().join("pid").exists() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    pub fn pid(&self, name: &str) -> Result<i32, Failure> {
        Ok(std::fs::read_to_string(self.dir.join(name).join("pid"))?.trim().parse()?)
    }

    pub fn signal(&self, name: &str, signal: Signal) -> Result<(), Failure> {
        Ok(kill(Pid::from_raw(self.pid(name)?), signal)?)
    }

    /// Starts a process again that was killed.
    pub fn start(&self, name: &str) -> Result<(), Failure> {
        let dir = self.dir.join(name);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("log"))?;
        let verb = if name.starts_with("replica") { "server" } else { "node" };
        let child = Command::new(self.dir.join("bin/kontiki"))
            .args([verb, "--config"])
            .arg(dir.join("config.yaml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        std::fs::write(dir.join("pid"), child.id().to_string())?;
        // Reaped when it ends, so that a later kill is seen as its end.
        std::thread::spawn(move || {
            let mut child = child;
            child.wait()
        });
        Ok(())
    }

    /// A client to each replica alone, in the order of their ids.
    pub fn replicas(&self) -> Result<Vec<Client>, Failure> {
        let config = Config::from_kubeconfig(Some(&self.dir.join("kubeconfig")))?;
        let count = self.processes()?.iter().filter(|name| name.starts_with("replica-")).count();
        // Behind the replicas' own addresses may stand that of an agent's proxy.
        let alone = config.addresses.iter().take(count).map(|address| {
            let config = Config { addresses: vec![address.clone()], timeout: ASK_DEADLINE, ..config.clone() };
            Ok(Client::connect(config)?)
        });
        alone.collect()
    }

    /// Waits until all `replicas` answer, agree on who leads, reach each other, and have caught up.
    pub async fn settled(&self, replicas: &[Client]) -> Result<Lead, Failure> {
        let deadline = Instant::now() + SETTLED_DEADLINE;
        loop {
            let replies = futures::future::try_join_all(replicas.iter().map(Client::status)).await;
            if let Some(lead) = replies.ok().as_deref().and_then(agreed) {
                return Ok(lead);
            }
            if Instant::now() > deadline {
                return Err(format!("the replicas did not settle within {SETTLED_DEADLINE:?}").into());
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

fn agreed(replies: &[StatusReply]) -> Option<Lead> {
    let lead = |reply: &StatusReply| Lead { replica: reply.leader, term: reply.term };
    let first = lead(replies.first()?);
    let well = |reply: &StatusReply| {
        reply.replicas.iter().all(|replica| replica.reachable && (0..BEHIND_MAX).contains(&replica.lag))
    };
    (first.replica != 0 && replies.iter().all(|reply| lead(reply) == first && well(reply))).then_some(first)
}

#[cfg(test)]
mod tests {
    use proto::api::ReplicaStatus;

    use super::*;

    fn says(leader: u64, term: u64, lag: i64) -> StatusReply {
        let replicas = vec![ReplicaStatus { reachable: true, lag, ..ReplicaStatus::default() }];
        StatusReply { leader, term, replicas, ..StatusReply::default() }
    }

    #[test]
    fn a_leader_is_one_for_all() {
        assert_eq!(agreed(&[says(2, 5, 0), says(2, 5, 3)]), Some(Lead { replica: 2, term: 5 }));
        assert_eq!(agreed(&[says(1, 4, 0), says(2, 5, 0)]), None, "one was frozen and still believes in itself");
        assert_eq!(agreed(&[says(0, 5, 0), says(0, 5, 0)]), None, "nobody leads");
        assert_eq!(agreed(&[says(2, 5, 0), says(2, 5, BEHIND_MAX)]), None, "one is behind");
        assert_eq!(agreed(&[]), None);
    }
}
