//! `[server]`: where Remuda listens, its limits, its data directory.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{self, Deserializer};
use url::Url;

use super::error::ConfigError;
use super::origin::Origins;
use super::quantity::{ByteSize, Period};

/// The port that Remuda listens on unless told otherwise.
pub(crate) const DEFAULT_PORT: u16 = 11440;

/// Listening, limits, data directory, drain.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSection {
    /// Address and port; 127.0.0.1:11440 unless set. Port 0 takes a free one.
    #[serde(deserialize_with = "read_address")]
    pub listen: SocketAddr,
    /// Threads of the data plane, each with an event loop of its own. Unset: one for each core.
    pub workers: Option<usize>,
    /// The largest request body; 32 MiB unless set. Larger ones are answered with 413.
    pub body_limit: ByteSize,
    /// The most memory that the bodies of all requests under way hold together; 512 MiB unless set. Beyond it requests are answered
    /// with 503 and Retry-After.
    pub body_memory: ByteSize,
    /// Origins of web pages that may call the API from a browser, beside those of this machine: `https://app.example.org`,
    /// `https://*.example.org` or `*`.
    pub allowed_origins: Vec<String>,
    /// How long open streams may go on after the signal to stop, in seconds; 30 unless set.
    pub drain_seconds: u64,
    /// How long a client may take to send the head of a request, and how long an idle connection stays open; 60 s unless set.
    pub header_timeout: Period,
    /// The longest pause between two pieces of a request body; 30 s unless set.
    pub body_timeout: Period,
    /// The most client connections at once; 20,000 unless set. Further ones are closed at once.
    pub max_connections: usize,
    /// The most inference requests at once; 10,000 unless set. Further ones are answered with 503 and Retry-After.
    pub max_in_flight: usize,
    /// Under which address browsers reach this server, as in `https://llm.example.org`. Needed for sign-in by providers.
    pub public_url: Option<Url>,
    /// A PEM file with the certificate that clients are shown and those that lead to its authority. With it only TLS is spoken.
    pub tls_cert: Option<PathBuf>,
    /// A PEM file with the certificate's key.
    pub tls_key: Option<PathBuf>,
    /// Where everything that must last is kept. Unset: `remuda` in the user's data directory.
    pub data_dir: Option<PathBuf>,
}

impl Default for ServerSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
            workers: None,
            body_limit: ByteSize::mebibytes(32),
            body_memory: ByteSize::mebibytes(512),
            allowed_origins: Vec::new(),
            drain_seconds: 30,
            header_timeout: Period::seconds(60),
            body_timeout: Period::seconds(30),
            max_connections: 20_000,
            max_in_flight: 10_000,
            public_url: None,
            tls_cert: None,
            tls_key: None,
            data_dir: None,
        }
    }
}

impl ServerSection {
    pub(super) fn check(&self, at: &Origins) -> Result<(), ConfigError> {
        if self.workers.is_some_and(|count| count == 0 || count > 256) {
            return Err(at.bad(["server", "workers"], "must be 1 to 256"));
        }
        if self.body_limit.0 < 1024 {
            return Err(at.bad(["server", "body_limit"], "must be at least 1 KiB"));
        }
        if self.body_memory.0 < self.body_limit.0 {
            return Err(at.bad(
                ["server", "body_memory"],
                "must be at least server.body_limit: one body of that size must have room",
            ));
        }
        for origin in &self.allowed_origins {
            if !is_origin(origin) {
                return Err(at.bad(
                    ["server", "allowed_origins"],
                    format!("{origin:?} is not an origin: write https://app.example.org, https://*.example.org or *"),
                ));
            }
        }
        if self.drain_seconds > 3600 {
            return Err(at.bad(["server", "drain_seconds"], "must be at most 3600"));
        }
        for (key, count) in [
            ("max_connections", self.max_connections),
            ("max_in_flight", self.max_in_flight),
        ] {
            if count == 0 {
                return Err(at.bad(["server", key], "must be at least 1"));
            }
        }
        for (key, period) in [
            ("header_timeout", self.header_timeout),
            ("body_timeout", self.body_timeout),
        ] {
            if period.0.is_zero() {
                return Err(at.bad(["server", key], "must be longer than zero"));
            }
        }
        if let Some(url) = &self.public_url
            && !is_public_url(url)
        {
            return Err(at.bad(
                ["server", "public_url"],
                format!("{url} is no address of a server: write it as https://llm.example.org"),
            ));
        }
        match (&self.tls_cert, &self.tls_key) {
            (Some(_), None) => Err(at.bad(
                ["server", "tls_cert"],
                "needs server.tls_key, the file with the certificate's key",
            )),
            (None, Some(_)) => Err(at.bad(
                ["server", "tls_key"],
                "needs server.tls_cert, the file with the key's certificate",
            )),
            _ => Ok(()),
        }
    }

    /// Returns the files with the certificate and its key, when TLS is spoken to clients.
    pub fn tls_files(&self) -> Option<(&Path, &Path)> {
        self.tls_cert.as_deref().zip(self.tls_key.as_deref())
    }
}

fn is_public_url(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
}

/// Tells whether a pattern of `allowed_origins` can match anything that a browser sends.
fn is_origin(pattern: &str) -> bool {
    let authority = pattern.split_once("://").map(|(_, rest)| rest);
    pattern == "*"
        || (pattern.matches('*').count() <= 1
            && authority.is_some_and(|rest| !rest.is_empty() && !rest.contains('/')))
}

/// Reads `ADDRESS:PORT`; `localhost` and an empty address (all interfaces) are understood too.
pub(crate) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let wrong = || {
        format!("{text:?} is not an address: write ADDRESS:PORT, as in 127.0.0.1:{DEFAULT_PORT}")
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    match host {
        "localhost" => format!("127.0.0.1:{port}"),
        "" | "*" => format!("0.0.0.0:{port}"),
        _ => text.to_owned(),
    }
    .parse()
    .map_err(|_| wrong())
}

fn read_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_address(&text).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        assert_eq!(
            parse_address("localhost:80"),
            Ok(([127, 0, 0, 1], 80).into())
        );
        assert_eq!(parse_address(":80"), Ok(([0, 0, 0, 0], 80).into()));
        assert!(parse_address("[::1]:80").is_ok());
        assert!(parse_address("11440").is_err());
        assert!(parse_address("example.org:80").is_err());
    }
}
