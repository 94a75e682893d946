//! The interfaces of Pods, where the agent makes them itself: half of what the engine's own way costs. Acts.
//!
//! The network is still the engine's: its bridge, its gateway, its way out. It gives out the upper half of the subnet,
//! agents the lower one ([`range`], pure). What Pods need to know of their network is in [`files`] (pure), an address
//! belongs to whoever made its directory and is named in it ([`leases`]), and [`wire`] makes the interface.

mod files;
mod host;
mod leases;
mod range;
mod wire;

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

pub use files::{Names, Resolver};
pub use host::{Obstacle, obstacle};
pub use range::Halves;

use leases::Leases;
use wire::Link;

/// Where leases are: gone after a restart of the host, as the interfaces are.
const STATE_DIR: &str = "/run/kontiki/networks";
/// Says for which container the interface stands.
const WIRED: &str = "wired";

/// An address that was given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The last part of its path is the address.
    pub dir: PathBuf,
    /// The name of the container that has it, as the engine knows it. No two attempts of a container have the same.
    pub owner: String,
}

/// One network of the engine whose lower half is given out by agents.
#[derive(Debug)]
pub struct PodNetwork {
    bridge: String,
    mtu: u32,
    halves: Halves,
    leases: Leases,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the Pod network has no address left")]
    NoAddress,
    #[error("the Pod's network files cannot be written to {path}")]
    Files {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the Pod's network interface cannot be made: {0}")]
    Wire(String),
}

impl PodNetwork {
    /// `id` is the engine's own: two engines of one host, or two lives of a network, never share a lease.
    pub fn new(id: &str, bridge: String, mtu: u32, halves: Halves) -> PodNetwork {
        let leases = Leases::new(Path::new(STATE_DIR).join(id), halves.first, halves.last);
        PodNetwork { bridge, mtu, halves, leases }
    }

    /// Takes an address for the container of this name, and writes its files.
    pub fn lease(&self, owner: &str, names: &Names) -> Result<Lease, Error> {
        let failed = |source| Error::Files { path: self.leases.dir().to_owned(), source };
        let address = self.leases.take(owner).map_err(failed)?.ok_or(Error::NoAddress)?;
        let lease = Lease { dir: self.leases.path(address), owner: owner.to_owned() };
        for (name, text) in names.files(address) {
            if let Err(source) = std::fs::write(lease.dir.join(name), text) {
                let _ = release(&lease);
                return Err(failed(source));
            }
        }
        Ok(lease)
    }

    /// `held`: the leases of all containers that there are, the newest container first. Each keeps its address, unless
    /// somebody else has it; every other lease is freed that is not of this very moment.
    pub fn reclaim(&self, held: &[Lease]) -> io::Result<usize> {
        self.leases.reclaim(held)
    }

    /// Gives the network namespace of this process the lease's address. Done again, it fails; a container is wired once.
    pub async fn wire(&self, lease: &Path, container: &str, pid: i32) -> Result<(), Error> {
        let address = address(lease).ok_or_else(|| Error::Wire(format!("{} is no lease", lease.display())))?;
        let link = Link {
            pid,
            host_name: link_name(container),
            bridge: self.bridge.clone(),
            address,
            gateway: self.halves.gateway,
            prefix: self.halves.prefix,
            mtu: self.mtu,
        };
        wire::wire(link).await.map_err(Error::Wire)?;
        let path = lease.join(WIRED);
        std::fs::write(&path, container).map_err(|source| Error::Files { path, source })
    }
}

/// The address of a lease whose interface stands.
pub fn wired(lease: &Path, container: &str) -> Option<Ipv4Addr> {
    let said = std::fs::read_to_string(lease.join(WIRED)).ok()?;
    // The kernel removes the interface with its namespace: a container that was started again has none.
    nix::net::if_::if_nametoindex(link_name(container).as_str()).ok()?;
    (said == container).then(|| address(lease)).flatten()
}

/// Ends a lease. One that is not there is no error, and one that is not its owner's any more is left alone. So is one that
/// names no owner: it is either being made, or [`PodNetwork::reclaim`] will see to it.
pub fn release(lease: &Lease) -> io::Result<()> {
    match std::fs::read_to_string(lease.dir.join(leases::OWNER)) {
        Ok(owner) if owner == lease.owner => clear(&lease.dir),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn clear(lease: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(lease) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The files that the Pod's containers see, and where.
pub fn mounts(lease: &Path) -> Vec<(PathBuf, String)> {
    files::NAMES.iter().map(|name| (lease.join(name), format!("/etc/{name}"))).collect()
}

fn address(lease: &Path) -> Option<Ipv4Addr> {
    lease.file_name()?.to_str()?.parse().ok()
}

/// The host's end of the pair. An interface's name has at most 15 characters.
fn link_name(container: &str) -> String {
    format!("kp{}", &container[..container.len().min(12)])
}
