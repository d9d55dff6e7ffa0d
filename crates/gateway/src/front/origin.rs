//! Tells requests of this machine's own programs from those that a web page makes a browser send.
//!
//! The rules are Ollama's: a page may only call when it comes from this machine or is an application's own, and the
//! `Host` must not be a public name, which would be a rebound DNS entry.

use std::net::IpAddr;

use http::{HeaderMap, header};

use super::cors::AllowedOrigins;

/// Schemes of pages that are part of an installed application.
const APPLICATION_SCHEMES: [&str; 5] = ["app", "file", "tauri", "vscode-webview", "vscode-file"];

/// Tells whether neither `Host` nor `Origin` speaks of a site that is foreign and not allowed.
pub(super) fn is_trusted(headers: &HeaderMap, allowed: &AllowedOrigins) -> bool {
    let text = |name| {
        headers
            .get(name)
            .map(|v: &http::HeaderValue| v.to_str().unwrap_or("?"))
    };
    text(header::HOST).is_none_or(|host| is_local_host(without_port(host)))
        && text(header::ORIGIN).is_none_or(|origin| allowed.allows(origin))
}

pub(super) fn is_local_origin(origin: &str) -> bool {
    match origin.split_once("://") {
        Some(("http" | "https", rest)) => {
            let host = without_port(rest);
            host == "localhost"
                || host
                    .parse::<IpAddr>()
                    .is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
        }
        Some((scheme, _)) => APPLICATION_SCHEMES.contains(&scheme),
        None => false,
    }
}

fn is_local_host(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host.is_empty()
        || host.parse::<IpAddr>().is_ok()
        || !host.contains('.')
        || [".localhost", ".local", ".internal", ".lan"]
            .iter()
            .any(|end| host.ends_with(end))
}

fn without_port(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        is_trusted(&headers, &AllowedOrigins::default())
    }

    #[test]
    fn pages_of_other_sites_are_told_apart() {
        assert!(local("127.0.0.1:11440", None));
        assert!(local("[::1]:11440", Some("http://localhost:3000")));
        assert!(local("gpu-box:11440", Some("tauri://localhost")));
        assert!(!local("127.0.0.1:11440", Some("http://evil.com")));
        assert!(!local("127.0.0.1:11440", Some("null")));
        assert!(!local("evil.com", None));
        assert!(!local("127.0.0.1", Some("http://127.0.0.1.evil.com")));
    }
}
