//! Signing in by OpenID Connect: authorisation code with PKCE (OpenID Connect Core 1.0, RFC 7636), as the best current practice of
//! RFC 9700 has it.
//!
//! The browser is sent to a provider with a state, a nonce and a challenge that only it can come back with: they are sealed in a cookie,
//! so that nobody fills our database by knocking. What comes back is checked in full, and becomes a *ticket*: good for one sign-in or
//! one link, within two minutes, and only for who holds the verifier of the challenge that the journey began with. So neither a stolen
//! link nor a stolen ticket signs anybody in, and no account is taken over: a person is known by issuer and subject alone, once linked.

mod account;
mod cookie;
mod discovery;
mod error;
mod exchange;
mod id_token;
mod journey;
mod keys;
mod provider;
mod ticket;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use url::Url;
use web::outbound::Client;

pub use account::{LinkedIdentity, UnlinkError};
pub use discovery::is_safe as is_safe_provider;
pub use error::OidcError;
pub use id_token::IdTokenError;
pub use journey::{Arrival, Departure, Pkce};
pub use provider::{OidcProvider, RoleRule};

use self::discovery::Provider;
use crate::lockout::{Lockout, Patience};
use crate::metrics::Outcomes;
use crate::origin::Origin;

/// Where the routes are.
pub(crate) const ROUTES: &str = "/api/v1/auth/oidc";

/// The providers that people may sign in by.
#[derive(Clone, Debug)]
pub struct OidcConfig {
    /// Under which address browsers reach this server.
    pub public_url: Url,
    /// The providers, by unique names.
    pub providers: Vec<OidcProvider>,
    /// How providers are called.
    pub client: Client,
}

/// The providers with what is known of them.
#[derive(Debug)]
pub(crate) struct Oidc {
    public_url: Url,
    client: Client,
    providers: Vec<Arc<Provider>>,
    /// Journeys begun from one address.
    departures: Lockout<Option<IpAddr>>,
    ended: Outcomes,
}

impl Oidc {
    /// Makes them; `ended` counts how journeys end.
    pub(crate) fn new(config: OidcConfig, ended: Outcomes) -> Self {
        ended.announce(&["signed_in", "linked", "refused"]);
        Self {
            public_url: config.public_url,
            client: config.client,
            providers: config
                .providers
                .into_iter()
                .map(|provider| Arc::new(Provider::new(provider)))
                .collect(),
            departures: Lockout::new(Patience {
                free_attempts: 60,
                longest_wait: Duration::from_mins(1),
            }),
            ended,
        }
    }

    /// Lists the providers in the order of the configuration.
    pub(crate) fn list(&self) -> impl Iterator<Item = &OidcProvider> {
        self.providers.iter().map(|provider| &provider.config)
    }

    /// Counts a sign-in. Who begins there may go on.
    fn signed_in(&self, origin: &Origin) {
        self.ended.count("signed_in");
        self.departures.succeed(&origin.ip);
    }

    fn linked(&self, origin: &Origin) {
        self.ended.count("linked");
        self.departures.succeed(&origin.ip);
    }

    fn refused(&self) {
        self.ended.count("refused");
    }

    fn find(&self, name: &str) -> Result<&Arc<Provider>, OidcError> {
        self.providers
            .iter()
            .find(|provider| provider.config.name == name)
            .ok_or(OidcError::UnknownProvider)
    }

    /// Returns where the provider sends browsers back to: an address of its own for each, so that none can pass a code off as another's
    /// (RFC 9700, section 4.4).
    fn callback(&self, name: &str) -> Url {
        let mut url = self.public_url.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}{ROUTES}/{name}/callback"));
        url
    }
}
