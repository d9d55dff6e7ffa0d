//! Where a request comes from.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::USER_AGENT;
use http::request::Parts;
use web::ClientAddress;

/// The most characters of a user agent that are kept.
const LONGEST_AGENT: usize = 200;

/// Where a request comes from, as far as that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The client's address.
    pub ip: Option<IpAddr>,
    /// The program, as it calls itself; at most 200 characters.
    pub user_agent: Option<String>,
}

impl Origin {
    /// Reads it off a request of the control plane.
    pub fn of(parts: &Parts) -> Self {
        let ip = parts
            .extensions
            .get::<ClientAddress>()
            .map(|ClientAddress(address)| *address);
        Self::new(ip, &parts.headers)
    }

    /// Makes it from an address and the head of a request.
    pub fn new(ip: Option<IpAddr>, headers: &HeaderMap) -> Self {
        let user_agent = headers
            .get(USER_AGENT)
            .and_then(|value| value.to_str().ok())
            .map(|text| text.chars().take(LONGEST_AGENT).collect());
        Self { ip, user_agent }
    }

    pub(crate) fn ip_text(&self) -> Option<String> {
        self.ip.map(|ip| ip.to_string())
    }
}

impl<S: Sync> FromRequestParts<S> for Origin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts))
    }
}
