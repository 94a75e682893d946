//! May this agent make interfaces for the engine's containers? Acts (reads only).

use std::path::Path;

use nix::net::if_::if_nametoindex;
use tokio::net::UnixStream;

use super::files::Resolver;

/// Bits of `CapEff` in `/proc/<pid>/status`.
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const RESOLVERS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// Why the engine has to do it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Obstacle {
    #[error("the network was not made for it (remove it, and an agent makes it anew)")]
    Network,
    #[error("the agent may not enter network namespaces (it lacks CAP_NET_ADMIN or CAP_SYS_ADMIN)")]
    Capabilities,
    #[error("the agent does not see the engine's processes")]
    Processes,
    #[error("the agent is not on the engine's network")]
    Namespace,
    #[error("the bridge {0} is not on this host")]
    Bridge(String),
    #[error("the host's own resolver listens on the loopback only, where Pods do not reach it")]
    Resolver,
}

/// What the host's resolver tells Pods, or the reason why the agent leaves interfaces to the engine at this socket.
pub async fn obstacle(socket: &str, bridge: &str) -> Result<Resolver, Obstacle> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if !may(&status) {
        return Err(Obstacle::Capabilities);
    }
    // Whoever listens on the socket: pid 0, or none, when it is not in this agent's process namespace.
    let peer = UnixStream::connect(socket).await.and_then(|stream| stream.peer_cred());
    let pid = peer.ok().and_then(|peer| peer.pid()).filter(|pid| *pid > 0).ok_or(Obstacle::Processes)?;
    let namespace = |pid: &str| std::fs::read_link(Path::new("/proc").join(pid).join("ns/net")).ok();
    let of_engine = namespace(&pid.to_string()).ok_or(Obstacle::Processes)?;
    if namespace("self") != Some(of_engine) {
        return Err(Obstacle::Namespace);
    }
    if if_nametoindex(bridge).is_err() {
        return Err(Obstacle::Bridge(bridge.to_owned()));
    }
    let read = RESOLVERS.iter().filter_map(|path| std::fs::read_to_string(path).ok());
    read.map(|text| Resolver::parse(&text)).find(|resolver| !resolver.servers.is_empty()).ok_or(Obstacle::Resolver)
}

fn may(status: &str) -> bool {
    let bits = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0);
    [CAP_NET_ADMIN, CAP_SYS_ADMIN].iter().all(|bit| bits & (1 << bit) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_capabilities_are_needed() {
        let status = |bits: &str| format!("Name:\tkontiki\nCapInh:\tffffffffffffffff\nCapEff:\t{bits}\nSeccomp:\t0\n");
        assert!(may(&status("000001ffffffffff")));
        assert!(may(&status("0000000000201000")));
        assert!(!may(&status("0000000000200000")), "only CAP_SYS_ADMIN");
        assert!(!may(&status("00000000a80425fb")), "what an engine gives a container");
        assert!(!may(""));
    }
}
