//! Which addresses may be called. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far a client may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Model servers that an administrator named: loopback and private networks too, but never link-local or metadata addresses.
    Nodes,
    /// Addresses that come from users: public ones only.
    Public,
}

/// Why an address may not be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Only `http` and `https` are spoken.
    #[error("only http and https addresses can be called")]
    Scheme,
    /// Addresses of this network segment, where cloud providers serve machine credentials.
    #[error("link-local and cloud metadata addresses are never called")]
    Metadata,
    /// Multicast, broadcast, unspecified and reserved addresses.
    #[error("the address does not belong to one server")]
    NotUnicast,
    /// Loopback and private networks.
    #[error("private and loopback addresses cannot be called from here")]
    Private,
}

impl Reach {
    /// Decides about one resolved address.
    pub fn check(self, address: IpAddr) -> Result<(), Refusal> {
        let address = unwrapped(address);
        if is_metadata(address) {
            return Err(Refusal::Metadata);
        }
        // Linux connects the unspecified address to loopback, so it must not pass as "somewhere else".
        if address.is_unspecified() || address.is_multicast() || is_reserved(address) {
            return Err(Refusal::NotUnicast);
        }
        if self == Self::Public && is_private(address) {
            return Err(Refusal::Private);
        }
        Ok(())
    }
}

/// Returns the IPv4 address that an IPv6 form stands for (mapped, NAT64, 6to4), because that is where packets go.
fn unwrapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let segments = v6.segments();
    let embedded = |high: u16, low: u16| {
        IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
    };
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => embedded(high, low),
        // The deprecated "compatible" form; `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => embedded(high, low),
        _ => address,
    }
}

fn is_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_link_local()
                || v4 == Ipv4Addr::new(100, 100, 100, 200)
                || v4 == Ipv4Addr::new(192, 0, 0, 192)
                || v4 == Ipv4Addr::new(168, 63, 129, 16)
        }
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local() || v6 == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
        }
    }
}

fn is_reserved(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_broadcast() || v4.octets()[0] == 0 || v4.octets()[0] >= 240,
        IpAddr::V6(_) => false,
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            v4.is_loopback()
                || v4.is_private()
                || v4.is_documentation()
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (b == 18 || b == 19))
        }
        IpAddr::V6(v6) => {
            let [a, b, ..] = v6.segments();
            v6.is_loopback()
                || v6.is_unique_local()
                // Site-local (deprecated but routed), documentation, discard-only, local NAT64.
                || (a & 0xffc0) == 0xfec0
                || (a == 0x2001 && b == 0x0db8)
                || a == 0x0100
                || (a == 0x64 && b == 0xff9b)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reach: Reach, text: &str) -> Result<(), Refusal> {
        reach.check(text.parse().unwrap())
    }

    #[test]
    fn metadata_addresses_are_refused_in_every_spelling() {
        for address in [
            "169.254.169.254",
            "169.254.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::a9fe:a9fe",
            "fe80::1",
            "fd00:ec2::254",
            "100.100.100.200",
        ] {
            assert_eq!(
                check(Reach::Nodes, address),
                Err(Refusal::Metadata),
                "{address}"
            );
            assert_eq!(
                check(Reach::Public, address),
                Err(Refusal::Metadata),
                "{address}"
            );
        }
    }

    #[test]
    fn nodes_may_be_near_but_user_given_addresses_may_not() {
        for address in [
            "127.0.0.1",
            "::1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "fd12::1",
            "::ffff:10.0.0.1",
        ] {
            assert_eq!(check(Reach::Nodes, address), Ok(()), "{address}");
            assert_eq!(
                check(Reach::Public, address),
                Err(Refusal::Private),
                "{address}"
            );
        }
    }

    #[test]
    fn public_addresses_pass_and_group_addresses_never_do() {
        for address in ["1.1.1.1", "2606:4700::1111"] {
            assert_eq!(check(Reach::Public, address), Ok(()), "{address}");
        }
        for address in [
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
            "0.1.2.3",
        ] {
            assert_eq!(
                check(Reach::Nodes, address),
                Err(Refusal::NotUnicast),
                "{address}"
            );
        }
    }
}
