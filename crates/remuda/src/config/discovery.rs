//! `[discovery]`: servers that are found without being configured.

use serde::Deserialize;
use url::Url;

use super::error::ConfigError;
use super::origin::Origins;

/// Where a local Ollama listens when nobody says otherwise.
pub(crate) const LOCAL_OLLAMA: &str = "http://127.0.0.1:11434";

/// Servers that are found without being configured.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiscoverySection {
    /// Whether a local Ollama that answers at start becomes a node; true unless set.
    pub ollama: bool,
    /// Where to look for it. Unset: the address in `OLLAMA_HOST`, or `http://127.0.0.1:11434`.
    pub ollama_url: Option<String>,
}

impl Default for DiscoverySection {
    fn default() -> Self {
        Self {
            ollama: true,
            ollama_url: None,
        }
    }
}

impl DiscoverySection {
    pub(super) fn check(&self, at: &Origins) -> Result<(), ConfigError> {
        match self.ollama_url.as_deref().map(Url::parse) {
            None => Ok(()),
            Some(Ok(url)) if matches!(url.scheme(), "http" | "https") => Ok(()),
            Some(_) => Err(at.bad(
                ["discovery", "ollama_url"],
                format!("must be a URL such as \"{LOCAL_OLLAMA}\""),
            )),
        }
    }
}

/// Turns `OLLAMA_HOST` (a host, `host:port` or URL; `0.0.0.0` for a server that listens everywhere) into a base URL.
/// Returns `None` for text that cannot be one: it is another program's variable, so it is not our error.
pub(super) fn ollama_host_url(text: &str) -> Option<String> {
    let with_scheme = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let mut url = Url::parse(&with_scheme).ok()?;
    if !matches!(url.scheme(), "http" | "https") {
        return None;
    }
    if matches!(url.host_str(), Some("0.0.0.0" | "[::]")) {
        url.set_host(Some("127.0.0.1")).ok()?;
    }
    if url.port().is_none() && !text.contains("://") {
        url.set_port(Some(11434)).ok()?;
    }
    Some(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ollama_host_is_understood_in_its_usual_forms() {
        assert_eq!(
            ollama_host_url("0.0.0.0").as_deref(),
            Some("http://127.0.0.1:11434")
        );
        assert_eq!(
            ollama_host_url("gpu1:9000").as_deref(),
            Some("http://gpu1:9000")
        );
        assert_eq!(
            ollama_host_url("https://o.example").as_deref(),
            Some("https://o.example")
        );
        assert_eq!(ollama_host_url("ftp://x"), None);
    }
}
