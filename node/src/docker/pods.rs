//! Sandboxes whose network interface the agent makes itself. Acts.
//!
//! The engine starts them without any network of its own, which spares it most of the work of a start. Where the agent
//! may not do that, and for Pods with ports of the host, the engine does all of it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bollard::models::{ContainerCreateBody, MountType};
use bollard::query_parameters::{InspectNetworkOptions, ListContainersOptionsBuilder};

use super::{READ_MAX, calls, inspect, translate, within};
use crate::network::{self, Halves, Lease, Names, PodNetwork, Resolver};
use crate::runtime::{ContainerId, ContainerSpec, Error, Network, NetworkSpec};

/// The label of a sandbox with the directory of its lease.
pub const LEASE: &str = "io.kontiki.pod.lease";
const BRIDGE_OPTION: &str = "com.docker.network.bridge.name";
const MTU_OPTION: &str = "com.docker.network.driver.mtu";
const MTU: u32 = 1500;

/// A network whose interfaces the agent makes, and what its Pods are told by default.
struct Own {
    network: PodNetwork,
    resolver: Resolver,
}

#[derive(Default)]
pub struct Pods {
    /// The network that was looked at last, by its name. `None` in it: the engine does it all.
    found: tokio::sync::Mutex<Option<(String, Option<Arc<Own>>)>>,
    /// The leases of sandboxes; `None` for one that has its network from the engine.
    leases: Mutex<BTreeMap<ContainerId, Option<Lease>>>,
}

impl Pods {
    /// The engine has come (back) to life: what was known of its network may be wrong.
    pub async fn ensure_network(
        &self,
        engine: &bollard::Docker,
        socket: &str,
        network: &NetworkSpec,
    ) -> Result<(), Error> {
        calls::ensure_network(engine, network).await?;
        let mut found = self.found.lock().await;
        *found = None;
        self.look(&mut found, engine, socket, &network.name).await.map(|_| ())
    }

    async fn own(&self, engine: &bollard::Docker, socket: &str, name: &str) -> Result<Option<Arc<Own>>, Error> {
        self.look(&mut *self.found.lock().await, engine, socket, name).await
    }

    async fn look(
        &self,
        found: &mut Option<(String, Option<Arc<Own>>)>,
        engine: &bollard::Docker,
        socket: &str,
        name: &str,
    ) -> Result<Option<Arc<Own>>, Error> {
        if let Some((_, own)) = found.as_ref().filter(|(known, _)| known == name) {
            return Ok(own.clone());
        }
        let own = match discover(engine, socket, name).await? {
            Ok(own) => {
                self.recall(engine, &own.network).await?;
                tracing::info!(network = name, "the agent makes the Pods' network interfaces");
                Some(Arc::new(own))
            }
            Err(obstacle) => {
                tracing::info!(network = name, reason = %obstacle, "the engine makes the Pods' network interfaces");
                None
            }
        };
        *found = Some((name.to_owned(), own.clone()));
        Ok(own)
    }

