//! The files of `/etc` that tell a Pod of its network. Pure.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

pub const NAMES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

/// What a Pod is called, and whom it asks for names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub hostname: String,
    /// `name:address`.
    pub hosts: Vec<String>,
    pub resolver: Resolver,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    pub servers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

impl Names {
    /// Names and contents of the files of a Pod with this address.
    pub fn files(&self, address: Ipv4Addr) -> [(&'static str, String); 3] {
        let [hosts, hostname, resolver] = NAMES;
        [(hosts, self.hosts(address)), (hostname, format!("{}\n", self.hostname)), (resolver, self.resolver.text())]
    }

    fn hosts(&self, address: Ipv4Addr) -> String {
        let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
        let _ = writeln!(text, "{address}\t{}", self.hostname);
        for (name, address) in self.hosts.iter().filter_map(|entry| entry.split_once(':')) {
            let _ = writeln!(text, "{address}\t{name}");
        }
        text
    }
}

impl Resolver {
    /// What of a host's `resolv.conf` is of use in a Pod: servers on the loopback are not.
    pub fn parse(text: &str) -> Resolver {
        let mut resolver = Resolver::default();
        for line in text.lines() {
            let mut words = line.split_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => resolver.servers.extend(words.next().filter(|server| is_reachable(server))),
                // The last one counts.
                Some("search" | "domain") => resolver.searches = words.collect(),
                Some("options") => resolver.options.extend(words),
                _ => {}
            }
        }
        resolver
    }

    /// What the Pod asks for comes first, the rest is the host's.
    pub fn or(mut self, host: &Resolver) -> Resolver {
        if self.servers.is_empty() {
            self.servers = host.servers.clone();
        }
        if self.searches.is_empty() {
            self.searches = host.searches.clone();
        }
        if self.options.is_empty() {
            self.options = host.options.clone();
        }
        self
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for server in &self.servers {
            let _ = writeln!(text, "nameserver {server}");
        }
        for (word, list) in [("search", &self.searches), ("options", &self.options)] {
            if !list.is_empty() {
                let _ = writeln!(text, "{word} {}", list.join(" "));
            }
        }
        text
    }
}

fn is_reachable(server: &str) -> bool {
    // A zone (`fe80::1%eth0`) names an interface of the host.
    server.parse::<IpAddr>().is_ok_and(|server| !server.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_sees_its_name_its_aliases_and_the_hosts_resolver() {
        let host = Resolver::parse(
            "# made by hand\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nnameserver fe80::1%eth0\n\
             domain old.example\nsearch lab.example example\noptions ndots:2 edns0\n",
        );
        let names = Names {
            hostname: "web-0".into(),
            hosts: vec!["db:10.1.2.3".into(), "six:fd00::6".into()],
            resolver: Resolver { options: vec!["ndots:5".into()], ..Resolver::default() }.or(&host),
        };
        let [(_, hosts), (_, hostname), (_, resolver)] = names.files([10, 244, 0, 9].into());
        assert_eq!(
            hosts,
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n10.244.0.9\tweb-0\n10.1.2.3\tdb\nfd00::6\tsix\n"
        );
        assert_eq!(hostname, "web-0\n");
        assert_eq!(resolver, "nameserver 10.0.0.2\nsearch lab.example example\noptions ndots:5\n");
    }
}
