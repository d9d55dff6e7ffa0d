//! `[[auth.oidc]]`: providers that people may sign in by.

use std::collections::BTreeSet;

use identity::{OidcProvider, Role, RoleRule, is_safe_provider};
use primitives::Secret;
use serde::Deserialize;
use url::Url;

use super::environment::Environment;
use super::error::ConfigError;
use super::origin::Origins;

/// The most providers.
const MOST: usize = 20;
/// The most rules of one provider.
const MOST_RULES: usize = 200;
/// The most characters of a provider's name.
const LONGEST_NAME: usize = 32;

/// A provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcSection {
    /// Its name in paths: lower-case letters, digits and `-`.
    pub name: String,
    /// What people read; the name when absent.
    #[serde(default)]
    pub label: Option<String>,
    /// Its issuer, exactly as its discovery document says it.
    pub issuer: String,
    /// Under what name it knows this server.
    pub client_id: String,
    /// The secret between it and this server; absent for public clients.
    #[serde(default)]
    pub client_secret: Option<Secret<String>>,
    /// The environment variable that holds the secret, in its place.
    #[serde(default)]
    pub client_secret_env: Option<String>,
    /// What is asked for: `openid`, `profile` and `email` unless set.
    #[serde(default = "usual_scopes")]
    pub scopes: Vec<String>,
    /// Whether people whose address the provider has confirmed are linked to the account with that address.
    #[serde(default)]
    pub link_by_email: bool,
    /// Whether people without an account get one.
    #[serde(default)]
    pub provision: bool,
    /// Whether roles follow the rules at every sign-in.
    #[serde(default)]
    pub sync_roles: bool,
    /// Who gets which role in which organisation; the first that fits counts.
    #[serde(default)]
    pub roles: Vec<OidcRoleSection>,
}

/// A claim that makes somebody something.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcRoleSection {
    /// The claim; dots lead into objects.
    pub claim: String,
    /// What it must be, or have among its values.
    pub value: String,
    /// The organisation's name; the first one when absent.
    #[serde(default)]
    pub organisation: Option<String>,
    /// What they may do there.
    pub role: Role,
}

fn usual_scopes() -> Vec<String> {
    ["openid", "profile", "email"].map(str::to_owned).to_vec()
}

impl OidcSection {
    /// Takes the secret from the environment where it stands there.
    pub(super) fn fill_in(&mut self, environment: &Environment) {
        if let Some(variable) = &self.client_secret_env
            && self.client_secret.is_none()
        {
            self.client_secret = environment
                .get(variable)
                .map(|secret| Secret::new(secret.to_owned()));
        }
    }

    /// Returns the provider as the sign-in wants it.
    pub(crate) fn provider(&self) -> OidcProvider {
        OidcProvider {
            name: self.name.clone(),
            label: self.label.clone(),
            issuer: self.issuer.clone(),
            client_id: self.client_id.clone(),
            client_secret: self.client_secret.clone(),
            scopes: self.scopes.clone(),
            link_by_email: self.link_by_email,
            provision: self.provision,
            sync_roles: self.sync_roles,
            rules: self
                .roles
                .iter()
                .map(|rule| RoleRule {
                    claim: rule.claim.clone(),
                    value: rule.value.clone(),
                    organisation: rule.organisation.clone(),
                    role: rule.role,
                })
                .collect(),
        }
    }
}

/// Checks every provider, and that names are unique.
pub(super) fn check(
    providers: &[OidcSection],
    public_url: Option<&Url>,
    at: &Origins,
) -> Result<(), ConfigError> {
    let bad = |reason: String| Err(at.bad(["auth", "oidc"], reason));
    if providers.is_empty() {
        return Ok(());
    }
    if public_url.is_none() {
        return bad(
            "needs server.public_url, the address under which browsers reach this server"
                .to_owned(),
        );
    }
    if providers.len() > MOST {
        return bad(format!("has {} providers: at most {MOST}", providers.len()));
    }
    let mut names = BTreeSet::new();
    for provider in providers {
        let name = &provider.name;
        if !is_name(name) {
            return bad(format!(
                "{name:?} is no name: 1 to {LONGEST_NAME} lower-case letters, digits or '-'"
            ));
        }
        if !names.insert(name) {
            return bad(format!("{name:?} stands twice: names are unique"));
        }
        if !is_issuer(&provider.issuer) {
            return bad(format!(
                "{name}: {:?} is no issuer: write it as its discovery document says it, as in \"https://login.example.org\"",
                provider.issuer
            ));
        }
        if provider.client_id.is_empty() {
            return bad(format!("{name}: client_id is empty"));
        }
        if let Some(variable) = &provider.client_secret_env
            && provider.client_secret.is_none()
        {
            return bad(format!(
                "{name}: the environment variable {variable} is not set: set it to the client's secret"
            ));
        }
        let is_scope = |text: &String| {
            let fits = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
            !text.is_empty() && text.bytes().all(fits)
        };
        if let Some(scope) = provider.scopes.iter().find(|scope| !is_scope(scope)) {
            return bad(format!("{name}: {scope:?} is no scope"));
        }
        if provider.roles.len() > MOST_RULES {
            return bad(format!("{name}: more than {MOST_RULES} roles"));
        }
        if provider.sync_roles && provider.roles.is_empty() {
            return bad(format!("{name}: sync_roles needs [[auth.oidc.roles]]"));
        }
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(fits)
}

fn is_issuer(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        is_safe_provider(&url)
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    })
}