    /// Leases that this agent, or another one of the engine, has given out before.
    async fn recall(&self, engine: &bollard::Docker, network: &PodNetwork) -> Result<(), Error> {
        let filters = HashMap::from([("label".to_owned(), vec![LEASE.to_owned()])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let mut listed = within("list containers", READ_MAX, engine.list_containers(Some(options))).await?;
        listed.sort_by_key(|container| Reverse(container.created));
        let leases = listed.into_iter().filter_map(|container| {
            let dir = PathBuf::from(container.labels?.remove(LEASE)?);
            let owner = bare(container.names?.first()?);
            Some((ContainerId(container.id?), Lease { dir, owner }))
        });
        let leases: Vec<_> = leases.collect();
        let held: Vec<Lease> = leases.iter().map(|(_, lease)| lease.clone()).collect();
        match network.reclaim(&held) {
            Ok(0) => {}
            Ok(freed) => tracing::info!(freed, "leases of Pod addresses without a container are freed"),
            Err(error) => tracing::warn!(%error, "unused leases of Pod addresses could not be freed"),
        }
        self.known().extend(leases.into_iter().map(|(id, lease)| (id, Some(lease))));
        Ok(())
    }

    /// What to ask of the engine for this container.
    pub async fn create(
        &self,
        engine: &bollard::Docker,
        socket: &str,
        spec: &ContainerSpec,
    ) -> Result<ContainerId, Error> {
        let mut body = translate::body(spec);
        match &spec.network {
            Network::Pod(name) => {
                // Ports of the host are the engine's to forward.
                let own = if spec.ports.is_empty() { self.own(engine, socket, name).await? } else { None };
                let Some(own) = own else {
                    let id = calls::create(engine, spec, body).await?;
                    self.known().insert(id.clone(), None);
                    return Ok(id);
                };
                let lease = self.lease(engine, &own, spec).await?;
                without_network(&mut body, &lease.dir);
                match calls::create(engine, spec, body).await {
                    Ok(id) => {
                        self.known().insert(id.clone(), Some(lease));
                        Ok(id)
                    }
                    Err(error) => {
                        // The engine may make it all the same, later. Nobody starts such a container, and its removal
                        // frees no address that somebody else has by then.
                        release(&lease);
                        Err(error)
                    }
                }
            }
            Network::Container(sandbox) => {
                if let Some(lease) = self.lease_of(engine, sandbox).await? {
                    with_files(&mut body, &lease.dir);
                }
                calls::create(engine, spec, body).await
            }
            Network::Host => calls::create(engine, spec, body).await,
        }
    }

    pub async fn start(&self, engine: &bollard::Docker, socket: &str, id: &ContainerId) -> Result<(), Error> {
        calls::start(engine, id).await?;
        // Only a sandbox is known here, and one that was made before is never started again.
        let Some(lease) = self.known().get(id).cloned().flatten() else { return Ok(()) };
        let found = inspect::find(engine, id).await?;
        let pid = found.and_then(|found| found.state?.pid).filter(|pid| *pid > 0);
        let pid = pid.ok_or_else(|| Error::Refused("the Pod's sandbox ended before it had a network".into()))?;
        let name = self.found.lock().await.as_ref().map(|(name, _)| name.clone()).unwrap_or_default();
        let own = self.own(engine, socket, &name).await?;
        let own = own.ok_or_else(|| Error::Refused("the Pod network is not the agent's any more".into()))?;
        own.network.wire(&lease.dir, &id.0, pid as i32).await.map_err(|error| Error::Refused(error.to_string()))
    }

    pub async fn remove(&self, engine: &bollard::Docker, id: &ContainerId) -> Result<(), Error> {
        calls::remove(engine, id).await?;
        if let Some(lease) = self.known().remove(id).flatten() {
            release(&lease);
        }
        Ok(())
    }

    async fn lease(&self, engine: &bollard::Docker, own: &Own, spec: &ContainerSpec) -> Result<Lease, Error> {
        let asked = Resolver {
            servers: spec.dns_servers.clone(),
            searches: spec.dns_searches.clone(),
            options: spec.dns_options.clone(),
        };
        let names = Names {
            hostname: spec.hostname.clone().unwrap_or_default(),
            hosts: spec.extra_hosts.clone(),
            resolver: asked.or(&own.resolver),
        };
        let mut lease = own.network.lease(&spec.name, &names);
        if let Err(network::Error::NoAddress) = lease {
            self.recall(engine, &own.network).await?;
            lease = own.network.lease(&spec.name, &names);
        }
        lease.map_err(|error| Error::Refused(error.to_string()))
    }

    async fn lease_of(&self, engine: &bollard::Docker, sandbox: &ContainerId) -> Result<Option<Lease>, Error> {
        if let Some(lease) = self.known().get(sandbox) {
            return Ok(lease.clone());
        }
        let found = inspect::find(engine, sandbox).await?;
        let lease = found.and_then(|found| {
            let dir = PathBuf::from(found.config?.labels?.remove(LEASE)?);
            Some(Lease { dir, owner: bare(found.name.as_deref()?) })
        });
        self.known().insert(sandbox.clone(), lease.clone());
        Ok(lease)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<ContainerId, Option<Lease>>> {
        self.leases.lock().expect("nobody panics with it")
    }
}

async fn discover(engine: &bollard::Docker, socket: &str, name: &str) -> Result<Result<Own, network::Obstacle>, Error> {
    let inspect = engine.inspect_network(name, None::<InspectNetworkOptions>);
    let found = within("inspect the Pod network", READ_MAX, inspect).await?;
    let id = found.id.unwrap_or_default();
    let short = id.get(..12).unwrap_or(&id);
    let options = found.options.unwrap_or_default();
    let config = found.ipam.and_then(|ipam| ipam.config?.into_iter().next()).unwrap_or_default();
    let halves = config.subnet.as_deref().and_then(Halves::of);
    let Some(halves) = halves.filter(|halves| config.ip_range == Some(halves.of_engine())) else {
        return Ok(Err(network::Obstacle::Network));
    };
    let bridge = options.get(BRIDGE_OPTION).cloned().unwrap_or_else(|| format!("br-{short}"));
    let mtu = options.get(MTU_OPTION).and_then(|mtu| mtu.parse().ok()).unwrap_or(MTU);
    let resolver = network::obstacle(socket, &bridge).await;
    Ok(resolver.map(|resolver| Own { network: PodNetwork::new(short, bridge, mtu, halves), resolver }))
}

/// The engine puts a slash before a container's name.
fn bare(name: &str) -> String {
    name.trim_start_matches('/').to_owned()
}

fn without_network(body: &mut ContainerCreateBody, lease: &Path) {
    body.network_disabled = Some(true);
    body.labels.get_or_insert_default().insert(LEASE.to_owned(), lease.to_string_lossy().into_owned());
    let host = body.host_config.get_or_insert_default();
    // The agent has written them.
    (host.network_mode, host.extra_hosts, host.dns, host.dns_search, host.dns_options) = (None, None, None, None, None);
}

/// A mount of the container's own to the same place wins.
fn with_files(body: &mut ContainerCreateBody, lease: &Path) {
    let mounts = body.host_config.get_or_insert_default().mounts.get_or_insert_default();
    for (path, target) in network::mounts(lease) {
        if mounts.iter().all(|mount| mount.target.as_deref() != Some(&target)) {
            mounts.push(bollard::models::Mount {
                typ: Some(MountType::BIND),
                source: Some(path.to_string_lossy().into_owned()),
                target: Some(target),
                ..Default::default()
            });
        }
    }
}

fn release(lease: &Lease) {
    if let Err(error) = network::release(lease) {
        tracing::warn!(%error, lease = %lease.dir.display(), "a lease of a Pod address could not be freed");
    }
}
