//! To a provider and back.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use primitives::{Classify as _, Secret};
use subtle::ConstantTimeEq as _;
use url::Url;

use super::cookie::{Journey, forget, secret};
use super::discovery::Document;
use super::error::OidcError;
use super::{Oidc, Provider};
use crate::identity::Identity;
use crate::origin::Origin;

/// The most characters of an address to return to.
const LONGEST_RETURN: usize = 500;
/// The most characters of anything that a provider sends a browser with.
const LONGEST_PARAMETER: usize = 4096;

/// A verifier and its challenge (RFC 7636), for who begins a sign-in.
#[derive(Debug)]
pub struct Pkce {
    /// Kept until the end.
    pub verifier: Secret<String>,
    /// Sent at the beginning.
    pub challenge: String,
}

impl Pkce {
    /// Makes them of 256 random bits.
    pub fn generate() -> Self {
        let verifier = secret();
        Self {
            challenge: challenge_of(&verifier),
            verifier: Secret::new(verifier),
        }
    }
}

/// Where a browser goes, and what it takes along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// The address it is sent to.
    pub location: String,
    /// The cookie it is given, as `Set-Cookie` has it.
    pub cookie: String,
}

/// What a browser comes back with.
#[derive(Clone, Debug, Default)]
pub struct Arrival {
    /// What we sent along.
    pub state: String,
    /// The code, if the provider said yes.
    pub code: Option<String>,
    /// Why not, if it said no.
    pub error: Option<String>,
    /// Which provider it says it is (RFC 9207).
    pub issuer: Option<String>,
    /// The browser's headers, for its cookies.
    pub headers: HeaderMap,
}

impl Identity {
    pub(super) fn oidc(&self) -> Result<&Oidc, OidcError> {
        self.inner.oidc.as_ref().ok_or(OidcError::UnknownProvider)
    }

    /// Sends a browser to a provider. Whoever shall get the sign-in keeps the verifier of `challenge` (43 characters: the SHA-256 of it);
    /// the browser comes back to `return_to`, a path of this server or an address on loopback.
    pub async fn oidc_depart(
        &self,
        provider: &str,
        challenge: &str,
        return_to: &str,
        origin: &Origin,
    ) -> Result<Departure, OidcError> {
        let oidc = self.oidc()?;
        let provider = oidc.find(provider)?;
        let clock = &self.inner.clock;
        if !URL_SAFE_NO_PAD
            .decode(challenge)
            .is_ok_and(|bytes| bytes.len() == 32)
        {
            return Err(OidcError::Challenge);
        }
        let return_to = landing(&oidc.public_url, return_to).ok_or(OidcError::ReturnTo)?;
        oidc.departures
            .attempt(&origin.ip, clock.monotonic())
            .map_err(|wait| OidcError::TooMany { wait })?;
        let document = provider.document(&oidc.client, &**clock).await?;
        let name = &provider.config.name;
        let journey = Journey::new(name, challenge, return_to.as_str(), clock.now());
        let callback = oidc.callback(name);
        let mut location = document.authorization_endpoint;
        location.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", &provider.config.client_id),
            ("redirect_uri", callback.as_str()),
            ("scope", &provider.config.scope()),
            ("state", &journey.state),
            ("nonce", &journey.nonce),
            ("code_challenge", &challenge_of(&journey.verifier)),
            ("code_challenge_method", "S256"),
        ]);
        Ok(Departure {
            location: location.into(),
            cookie: journey.cookie(&callback, &self.inner.sealer)?,
        })
    }

    /// Takes a browser that comes back from a provider, and sends it on with a ticket, or with the reason why there is none.
    ///
    /// # Errors
    /// When the browser did not begin this journey: then nobody knows where it wants to go.
    pub async fn oidc_arrive(
        &self,
        provider: &str,
        arrival: Arrival,
    ) -> Result<Departure, OidcError> {
        let oidc = self.oidc()?;
        let provider = oidc.find(provider)?;
        let (sealer, now) = (&self.inner.sealer, self.inner.clock.now());
        let journey =
            Journey::find(&arrival.headers, &arrival.state, sealer, now).ok_or(OidcError::State)?;
        let callback = oidc.callback(&provider.config.name);
        let outcome = self
            .arrived(oidc, provider, &journey, &callback, arrival)
            .await;
        let (name, value) = match &outcome {
            Ok(ticket) => ("ticket", ticket.as_str()),
            Err(error) => {
                oidc.refused();
                tracing::warn!(
                    provider = provider.config.name,
                    error = error as &dyn std::error::Error,
                    "a sign-in by a provider failed: {}",
                    error.public_message()
                );
                ("error", error.reason())
            }
        };
        Ok(Departure {
            location: with_outcome(&oidc.public_url, &journey.return_to, name, value),
            cookie: forget(&journey.state, &callback),
        })
    }

    async fn arrived(
        &self,
        oidc: &Oidc,
        provider: &Provider,
        journey: &Journey,
        callback: &Url,
        arrival: Arrival,
    ) -> Result<String, OidcError> {
        let clock = &self.inner.clock;
        let document = provider.document(&oidc.client, &**clock).await?;
        if journey.provider != provider.config.name || is_mixed_up(provider, &document, &arrival) {
            return Err(OidcError::MixedUp);
        }
        if let Some(error) = arrival.error {
            return Err(OidcError::Refused(told(&error)));
        }
        let code = arrival
            .code
            .filter(|code| !code.is_empty() && code.len() <= LONGEST_PARAMETER)
            .ok_or_else(|| OidcError::Refused("no code".to_owned()))?;
        let statement = self
            .ask_provider(oidc, provider, &document, journey, callback, &code)
            .await?;
        self.issue_ticket(&provider.config.name, &journey.challenge, &statement)
            .await
    }
}

