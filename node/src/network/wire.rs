//! Makes the interface of one Pod: a veth pair, one end in the Pod's network namespace, the other in the bridge. Acts.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use futures::TryStreamExt as _;
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, setns};
use rtnetlink::packet_route::link::InfoData;
use rtnetlink::packet_route::link::InfoVeth;
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tokio::sync::oneshot;

/// The kernel's lock of all interfaces is taken several times; on a busy host each may wait.
const WIRE_MAX: Duration = Duration::from_secs(30);
const POD_LINK: &str = "eth0";
/// For the moment that it is still in the Pod's namespace.
const DISABLE_IPV6: &str = "/proc/sys/net/ipv6/conf/default/disable_ipv6";

pub struct Link {
    /// A process in the Pod's network namespace.
    pub pid: i32,
    /// The name of the host's end.
    pub host_name: String,
    pub bridge: String,
    pub address: Ipv4Addr,
    pub gateway: Ipv4Addr,
    pub prefix: u8,
    pub mtu: u32,
}

/// A thread of its own enters the Pod's namespace, and ends there: no other work may ever run on it.
pub async fn wire(link: Link) -> Result<(), String> {
    let (done, result) = oneshot::channel();
    let thread = std::thread::Builder::new().name("wire-pod".into());
    let run = move || {
        let _ = done.send(make(&link));
    };
    thread.spawn(run).map_err(|error| format!("no thread for it: {error}"))?;
    match tokio::time::timeout(WIRE_MAX, result).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err("its thread died".into()),
        Err(_) => Err(format!("not done within {} s", WIRE_MAX.as_secs())),
    }
}

fn make(link: &Link) -> Result<(), String> {
    let said = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let bridge =
        if_nametoindex(link.bridge.as_str()).map_err(|error| format!("the bridge {}: {error}", link.bridge))?;
    let host_namespace = File::open("/proc/thread-self/ns/net").map_err(said("the host's network namespace"))?;
    let pod_namespace =
        File::open(format!("/proc/{}/ns/net", link.pid)).map_err(said("the Pod's network namespace"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(said("a runtime"))?;
    runtime.block_on(async {
        // A socket stays in the namespace that it was made in.
        let host = connect().map_err(said("netlink"))?;
        setns(&pod_namespace, CloneFlags::CLONE_NEWNET).map_err(|error| format!("entering the namespace: {error}"))?;
        let pod = connect().map_err(said("netlink"))?;
        inside(&pod, link, &host_namespace).await.map_err(|error| format!("in the Pod: {error}"))?;
        let own_end = LinkUnspec::new_with_name(&link.host_name).controller(bridge).up().build();
        host.link().set(own_end).execute().await.map_err(|error| format!("into the bridge: {error}"))
    })
}

fn connect() -> io::Result<Handle> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    // It ends with the runtime.
    tokio::spawn(connection);
    Ok(handle)
}

async fn inside(pod: &Handle, link: &Link, host_namespace: &File) -> Result<(), rtnetlink::Error> {
    // Pods speak IPv4: no interface of theirs sends router solicitations. Where IPv6 is off altogether, so is this file.
    let _ = std::fs::write(DISABLE_IPV6, "1");
    let peer = LinkMessageBuilder::<LinkUnspec>::new()
        .name(link.host_name.clone())
        .mtu(link.mtu)
        .setns_by_fd(host_namespace.as_raw_fd())
        .build();
    let pair = LinkMessageBuilder::<LinkVeth>::new(POD_LINK, &link.host_name)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .address(mac(link.address))
        .mtu(link.mtu)
        .up()
        .build();
    pod.link().add(pair).execute().await?;
    let found = pod.link().get().match_name(POD_LINK.to_owned()).execute().try_next().await?;
    let index = found.ok_or(rtnetlink::Error::RequestFailed)?.header.index;
    pod.address().add(index, link.address.into(), link.prefix).execute().await?;
    pod.link().set(LinkUnspec::new_with_name("lo").up().build()).execute().await?;
    let way_out = RouteMessageBuilder::<Ipv4Addr>::new().gateway(link.gateway).output_interface(index).build();
    pod.route().add(way_out).execute().await
}

/// Follows from the address: who has spoken with the address before finds its next owner at once.
fn mac(address: Ipv4Addr) -> Vec<u8> {
    [&[0x0a, 0x58], &address.octets()[..]].concat()
}
