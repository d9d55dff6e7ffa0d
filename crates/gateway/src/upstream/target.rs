//! Where a node is, in the forms that a request needs.

use std::sync::Arc;

use cluster::{AgentSeat, NodeUrl};
use http::HeaderValue;
use primitives::{NodeId, Secret};

/// A node's address, ready for use.
#[derive(Debug)]
pub(crate) struct Target {
    /// The node.
    pub(crate) node: NodeId,
    /// Host name or address to connect to, without brackets.
    pub(crate) host: String,
    /// TCP port.
    pub(crate) port: u16,
    /// Whether TLS is spoken.
    pub(crate) tls: bool,
    /// The `Host` header.
    pub(crate) authority: HeaderValue,
    /// Path in front of every route; empty or without a slash at the end.
    pub(crate) base_path: String,
    /// The `Authorization` header, if the node wants one.
    pub(crate) authorization: Option<HeaderValue>,
    /// The agent that carries the connections, if the node is reached through one.
    pub(crate) agent: Option<Arc<AgentSeat>>,
}

impl Target {
    /// Takes a node's address. Returns `None` when it or the credential makes no legal header.
    pub(crate) fn new(
        node: NodeId,
        url: &NodeUrl,
        credential: Option<&Arc<Secret<String>>>,
        agent: Option<&Arc<AgentSeat>>,
    ) -> Option<Self> {
        let authorization = match credential {
            Some(secret) => {
                let mut value =
                    HeaderValue::try_from(format!("Bearer {}", secret.expose())).ok()?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        Some(Self {
            node,
            host: url.host().trim_matches(['[', ']']).to_owned(),
            port: url.port(),
            tls: url.is_tls(),
            authority: HeaderValue::try_from(url.authority().as_ref()).ok()?,
            base_path: url.path_prefix().trim_end_matches('/').to_owned(),
            authorization,
            agent: agent.cloned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use primitives::Timestamp;

    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let node = NodeId::generate(Timestamp::from_micros(1));
        let url: NodeUrl = "http://[::1]:8000/serve/".parse().unwrap();
        let target = Target::new(node, &url, None, None).unwrap();
        assert_eq!(
            (target.host.as_str(), target.port, target.tls),
            ("::1", 8000, false)
        );
        assert_eq!(target.authority, "[::1]:8000");
        assert_eq!(target.base_path, "/serve");
        let url: NodeUrl = "https://gpu.lan".parse().unwrap();
        let key = Arc::new(Secret::new("k".to_owned()));
        let target = Target::new(node, &url, Some(&key), None).unwrap();
        assert_eq!((target.port, target.tls), (443, true));
        assert_eq!(target.base_path, "");
        assert!(target.authorization.unwrap().is_sensitive());
    }
}
