//! `[[nodes]]`: nodes that the file describes. They are registered at every start; those that left the file leave the registry.

use std::collections::BTreeSet;

use cluster::NodeKind;
use primitives::Secret;
use serde::Deserialize;
use url::Url;

use super::error::ConfigError;
use super::origin::Origins;

/// One node.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeSection {
    /// Its name, unique in the fleet.
    pub name: String,
    /// Its base address, as in `http://gpu1:11434`.
    pub url: String,
    /// `ollama` or `openai`. Unset: found out by asking the server.
    pub kind: Option<NodeKind>,
    /// The key that the node wants, sent as a bearer token.
    pub api_key: Option<Secret<String>>,
    /// Words that calls can ask for.
    pub tags: Vec<String>,
    /// Where it stands.
    pub region: Option<String>,
    /// The operator's preference, 0.01 to 100; 1 is neutral and the default.
    pub weight: f32,
    /// The most requests sent to it at once. Unset: what its kind suggests.
    pub max_in_flight: Option<u32>,
}

impl Default for NodeSection {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            kind: None,
            api_key: None,
            tags: Vec::new(),
            region: None,
            weight: 1.0,
            max_in_flight: None,
        }
    }
}

/// Checks every node, and that names are unique.
pub(super) fn check(nodes: &[NodeSection], at: &Origins) -> Result<(), ConfigError> {
    let mut names = BTreeSet::new();
    for (index, node) in nodes.iter().enumerate() {
        let index = index.to_string();
        let bad = |key: &str, reason: String| Err(at.bad(["nodes", &index, key], reason));
        if !is_name(&node.name) {
            return bad(
                "name",
                "every node needs a name of 1 to 64 letters, digits, '-', '_' or '.'".to_owned(),
            );
        }
        if !names.insert(node.name.to_lowercase()) {
            return bad("name", format!("two nodes are called {:?}", node.name));
        }
        if matches!(node.kind, Some(kind) if !matches!(kind, NodeKind::Ollama | NodeKind::OpenAi)) {
            return bad(
                "kind",
                "must be ollama or openai; leave it out to have it detected".to_owned(),
            );
        }
        match Url::parse(&node.url) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {}
            _ => {
                return bad(
                    "url",
                    format!(
                        "node {} needs a URL such as \"http://gpu1:11434\"",
                        node.name
                    ),
                );
            }
        }
        if !(0.01..=100.0).contains(&node.weight) {
            return bad("weight", "must be 0.01 to 100".to_owned());
        }
        if node.max_in_flight == Some(0) {
            return bad("max_in_flight", "must be at least 1".to_owned());
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}
