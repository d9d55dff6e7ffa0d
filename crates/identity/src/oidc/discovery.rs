//! What a provider tells of itself (OpenID Connect Discovery 1.0), remembered for an hour.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::header::ACCEPT;
use primitives::{Clock, MonotonicTime};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use url::Url;
use web::outbound::{Call, Client, OutboundError};

use super::error::OidcError;
use super::keys::Keys;
use super::provider::OidcProvider;

/// How long what a provider tells is believed.
const BELIEVED: Duration = Duration::from_hours(1);
/// The longest wait for any answer of a provider.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest answer of a provider, in bytes.
const LARGEST_ANSWER: usize = 512 * 1024;

/// A provider and what is known of it.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) config: OidcProvider,
    document: Mutex<Option<(MonotonicTime, Document)>>,
    pub(super) keys: Keys,
}

/// The part of the discovery document that is used.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Document {
    issuer: String,
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    pub(super) jwks_uri: Url,
    pub(super) userinfo_endpoint: Option<Url>,
    #[serde(default)]
    pub(super) token_endpoint_auth_methods_supported: Vec<String>,
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

impl Provider {
    pub(super) fn new(config: OidcProvider) -> Self {
        Self {
            config,
            document: Mutex::new(None),
            keys: Keys::default(),
        }
    }

    /// Returns the provider's document. Who comes while it is fetched waits for it.
    pub(super) async fn document(
        &self,
        client: &Client,
        clock: &dyn Clock,
    ) -> Result<Document, OidcError> {
        let mut held = self.document.lock().await;
        let now = clock.monotonic();
        if let Some((at, document)) = &*held
            && now.since(*at) < BELIEVED
        {
            return Ok(document.clone());
        }
        let bad = |reason: String| OidcError::Document {
            what: "discovery document",
            reason,
        };
        let issuer = &self.config.issuer;
        let url = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let url = Url::parse(&url).map_err(|error| bad(error.to_string()))?;
        let document: Document = fetch(client.get(&url)).await?;
        if document.issuer != *issuer {
            return Err(bad(format!(
                "it is of {:?}, not of {issuer:?}",
                document.issuer
            )));
        }
        let endpoints = [
            Some(&document.authorization_endpoint),
            Some(&document.token_endpoint),
            Some(&document.jwks_uri),
            document.userinfo_endpoint.as_ref(),
        ];
        for endpoint in endpoints.into_iter().flatten() {
            if !is_safe(endpoint) {
                return Err(bad(format!("{endpoint} is not https")));
            }
        }
        *held = Some((now, document.clone()));
        Ok(document)
    }
}

/// Tells whether nobody on the way can read or change what is sent to the address. Loopback is this machine.
pub fn is_safe(url: &Url) -> bool {
    let is_loopback = match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback)
}

/// Fetches JSON from a provider, which must answer with success.
pub(super) async fn fetch<T: DeserializeOwned>(call: Call) -> Result<T, OidcError> {
    let (status, body) = ask(call).await?;
    if !status.is_success() {
        return Err(OidcError::Document {
            what: "answer",
            reason: format!("it is {status}"),
        });
    }
    serde_json::from_slice(&body).map_err(|error| OidcError::Document {
        what: "answer",
        reason: error.to_string(),
    })
}

/// Sends a call to a provider and reads its answer.
pub(super) async fn ask(call: Call) -> Result<(http::StatusCode, Bytes), OutboundError> {
    let answer = call
        .header(ACCEPT, HeaderValue::from_static("application/json"))
        .total_timeout(Some(PATIENCE))
        .send()
        .await?;
    let status = answer.status();
    Ok((status, answer.bytes(LARGEST_ANSWER).await?))
}
