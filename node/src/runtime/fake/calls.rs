//! The calls of the runtime in memory.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use proto::seam::Stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::broadcast;

use super::super::{
    AttachSpec, Change, Chunk, Container, ContainerId, ContainerSpec, Credentials, Error, Event, ExecSpec, Image, Info,
    Labels, Listed, LogsSpec, Network, NetworkSpec, Owner, Process, Resize, Role, Runtime, Signal, StartError, State,
};
use super::Fake;

/// After this a look at a hidden container is given up.
const LOOK_MAX: Duration = Duration::from_secs(10);

#[async_trait]
impl Runtime for Fake {
    async fn info(&self) -> Result<Info, Error> {
        self.enter("info", "").await?;
        Ok(Info {
            version: "docker://20.10.24".into(),
            os_image: "Simulated".into(),
            kernel: "6.1".into(),
            architecture: "amd64".into(),
            cpus: 4,
            memory_bytes: 8 << 30,
            root_dir: "/var/lib/docker".into(),
        })
    }

    async fn ping(&self) -> Result<(), Error> {
        let longest = Duration::from_secs(2);
        match tokio::time::timeout(longest, self.enter("ping", "")).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Deadline { what: "answer a ping", after_ms: longest.as_millis() as u64 }),
        }
    }

    async fn ensure_network(&self, network: &NetworkSpec) -> Result<(), Error> {
        self.enter("network", &network.name).await?;
        self.world().networks.insert(network.name.clone());
        Ok(())
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId, Error> {
        self.enter("create", &spec.name).await?;
        let at = self.now();
        let mut world = self.world();
        if !world.images.contains(&spec.image) {
            return Err(Error::NoSuchImage(format!("No such image: {}", spec.image)));
        }
        if world.names.contains_key(&spec.name) {
            return Err(Error::Conflict(format!("the name {} is in use", spec.name)));
        }
        world.made += 1;
        let number = world.made;
        let id = ContainerId(format!("{number:064x}"));
        let ip = matches!(spec.network, Network::Pod(_))
            .then(|| IpAddr::V4(Ipv4Addr::new(10, 244, (number >> 8) as u8, number as u8)));
        let container = Container {
            id: id.clone(),
            labels: spec.labels.clone(),
            state: State::Created { at, error: None },
            image_id: format!("sha256:{}", spec.image),
            ip,
            tty: spec.tty,
        };
        world.names.insert(spec.name.clone(), id.clone());
        world.containers.insert(id.clone(), (spec.clone(), container));
        Ok(id)
    }

    async fn start(&self, id: &ContainerId) -> Result<(), Error> {
        self.enter("start", &id.0).await?;
        let now = self.now();
        let mut guard = self.world();
        let world = &mut *guard;
        let Some((spec, container)) = world.containers.get_mut(id) else { return Err(Fake::no_container(id)) };
        let script = world.scripts.get(&spec.image).cloned().unwrap_or_default();
        if let Some(message) = script.cannot_start {
            let error = StartError { exit_code: 127, message: message.clone() };
            container.state = State::Created { at: now, error: Some(error) };
            return Err(Error::Refused(message));
        }
        container.state = State::Running { started_at: now };
        let labels = container.labels.clone();
        let same = |other: &Container| {
            other.labels.pod_uid == labels.pod_uid
                && other.labels.container == labels.container
                && matches!(other.state, State::Running { .. })
        };
        if world.containers.values().filter(|(_, other)| same(other)).count() > 1 {
            world.doubles.push(format!("{} of {}", labels.container, labels.pod_name));
        }
        drop(guard);
        self.emit(id, labels, Change::Started);
        if let Some((after, code)) = script.exits {
            let (fake, id) = (self.clone(), id.clone());
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                fake.exit(&id, code);
            });
        }
        Ok(())
    }

    async fn signal(&self, id: &ContainerId, signal: Signal) -> Result<(), Error> {
        self.enter("signal", &format!("{signal:?} {id}")).await?;
        let (ignores, role) = {
            let world = self.world();
            let Some((spec, container)) = world.containers.get(id) else { return Ok(()) };
            let script = world.scripts.get(&spec.image);
            (script.is_some_and(|script| script.ignores_stop), container.labels.role)
        };
        match signal {
            Signal::Kill => self.exit(id, 137),
            Signal::Stop if ignores && role != Role::Pause => {}
            Signal::Stop => self.exit(id, 143),
        }
        Ok(())
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), Error> {
        self.enter("remove", &id.0).await?;
        self.lose(id);
        Ok(())
    }

    async fn inspect(&self, id: &ContainerId) -> Result<Option<Container>, Error> {
        self.enter("inspect", &id.0).await?;
        if self.world().hidden.contains(id) {
            tokio::time::sleep(LOOK_MAX).await;
            return Err(Error::Deadline { what: "inspect a container", after_ms: LOOK_MAX.as_millis() as u64 });
        }
        let world = self.world();
        // As engines do, it also answers to a name.
        let id = world.names.get(&id.0).unwrap_or(id);
        Ok(world.containers.get(id).map(|(_, container)| container.clone()))
    }

    async fn list(&self, owner: &Owner) -> Result<Vec<Listed>, Error> {
        self.enter("list", "").await?;
        let world = self.world();
        let own = world.containers.values().map(|(_, container)| container);
        let own = own.filter(|container| container.labels.belongs_to(owner));
        let listed = own.map(|container| Listed {
            id: container.id.clone(),
            pod_uid: container.labels.pod_uid.clone(),
            running: matches!(container.state, State::Running { .. }),
        });
        Ok(listed.collect())
    }

    async fn events(&self, owner: &Owner, _: Option<i64>) -> Result<BoxStream<'static, Result<Event, Error>>, Error> {
        self.enter("events", "").await?;
        let owner = owner.clone();
        let next = |(mut receiver, owner): (broadcast::Receiver<(Labels, Event)>, Owner)| async move {
            loop {
                // One that has fallen behind ends: whoever follows subscribes again and lists.
                let (labels, event) = receiver.recv().await.ok()?;
                if labels.belongs_to(&owner) {
                    return Some((Ok(event), (receiver, owner)));
                }
            }
        };
        Ok(stream::unfold((self.0.events.subscribe(), owner), next).boxed())
    }

    async fn has_image(&self, name: &str) -> Result<bool, Error> {
        self.enter("has_image", name).await?;
        Ok(self.world().images.contains(name))
    }

    async fn image_user(&self, name: &str) -> Result<Option<String>, Error> {
        self.enter("image_user", name).await?;
        Ok(None)
    }

    async fn images(&self) -> Result<Vec<Image>, Error> {
        self.enter("images", "").await?;
        let world = self.world();
        Ok(world.images.iter().map(|name| Image { names: vec![name.clone()], size_bytes: 1 << 20 }).collect())
    }

    async fn pull(&self, name: &str, _: Option<&Credentials>) -> Result<(), Error> {
        self.enter("pull", name).await?;
        if self.world().images.contains(name) {
            return Ok(());
        }
        Err(Error::Refused(format!("pull access denied for {name}, repository does not exist")))
    }

    async fn remove_volume(&self, name: &str) -> Result<(), Error> {
        self.enter("remove_volume", name).await?;
        self.world().volumes_removed.push(name.to_owned());
        Ok(())
    }

    /// `true` succeeds, `false` fails, `echo …` says it, `cat` gives stdin back, `exit <code>` exits so.
    async fn exec(&self, id: &ContainerId, spec: &ExecSpec) -> Result<Process, Error> {
        self.enter("exec", &format!("{id} {}", spec.command.join(" "))).await?;
        if !self.running().iter().any(|container| container.id == *id) {
            return Err(Error::Conflict(format!("container {id} is not running")));
        }
        let (near, far) = tokio::io::duplex(4096);
        let words: Vec<&str> = spec.command.iter().map(String::as_str).collect();
        let (output, code): (BoxStream<'static, _>, i32) = match words.as_slice() {
            ["true"] => (stream::empty().boxed(), 0),
            ["false"] => (stream::empty().boxed(), 1),
            ["exit", code] => (stream::empty().boxed(), code.parse().unwrap_or(1)),
            ["echo", rest @ ..] => {
                let text = Bytes::from(format!("{}\n", rest.join(" ")));
                (stream::once(async move { Ok(Chunk::Stdout(text)) }).boxed(), 0)
            }
            ["cat"] => {
                let read = |mut far: tokio::io::DuplexStream| async move {
                    let mut buffer = vec![0; 1024];
                    match far.read(&mut buffer).await {
                        Ok(count) if count > 0 => {
                            buffer.truncate(count);
                            Some((Ok(Chunk::Stdout(Bytes::from(buffer))), far))
                        }
                        _ => None,
                    }
                };
                return Ok(Process {
                    input: Box::pin(near),
                    output: stream::unfold(far, read).boxed(),
                    control: Box::new(Ended(Some(0))),
                });
            }
            _ => return Err(Error::Refused(format!("exec: {:?}: not found", spec.command))),
        };
        drop(far);
        Ok(Process { input: Box::pin(near), output, control: Box::new(Ended(Some(code))) })
    }

    async fn attach(&self, id: &ContainerId, _: &AttachSpec) -> Result<Process, Error> {
        self.enter("attach", &id.0).await?;
        let (near, _far) = tokio::io::duplex(4096);
        Ok(Process { input: Box::pin(near), output: stream::empty().boxed(), control: Box::new(Ended(None)) })
    }

    async fn logs(&self, id: &ContainerId, spec: &LogsSpec) -> Result<BoxStream<'static, Result<Chunk, Error>>, Error> {
        self.enter("logs", &id.0).await?;
        let text = {
            let world = self.world();
            let Some((container, _)) = world.containers.get(id) else { return Err(Fake::no_container(id)) };
            world.scripts.get(&container.image).map(|script| script.logs.clone()).unwrap_or_default()
        };
        let lines: Vec<String> = text.lines().map(|line| format!("{line}\n")).collect();
        let skip = spec.tail_lines.map_or(0, |tail| lines.len().saturating_sub(tail as usize));
        let chunks: Vec<_> = lines.into_iter().skip(skip).map(|line| Ok(Chunk::Stdout(Bytes::from(line)))).collect();
        Ok(stream::iter(chunks).boxed())
    }

    /// Every running Pod answers HTTP requests with 200, on any port.
    async fn dial(&self, address: SocketAddr) -> io::Result<Box<dyn Stream>> {
        if !self.running().iter().any(|container| container.ip == Some(address.ip())) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (near, mut far) = tokio::io::duplex(4096);
        tokio::spawn(async move {
            let mut buffer = [0; 1024];
            if far.read(&mut buffer).await.is_ok() {
                let _ = far.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
            }
        });
        Ok(Box::new(near))
    }
}

struct Ended(Option<i32>);

#[async_trait]
impl Resize for Ended {
    async fn resize(&self, _: u16, _: u16) -> Result<(), Error> {
        Ok(())
    }

    async fn exit_code(&self) -> Result<Option<i32>, Error> {
        Ok(self.0)
    }
}
