//! Asking a provider: the code for tokens, the token for who it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use primitives::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::{Url, form_urlencoded};
use web::outbound::Call;

use super::cookie::Journey;
use super::discovery::{Document, ask, fetch};
use super::error::OidcError;
use super::id_token::{self, Expected, IdTokenError};
use super::provider::OidcProvider;
use super::{Oidc, Provider};
use crate::identity::Identity;
use crate::model::Role;

/// What a provider states about somebody, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Statement {
    pub(super) issuer: String,
    pub(super) subject: String,
    /// Only where the provider has confirmed it.
    pub(super) email: Option<String>,
    pub(super) username: Option<String>,
    pub(super) name: Option<String>,
    /// What the rule that fits gives.
    pub(super) granted: Option<Granted>,
}

/// What a rule gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Granted {
    pub(super) organisation: Option<String>,
    pub(super) role: Role,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
    access_token: Option<Secret<String>>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl Identity {
    /// Exchanges a code, and checks what comes for it.
    pub(super) async fn ask_provider(
        &self,
        oidc: &Oidc,
        provider: &Provider,
        document: &Document,
        journey: &Journey,
        callback: &Url,
        code: &str,
    ) -> Result<Statement, OidcError> {
        let config = &provider.config;
        let call = oidc.client.post(&document.token_endpoint);
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", callback.as_str()),
            ("code_verifier", &journey.verifier),
        ];
        let (status, body) = ask(authenticated(call, config, document, &form)).await?;
        if !status.is_success() {
            let refusal = serde_json::from_slice::<Refusal>(&body);
            return Err(match refusal {
                Ok(Refusal { error }) => OidcError::Refused(error.chars().take(60).collect()),
                Err(_) => OidcError::Document {
                    what: "answer to a code",
                    reason: format!("it is {status}"),
                },
            });
        }
        let tokens: Tokens =
            serde_json::from_slice(&body).map_err(|error| OidcError::Document {
                what: "answer to a code",
                reason: error.to_string(),
            })?;
        let clock = &*self.inner.clock;
        let head = id_token::head(&tokens.id_token)?;
        let asking = (&oidc.client, clock);
        let key = provider
            .keys
            .find(head.key_id.as_deref(), &document.jwks_uri, asking)
            .await?
            .ok_or(IdTokenError::Key)?;
        let expected = Expected {
            issuer: &config.issuer,
            client_id: &config.client_id,
            nonce: &journey.nonce,
            now: clock.now(),
        };
        let mut claims = id_token::verify(&tokens.id_token, &head, &key, expected)?;
        if let (Some(url), Some(token)) = (&document.userinfo_endpoint, &tokens.access_token)
            && is_incomplete(config, &claims)
        {
            let more: Map<String, Value> = fetch(oidc.client.get(url).bearer(token)).await?;
            // Section 5.3.2: what is about another subject must not be used.
            if more.get("sub") != claims.get("sub") {
                return Err(IdTokenError::Subject.into());
            }
            for (name, value) in more {
                claims.entry(name).or_insert(value);
            }
        }
        Ok(statement(config, &claims))
    }
}

/// Adds what proves that the form is ours.
fn authenticated(
    call: Call,
    config: &OidcProvider,
    document: &Document,
    form: &[(&str, &str)],
) -> Call {
    let mut body = form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(form);
    let methods = &document.token_endpoint_auth_methods_supported;
    let supports = |method: &str| methods.iter().any(|one| one == method);
    let by_body = !supports("client_secret_basic") && supports("client_secret_post");
    let mut call = call.header(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    match &config.client_secret {
        // Without a list it is the head (OpenID Connect Discovery 1.0, section 3).
        Some(secret) if !by_body => {
            let encoded =
                |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = format!(
                "{}:{}",
                encoded(&config.client_id),
                encoded(secret.expose())
            );
            let value = format!("Basic {}", STANDARD.encode(pair));
            if let Ok(mut value) = HeaderValue::try_from(value) {
                value.set_sensitive(true);
                call = call.header(AUTHORIZATION, value);
            }
        }
        secret => {
            body.append_pair("client_id", &config.client_id);
            if let Some(secret) = secret {
                body.append_pair("client_secret", secret.expose());
            }
        }
    }
    call.bytes(Bytes::from(body.finish()))
}

/// Tells whether something is missing that the provider may tell elsewhere.
fn is_incomplete(config: &OidcProvider, claims: &Map<String, Value>) -> bool {
    let has = |name: &str| claims.contains_key(name);
    let asked = |scope: &str| config.scopes.iter().any(|one| one == scope);
    (asked("email") && !has("email"))
        || (asked("profile") && !has("preferred_username") && !has("name"))
        || (!config.rules.is_empty() && config.rule(claims).is_none())
}

fn statement(config: &OidcProvider, claims: &Map<String, Value>) -> Statement {
    let text = |name: &str| {
        let text = claims.get(name).and_then(Value::as_str)?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    let is_confirmed = claims.get("email_verified") == Some(&Value::Bool(true));
    Statement {
        issuer: config.issuer.clone(),
        subject: text("sub").unwrap_or_default(),
        email: text("email").filter(|_| is_confirmed),
        username: text("preferred_username"),
        name: text("name"),
        granted: config.rule(claims).map(|rule| Granted {
            organisation: rule.organisation.clone(),
            role: rule.role,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn provider() -> OidcProvider {
        OidcProvider {
            name: "corp".to_owned(),
            label: None,
            issuer: "https://login.example.org".to_owned(),
            client_id: "remuda".to_owned(),
            client_secret: None,
            scopes: vec!["email".to_owned()],
            link_by_email: true,
            provision: false,
            sync_roles: false,
            rules: Vec::new(),
        }
    }

    #[test]
    fn an_address_counts_only_where_the_provider_says_that_it_has_confirmed_it() {
        for (confirmed, counts) in [
            (json!(true), true),
            (json!(false), false),
            (json!("true"), false),
            (json!(1), false),
            (json!(null), false),
        ] {
            let claims =
                json!({"sub": "s", "email": "ann@example.org", "email_verified": confirmed});
            let statement = statement(&provider(), claims.as_object().unwrap());
            assert_eq!(statement.email.is_some(), counts, "{confirmed}");
        }
        let claims = json!({"sub": "s", "email": "ann@example.org"});
        assert_eq!(
            statement(&provider(), claims.as_object().unwrap()).email,
            None
        );
    }
}