/// The provider says who it is where it can, and must where it promised to.
fn is_mixed_up(provider: &Provider, document: &Document, arrival: &Arrival) -> bool {
    match &arrival.issuer {
        Some(issuer) => *issuer != provider.config.issuer,
        None => document.authorization_response_iss_parameter_supported,
    }
}

/// Returns the challenge of a verifier.
pub(super) fn challenge_of(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

/// Tells whether a verifier is a challenge's.
pub(super) fn is_verifier_of(verifier: &str, challenge: &str) -> bool {
    let made = challenge_of(verifier);
    bool::from(made.as_bytes().ct_eq(challenge.as_bytes()))
}

/// Returns the address to return to if browsers may be sent there: no page of anybody else gets a ticket.
fn landing(public_url: &Url, wanted: &str) -> Option<Url> {
    if wanted.len() > LONGEST_RETURN || wanted.contains(['\\', '#']) {
        return None;
    }
    if wanted.starts_with('/') {
        let landing = public_url.join(wanted).ok()?;
        return (landing.origin() == public_url.origin()).then_some(landing);
    }
    let landing = Url::parse(wanted).ok()?;
    let is_loopback = match landing.host()? {
        url::Host::Ipv4(ip) => ip.is_loopback(),
        url::Host::Ipv6(ip) => ip.is_loopback(),
        url::Host::Domain(_) => false,
    };
    // For programs on the person's machine (RFC 8252, section 7.3).
    let fits = landing.scheme() == "http"
        && is_loopback
        && landing.port().is_some()
        && landing.username().is_empty()
        && landing.password().is_none();
    fits.then_some(landing)
}

/// Adds the outcome: behind `#` for our own pages, so that no server sees it and no log has it, and as a parameter for programs on
/// loopback.
fn with_outcome(public_url: &Url, return_to: &str, name: &str, value: &str) -> String {
    let Ok(mut url) = Url::parse(return_to) else {
        return return_to.to_owned();
    };
    if url.origin() == public_url.origin() {
        url.set_fragment(Some(&format!("{name}={value}")));
    } else {
        url.query_pairs_mut().append_pair(name, value);
    }
    url.into()
}

/// Shortens what a provider said to what a log line takes.
fn told(text: &str) -> String {
    text.chars()
        .filter(char::is_ascii_graphic)
        .take(60)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_return_to_this_server_or_to_their_own_machine() {
        let public: Url = "https://llm.example.org/".parse().unwrap();
        for good in [
            "/",
            "/ui/",
            "/ui/?x=1",
            "http://127.0.0.1:9/",
            "http://[::1]:9/x",
        ] {
            assert!(landing(&public, good).is_some(), "{good}");
        }
        for bad in [
            "",
            "ui",
            "//evil.example.org/",
            "/\\evil.example.org",
            "/ui/#x",
            "https://evil.example.org/",
            "https://llm.example.org/ui/",
            "http://localhost:9/",
            "http://127.0.0.1/",
            "http://a@127.0.0.1:9/",
            "http://127.0.0.1.evil.example.org:9/",
            "javascript:alert(1)",
            &"/x".repeat(400),
        ] {
            assert!(landing(&public, bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_page_gets_its_ticket_where_no_server_sees_it() {
        let page = "https://llm.example.org/ui/?a=1";
        let public: Url = "https://llm.example.org/sub".parse().unwrap();
        assert_eq!(
            with_outcome(&public, page, "ticket", "t"),
            format!("{page}#ticket=t")
        );
        let program = "http://127.0.0.1:9/";
        let told = "http://127.0.0.1:9/?error=no_role";
        assert_eq!(with_outcome(&public, program, "error", "no_role"), told);
        // A server on this machine has pages, too.
        let local: Url = "http://127.0.0.1:8/".parse().unwrap();
        let page = with_outcome(&local, "http://127.0.0.1:8/ui/", "ticket", "t");
        assert_eq!(page, "http://127.0.0.1:8/ui/#ticket=t");
        assert_eq!(with_outcome(&local, program, "error", "no_role"), told);
    }

    #[test]
    fn challenges_are_those_of_rfc_7636() {
        // Appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        assert!(is_verifier_of(verifier, challenge));
        assert!(!is_verifier_of("another", challenge));
    }
}
