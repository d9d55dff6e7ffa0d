//! A node's address: what people type, made into what calls need.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use url::{Host, Url};

/// The longest address that is taken, in bytes.
const MAX_BYTES: usize = 2_048;
/// Paths that people copy from client settings. They belong to the API, not to the address.
const API_SUFFIXES: [&str; 6] = [
    "/v1/chat/completions",
    "/v1/models",
    "/api/tags",
    "/api/chat",
    "/v1",
    "/api",
];

/// The base address of a node: scheme, host, port and perhaps a path prefix, without a trailing slash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeUrl {
    url: Url,
    authority: Arc<str>,
    prefix: Arc<str>,
}

/// Why a text is no node address, and what to type instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeUrlError {
    /// Not an address at all.
    #[error("{0:?} is not an address: write it as http://host:11434")]
    Malformed(String),
    /// A scheme that no model server speaks.
    #[error("a node is reached by http or https, not {0}: write it as http://host:11434")]
    Scheme(String),
    /// No host.
    #[error("the address names no host: write it as http://host:11434")]
    NoHost,
    /// An address that means "every interface" to a server and nothing to a client.
    #[error(
        "{0} is what a server listens on, not where it is: use 127.0.0.1 or the machine's own address"
    )]
    Unspecified(String),
    /// Credentials in the address end up in logs.
    #[error("the address contains a user name or password: give the node's key as api_key instead")]
    Credentials,
    /// A query or fragment cannot be kept when paths are added.
    #[error("the address ends in a query or fragment: leave out everything from the ? or #")]
    Query,
    /// Longer than 2048 bytes.
    #[error("the address is longer than 2048 bytes")]
    TooLong,
}

impl NodeUrl {
    /// Returns the base address without a trailing slash.
    pub fn as_str(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Returns `host` or `host:port` as the `Host` header wants it.
    pub fn authority(&self) -> &Arc<str> {
        &self.authority
    }

    /// Returns the host without brackets, for connecting.
    pub fn host(&self) -> &str {
        self.url
            .host_str()
            .unwrap_or_default()
            .trim_start_matches('[')
            .trim_end_matches(']')
    }

    /// Returns the port, the scheme's own when none was given.
    pub fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or(80)
    }

    /// Tells whether calls go through TLS.
    pub fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Returns the path that stands before every API path: empty, or as `/ollama`.
    pub fn path_prefix(&self) -> &Arc<str> {
        &self.prefix
    }

    /// Returns the address of an API path, which starts with a slash.
    pub fn join(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{path}", self.prefix));
        url
    }
}

impl FromStr for NodeUrl {
    type Err = NodeUrlError;

    /// Reads an address. The scheme may be missing (http is meant); trailing slashes and API paths are removed.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.len() > MAX_BYTES {
            return Err(NodeUrlError::TooLong);
        }
        let with_scheme = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let mut url = Url::parse(&with_scheme).map_err(|error| match error {
            url::ParseError::EmptyHost => NodeUrlError::NoHost,
            _ => NodeUrlError::Malformed(text.to_owned()),
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(NodeUrlError::Scheme(url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(NodeUrlError::Credentials);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(NodeUrlError::Query);
        }
        let unspecified = match url.host() {
            None | Some(Host::Domain("")) => return Err(NodeUrlError::NoHost),
            Some(Host::Domain(_)) => false,
            Some(Host::Ipv4(address)) => address.is_unspecified(),
            Some(Host::Ipv6(address)) => address.is_unspecified(),
        };
        if unspecified {
            return Err(NodeUrlError::Unspecified(
                url.host_str().unwrap_or_default().to_owned(),
            ));
        }
        let prefix = without_api_path(url.path()).to_owned();
        url.set_path(&prefix);
        let authority = url[url::Position::BeforeHost..url::Position::AfterPort].into();
        Ok(Self {
            url,
            authority,
            prefix: prefix.into(),
        })
    }
}

fn without_api_path(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    API_SUFFIXES
        .iter()
        .find_map(|suffix| path.strip_suffix(suffix))
        .unwrap_or(path)
        .trim_end_matches('/')
}

impl fmt::Display for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> NodeUrl {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn refuse(text: &str) -> String {
        text.parse::<NodeUrl>()
            .map(|url| url.to_string())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn what_people_paste_becomes_the_base_address() {
        for (typed, base) in [
            ("http://host:11434", "http://host:11434"),
            ("http://host:11434/", "http://host:11434"),
            ("http://host:11434/v1", "http://host:11434"),
            ("http://host:11434/v1/", "http://host:11434"),
            ("http://host:8000/v1/chat/completions", "http://host:8000"),
            ("http://host:11434/api/", "http://host:11434"),
            ("  host:11434 ", "http://host:11434"),
            ("localhost", "http://localhost"),
            ("10.0.0.7:8080", "http://10.0.0.7:8080"),
            (
                "HTTPS://Models.Example.com:443/ollama/v1",
                "https://models.example.com/ollama",
            ),
            ("http://[fd00::7]:11434/v1", "http://[fd00::7]:11434"),
        ] {
            assert_eq!(read(typed).to_string(), base, "{typed}");
        }
    }

    #[test]
    fn the_parts_are_ready_for_requests() {
        let url = read("http://[fd00::7]:11434/gpu/v1");
        assert_eq!(&**url.authority(), "[fd00::7]:11434");
        assert_eq!(
            (url.host(), url.port(), url.is_tls()),
            ("fd00::7", 11434, false)
        );
        assert_eq!(&**url.path_prefix(), "/gpu");
        assert_eq!(
            url.join("/api/tags").as_str(),
            "http://[fd00::7]:11434/gpu/api/tags"
        );
        let tls = read("https://host");
        assert_eq!(
            (&**tls.authority(), tls.port(), tls.is_tls()),
            ("host", 443, true)
        );
        assert_eq!(tls.join("/v1/models").as_str(), "https://host/v1/models");
    }

    #[test]
    fn what_cannot_be_an_address_is_refused_with_what_to_do() {
        assert!(refuse("").contains("http://host:11434"));
        assert!(refuse("http://").contains("names no host"));
        assert!(refuse("ftp://host").contains("not ftp"));
        assert!(refuse("http://0.0.0.0:11434").contains("use 127.0.0.1"));
        assert!(refuse("http://[::]:11434").contains("use 127.0.0.1"));
        assert!(refuse("http://me:secret@host").contains("api_key"));
        assert!(refuse("http://host/?key=1").contains('?'));
        assert!(refuse("http://ho st").contains("is not an address"));
        assert!(refuse("http://host:99999").contains("is not an address"));
        assert!(refuse(&format!("http://{}", "a".repeat(3_000))).contains("2048"));
    }
}
