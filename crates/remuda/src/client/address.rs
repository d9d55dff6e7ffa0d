//! Where the server is.

use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::config::DEFAULT_PORT;

/// The base address of a Remuda server, without a trailing slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerAddress(Url);

impl ServerAddress {
    /// Returns true for the address that is used when a person names none.
    pub(crate) fn is_default(&self) -> bool {
        self.to_string() == format!("http://127.0.0.1:{DEFAULT_PORT}")
    }

    /// Returns the URL of a path on the server; `path_and_query` starts with a slash.
    pub(crate) fn join(&self, path_and_query: &str) -> Url {
        let mut url = self.0.clone();
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        let prefix = self.0.path().trim_end_matches('/');
        url.set_path(&format!("{prefix}{path}"));
        url.set_query(query);
        url
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl FromStr for ServerAddress {
    type Err = String;

    /// Reads a URL, `HOST:PORT` or `HOST`. An address that means "all interfaces" becomes loopback.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is not an address of a server: write it as http://127.0.0.1:{DEFAULT_PORT}"
            )
        };
        let has_scheme = text.contains("://");
        let mut url = if has_scheme {
            Url::parse(text)
        } else {
            Url::parse(&format!("http://{text}"))
        }
        .map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong());
        }
        if !has_scheme && url.port().is_none() && !text.ends_with(":80") {
            url.set_port(Some(DEFAULT_PORT)).map_err(|()| wrong())?;
        }
        if matches!(url.host_str(), Some("0.0.0.0" | "[::]")) {
            url.set_host(Some("127.0.0.1")).map_err(|_| wrong())?;
        }
        url.set_query(None);
        url.set_fragment(None);
        Ok(Self(url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_their_usual_forms() {
        for (text, expected) in [
            ("127.0.0.1:11440", "http://127.0.0.1:11440"),
            ("gateway", "http://gateway:11440"),
            ("0.0.0.0:1", "http://127.0.0.1:1"),
            ("https://llm.example/remuda/", "https://llm.example/remuda"),
        ] {
            assert_eq!(text.parse::<ServerAddress>().unwrap().to_string(), expected);
        }
        assert!("ftp://x".parse::<ServerAddress>().is_err());
    }

    #[test]
    fn paths_and_queries_are_joined() {
        let server: ServerAddress = "https://llm.example/remuda/".parse().unwrap();
        assert_eq!(
            server.join("/api/pull?node=a").as_str(),
            "https://llm.example/remuda/api/pull?node=a"
        );
    }
}
