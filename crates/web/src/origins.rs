//! Tells requests of programs from those that a web page makes a browser send.
//!
//! The rules are Ollama's: a page may only call when it comes from this machine, is an application's own or was allowed, and the
//! `Host` must not be a public name, which would be a rebound DNS entry.

use std::net::IpAddr;

use http::{HeaderMap, header};

/// Schemes of pages that are part of an installed application.
const APPLICATION_SCHEMES: [&str; 5] = ["app", "file", "tauri", "vscode-webview", "vscode-file"];

/// The origins that an operator allows: `*`, `https://app.example.org`, or `https://*.example.org`.
#[derive(Clone, Debug, Default)]
pub struct AllowedOrigins(Vec<String>);

impl AllowedOrigins {
    /// Takes the patterns of the configuration.
    pub fn new(patterns: &[String]) -> Self {
        Self(patterns.iter().map(|p| p.to_ascii_lowercase()).collect())
    }

    /// Tells whether pages of `origin` may call.
    pub fn allows(&self, origin: &str) -> bool {
        is_local_origin(origin) || {
            let origin = origin.to_ascii_lowercase();
            self.0.iter().any(|pattern| matches(pattern, &origin))
        }
    }

    /// Tells whether neither `Host` nor `Origin` speaks of a site that is foreign and not allowed.
    pub fn trusts(&self, headers: &HeaderMap) -> bool {
        let text = |name| {
            headers
                .get(name)
                .map(|v: &http::HeaderValue| v.to_str().unwrap_or("?"))
        };
        text(header::HOST).is_none_or(|host| is_local_host(without_port(host)))
            && text(header::ORIGIN).is_none_or(|origin| self.allows(origin))
    }

    /// Tells whether the request is one that a browser sends for a page which may not call. A program, which says nothing of pages, may
    /// reach the server by any name.
    pub fn keeps_out(&self, headers: &HeaderMap) -> bool {
        let site = headers.get("sec-fetch-site");
        if headers.contains_key(header::ORIGIN) {
            return !self.trusts(headers);
        }
        // Fetch Metadata: what the person did by hand, or a page of this very server.
        site.is_some_and(|site| site != "none" && !(site == "same-origin" && self.trusts(headers)))
    }
}

fn matches(pattern: &str, origin: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == origin,
        Some(("", "")) => true,
        Some((before, after)) => {
            origin.len() > before.len() + after.len()
                && origin.starts_with(before)
                && origin.ends_with(after)
                // The star stands for a part of the host's name, not for another host before it.
                && !origin[before.len()..].contains('/')
                && !origin[before.len()..origin.len() - after.len()].contains(['@', ':'])
        }
    }
}

fn is_local_origin(origin: &str) -> bool {
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

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, value.parse().unwrap());
        }
        headers
    }

    fn local(host: &str, origin: Option<&str>) -> bool {
        let mut fields = vec![("host", host)];
        fields.extend(origin.map(|origin| ("origin", origin)));
        AllowedOrigins::default().trusts(&headers(&fields))
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

    #[test]
    fn programs_are_told_from_pages_that_are_kept_out() {
        let allowed = AllowedOrigins::new(&["https://app.example.org".to_owned()]);
        let out = |fields: &[_]| allowed.keeps_out(&headers(fields));
        let (host, site) = (("host", "127.0.0.1:11440"), "sec-fetch-site");
        assert!(!out(&[host]));
        assert!(!out(&[("host", "parts.example.com")]));
        assert!(!out(&[
            host,
            ("origin", "http://localhost:3000"),
            (site, "same-site")
        ]));
        assert!(!out(&[
            host,
            ("origin", "https://app.example.org"),
            (site, "cross-site")
        ]));
        assert!(!out(&[host, (site, "none")]));
        assert!(!out(&[host, (site, "same-origin")]));
        assert!(out(&[host, ("origin", "https://evil.example")]));
        assert!(out(&[host, ("origin", "null"), (site, "cross-site")]));
        assert!(out(&[host, (site, "cross-site")]));
        assert!(out(&[host, (site, "same-site")]));
        // A name of theirs that leads here.
        let rebound = [("host", "evil.example"), ("origin", "http://evil.example")];
        assert!(out(&rebound));
        assert!(out(&[("host", "evil.example"), (site, "same-origin")]));
    }

    fn allows(patterns: &[&str], origin: &str) -> bool {
        let patterns: Vec<_> = patterns.iter().map(|p| (*p).to_owned()).collect();
        AllowedOrigins::new(&patterns).allows(origin)
    }

    #[test]
    fn local_pages_and_configured_origins_may_call() {
        assert!(allows(&[], "http://localhost:3000"));
        assert!(allows(&[], "app://anything"));
        assert!(!allows(&[], "https://example.org"));
        assert!(allows(&["https://Example.org"], "https://example.org"));
        assert!(!allows(&["https://example.org"], "http://example.org"));
        assert!(!allows(
            &["https://example.org"],
            "https://example.org.evil.com"
        ));
        assert!(allows(&["*"], "https://example.org"));
        assert!(allows(
            &["https://*.example.org"],
            "https://a.b.example.org"
        ));
        assert!(!allows(&["https://*.example.org"], "https://example.org"));
        assert!(!allows(&["https://*.example.org"], "https://.example.org"));
        assert!(!allows(
            &["https://*.example.org"],
            "https://evil.com/.example.org"
        ));
    }
}
