//! Which addresses of a subnet are whose. Pure.

use std::net::Ipv4Addr;

/// A smaller subnet is left to the engine as a whole.
const PREFIX_MAX: u8 = 28;

/// A subnet cut in two: the engine gives out the upper half, agents the lower one without its first two addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Halves {
    pub gateway: Ipv4Addr,
    pub prefix: u8,
    pub first: Ipv4Addr,
    pub last: Ipv4Addr,
    base: u32,
}

impl Halves {
    /// `None` when it is no IPv4 subnet, or too small to be cut.
    pub fn of(subnet: &str) -> Option<Halves> {
        let (address, prefix) = subnet.split_once('/')?;
        let prefix: u8 = prefix.parse().ok().filter(|prefix| (1..=PREFIX_MAX).contains(prefix))?;
        let size = 1u32 << (32 - prefix);
        let base = u32::from(address.parse::<Ipv4Addr>().ok()?) & !(size - 1);
        Some(Halves {
            gateway: Ipv4Addr::from(base + 1),
            prefix,
            first: Ipv4Addr::from(base + 2),
            last: Ipv4Addr::from(base + size / 2 - 1),
            base,
        })
    }

    /// The half that the engine gives out.
    pub fn of_engine(&self) -> String {
        let middle = self.base + (1u32 << (31 - self.prefix));
        format!("{}/{}", Ipv4Addr::from(middle), self.prefix + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_is_cut_in_two() {
        let halves = Halves::of("10.244.0.0/16").unwrap();
        assert_eq!((halves.gateway, halves.prefix), ([10, 244, 0, 1].into(), 16));
        assert_eq!((halves.first, halves.last), ([10, 244, 0, 2].into(), [10, 244, 127, 255].into()));
        assert_eq!(halves.of_engine(), "10.244.128.0/17");
        let small = Halves::of("192.168.7.16/28").unwrap();
        assert_eq!((small.first, small.last), ([192, 168, 7, 18].into(), [192, 168, 7, 23].into()));
        assert_eq!(small.of_engine(), "192.168.7.24/29");
        // Any address of the subnet names it.
        assert_eq!(Halves::of("10.244.9.9/16"), Some(halves));
    }

    #[test]
    fn what_cannot_be_cut_is_left_whole() {
        for subnet in ["10.0.0.0/29", "10.0.0.0/0", "10.0.0.0/33", "fd00::/64", "10.0.0.0", "", "x/16"] {
            assert_eq!(Halves::of(subnet), None, "{subnet}");
        }
    }
}
