//! Where a request comes from, when it has passed proxies of one's own.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

/// The header in which proxies say for whom they ask, the nearest one last.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The proxies whose word is taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrustedProxies {
    networks: Vec<IpNet>,
}

impl TrustedProxies {
    pub(crate) const fn new(networks: Vec<IpNet>) -> Self {
        Self { networks }
    }

    /// Returns the client's address: the last one in `X-Forwarded-For` that is no proxy of ours, when the connection comes from one.
    ///
    /// Whoever is not trusted can write what they like into the header, so reading stops at the first address that is not.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer;
        if self.networks.is_empty() {
            return client;
        }
        for value in headers.get_all(FORWARDED_FOR).iter().rev() {
            let Ok(text) = value.to_str() else {
                return client;
            };
            for address in text.rsplit(',') {
                if !self.trusts(client) {
                    return client;
                }
                let Some(address) = address_of(address.trim()) else {
                    return client;
                };
                client = address;
            }
        }
        client
    }

    fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks
            .iter()
            .any(|network| network.contains(&address))
    }
}

/// Reads an address; some proxies add the port, or brackets.
fn address_of(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn client(trusted: &[&str], peer: &str, forwarded: &[&'static str]) -> String {
        let networks = trusted.iter().map(|text| text.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(value));
        }
        TrustedProxies::new(networks)
            .client(peer.parse().unwrap(), &headers)
            .to_string()
    }

    #[test]
    fn only_proxies_of_ones_own_are_believed() {
        let ours = ["10.0.0.0/8", "127.0.0.1/32"];
        assert_eq!(client(&[], "10.0.0.1", &["1.2.3.4"]), "10.0.0.1");
        assert_eq!(client(&ours, "9.9.9.9", &["1.2.3.4"]), "9.9.9.9");
        assert_eq!(client(&ours, "10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(client(&ours, "::ffff:10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(client(&ours, "10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn ports_and_brackets_are_read() {
        for written in ["1.2.3.4:5678", "1.2.3.4"] {
            assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", &[written]), "1.2.3.4");
        }
        for written in ["[2001:db8::1]:443", "[2001:db8::1]", "2001:db8::1"] {
            assert_eq!(
                client(&["10.0.0.0/8"], "10.0.0.1", &[written]),
                "2001:db8::1"
            );
        }
    }

    #[test]
    fn what_a_client_writes_itself_is_not_read() {
        let ours = ["10.0.0.0/8"];
        assert_eq!(
            client(&ours, "10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.7"]),
            "1.2.3.4"
        );
        assert_eq!(
            client(&ours, "10.0.0.1", &["6.6.6.6", "1.2.3.4,10.0.0.7"]),
            "1.2.3.4"
        );
        assert_eq!(
            client(&ours, "10.0.0.1", &["6.6.6.6, nonsense"]),
            "10.0.0.1"
        );
    }
}
