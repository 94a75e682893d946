//! A cluster's directory: its processes by pid, and clients to it. Acts.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use client::{Client, Config};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use crate::Failure;

pub struct Cluster {
    dir: PathBuf,
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

    /// Waits until there is a leader, and every replica is reachable and has caught up. Returns the leader.
    pub async fn settled(&self, client: &Client) -> Result<u64, Failure> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Ok(status) = client.status().await
                && status.leader != 0
                && status.replicas.iter().all(|replica| replica.reachable && (0..100).contains(&replica.lag))
            {
                return Ok(status.leader);
            }
            if Instant::now() > deadline {
                return Err("the replicas did not settle within 60 s".into());
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}
