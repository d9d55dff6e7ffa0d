//! A provider that states what a test has it state, signed as a test wants it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::extract::{Form, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, StatusCode};
use identity::{OidcProvider, Role};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use primitives::Secret;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use url::Url;

pub(crate) const CLIENT: &str = "remuda";
pub(crate) const SECRET: &str = "between us: only";

/// How statements are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Signing {
    /// With the key that is published.
    #[default]
    Good,
    /// Not at all.
    None,
    /// With the published key as a shared secret.
    Shared,
    /// With a key that is not published, under the name of one that is.
    Foreign,
}

#[derive(Default)]
pub(crate) struct Script {
    /// Over what is stated otherwise.
    pub(crate) claims: Map<String, Value>,
    pub(crate) signing: Signing,
    /// What the discovery document says of itself, where that is not true.
    pub(crate) issuer: Option<String>,
    /// Whether codes are good for any number of times.
    pub(crate) is_careless: bool,
    pub(crate) promises_issuer: bool,
    key: Vec<u8>,
    key_id: u32,
    /// Codes with what they were asked for.
    codes: HashMap<String, HashMap<String, String>>,
    now: i64,
    url: String,
}

/// A provider on a port of its own.
#[derive(Clone)]
pub(crate) struct Provider {
    pub(crate) url: String,
    script: Arc<Mutex<Script>>,
}

impl Script {
    pub(crate) fn set_now(&mut self, now: i64) {
        self.now = now;
    }
}

impl Provider {
    /// Starts one whose clock stands at `now`, in seconds.
    pub(crate) async fn start(now: i64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let provider = Self {
            script: Arc::new(Mutex::new(Script {
                now,
                url: url.clone(),
                ..Script::default()
            })),
            url,
        };
        provider.rotate();
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        provider
    }

    /// Returns it as it is configured.
    pub(crate) fn config(&self, name: &str) -> OidcProvider {
        OidcProvider {
            name: name.to_owned(),
            label: None,
            issuer: self.url.clone(),
            client_id: CLIENT.to_owned(),
            client_secret: Some(Secret::new(SECRET.to_owned())),
            scopes: vec!["openid".to_owned(), "email".to_owned()],
            link_by_email: false,
            provision: false,
            sync_roles: false,
            rules: Vec::new(),
        }
    }

    /// Changes what it does.
    pub(crate) fn script(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    /// States this about whoever signs in next.
    pub(crate) fn states(&self, claims: &Value) {
        let claims = claims.as_object().unwrap().clone();
        self.script(|script| script.claims = claims);
    }

    /// Signs with another key from now on, and publishes that one alone.
    pub(crate) fn rotate(&self) {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let document = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        self.script(|script| {
            script.key = document.as_ref().to_vec();
            script.key_id += 1;
        });
    }

    /// Says yes to what a browser was sent for, and returns the query that it comes back with.
    pub(crate) fn approve(&self, location: &Url) -> String {
        let asked: HashMap<String, String> = location.query_pairs().into_owned().collect();
        assert_eq!(asked["response_type"], "code");
        assert_eq!(asked["client_id"], CLIENT);
        assert_eq!(asked["code_challenge_method"], "S256");
        assert!(asked["scope"].split(' ').any(|scope| scope == "openid"));
        let code = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
        let state = asked["state"].clone();
        self.script(|script| drop(script.codes.insert(code.clone(), asked)));
        format!("code={code}&state={state}")
    }
}

/// Returns a rule.
pub(crate) fn rule(value: &str, organisation: Option<&str>, role: Role) -> identity::RoleRule {
    identity::RoleRule {
        claim: "groups".to_owned(),
        value: value.to_owned(),
        organisation: organisation.map(str::to_owned),
        role,
    }
}

async fn discovery(State(provider): State<Provider>) -> Json<Value> {
    let script = provider.script.lock().unwrap();
    let url = &provider.url;
    Json(json!({
        "issuer": script.issuer.as_ref().unwrap_or(url),
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/keys"),
        "authorization_response_iss_parameter_supported": script.promises_issuer,
    }))
}

async fn keys(State(provider): State<Provider>) -> Json<Value> {
    let script = provider.script.lock().unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(&script.key).unwrap();
    let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
    // The second is of a kind that nobody here knows.
    Json(json!({"keys": [
        {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": script.key_id.to_string(), "use": "sig"},
        {"kty": "lattice", "kid": "of the future"},
    ]}))
}

async fn token(
    State(provider): State<Provider>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> (StatusCode, Json<Value>) {
    let mut script = provider.script.lock().unwrap();
    let expected = format!("Basic {}", STANDARD.encode("remuda:between+us%3A+only"));
    assert_eq!(headers["authorization"], expected.as_str());
    let refused = || {
        (
            StatusCode::BAD_REQUEST,
            Json(json!({"error": "invalid_grant"})),
        )
    };
    let found = if script.is_careless {
        script.codes.get(&form["code"]).cloned()
    } else {
        script.codes.remove(&form["code"])
    };
    let Some(asked) = found else {
        return refused();
    };
    let made = URL_SAFE_NO_PAD.encode(digest(&SHA256, form["code_verifier"].as_bytes()));
    if made != asked["code_challenge"] || form["redirect_uri"] != asked["redirect_uri"] {
        return refused();
    }
    let mut claims = json!({
        "iss": script.url, "aud": CLIENT, "sub": "someone", "nonce": asked["nonce"],
        "iat": script.now, "exp": script.now + 300,
    });
    for (name, value) in &script.claims {
        claims[name] = value.clone();
    }
    let id_token = sign(&script, &claims);
    (
        StatusCode::OK,
        Json(json!({"id_token": id_token, "access_token": "a", "token_type": "Bearer"})),
    )
}

fn sign(script: &Script, claims: &Value) -> String {
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some(script.key_id.to_string());
    match script.signing {
        Signing::Good => encode(&header, claims, &EncodingKey::from_ed_der(&script.key)).unwrap(),
        Signing::Foreign => {
            let random = aws_lc_rs::rand::SystemRandom::new();
            let other = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
            encode(&header, claims, &EncodingKey::from_ed_der(other.as_ref())).unwrap()
        }
        Signing::Shared => {
            let pair = Ed25519KeyPair::from_pkcs8(&script.key).unwrap();
            header.alg = Algorithm::HS256;
            let secret = EncodingKey::from_secret(pair.public_key().as_ref());
            encode(&header, claims, &secret).unwrap()
        }
        Signing::None => {
            let head = json!({"alg": "none", "kid": script.key_id.to_string()}).to_string();
            let body = claims.to_string();
            let [head, body] = [head, body].map(|text| URL_SAFE_NO_PAD.encode(text));
            format!("{head}.{body}.")
        }
    }
}
