//! Where a replica is reached: `host:port`. What is wrong with such an address, in words. Pure.

use std::net::{IpAddr, Ipv6Addr};

/// What a name in the DNS may take.
const HOST_BYTES_MAX: usize = 253;

/// `None`: nothing is wrong.
pub fn fault(address: &str) -> Option<String> {
    let parts = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    match parts.map(|(host, port)| (host, port.parse::<u16>())) {
        Some((host, Ok(1..))) => host_fault(host),
        _ => Some("it is not of the form host:port".into()),
    }
}

/// An IP address, of version 6 with or without brackets, or a name. Names of containers, with an underscore, are names too.
pub fn host_fault(host: &str) -> Option<String> {
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if host.parse::<IpAddr>().is_ok() || bracketed.is_some_and(|bare| bare.parse::<Ipv6Addr>().is_ok()) {
        return None;
    }
    if host.is_empty() {
        return Some("the host is empty".into());
    }
    if host.len() > HOST_BYTES_MAX {
        return Some(format!("the host is longer than {HOST_BYTES_MAX} bytes"));
    }
    let odd = host.chars().find(|c| !c.is_ascii_alphanumeric() && !"-_.".contains(*c))?;
    Some(format!("{odd:?} cannot stand in the name or the IP address of a host"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_ip_address() {
        for host in ["10.0.0.7", "::1", "[2001:db8::7]", "replica-1", "kontiki_replica_1", "Replica.example.com"] {
            assert_eq!(host_fault(host), None);
            assert_eq!(fault(&format!("{host}:6444")), None);
        }
        for (host, odd) in [
            ("no such host", "' '"),
            ("replica-1/", "'/'"),
            ("replica-{}", "'{'"),
            ("größe", "'ö'"),
            ("host:6443", "':'"),
            ("fe80::1%eth0", "':'"),
            ("[10.0.0.7]", "'['"),
            ("a\n", r"'\n'"),
        ] {
            let why = host_fault(host).expect(host);
            assert!(why.starts_with(odd), "{host}: {why}");
            assert_eq!(fault(&format!("{host}:6444")), Some(why));
        }
        assert!(host_fault("").unwrap().contains("empty"));
        assert_eq!(host_fault(&"a".repeat(253)), None);
        assert!(host_fault(&"a".repeat(254)).unwrap().contains("longer"));
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for wrong in ["", "host", "host:", ":6444", "host:0", "host:70000"] {
            assert_eq!(fault(wrong).as_deref(), Some("it is not of the form host:port"), "{wrong:?}");
        }
    }
}
