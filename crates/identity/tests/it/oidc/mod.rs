//! Signing in by providers: a browser's journey there and back, and everything that may go wrong on it.

mod attacks;
mod people;
mod provider;

use std::time::Duration;

use http::Method;
use identity::{OidcConfig, OidcProvider, Pkce};
use primitives::Clock as _;
use serde_json::{Value, json};
use store::testing::TestStore;
use url::Url;
use web::outbound::{Client, ClientConfig, Reach};

use crate::app::{Answer, REQUIRED, TestApp};
use provider::Provider;

/// A browser that has come back from a provider.
struct Returned {
    status: u16,
    /// Where it was sent on to.
    location: Option<Url>,
}

/// A server with a provider.
struct Stage {
    app: TestApp,
    admin: String,
    provider: Provider,
}

impl Stage {
    /// Sets a server up that takes sign-ins from `corp`, and from `other`, which is another provider.
    async fn set(store: TestStore, configure: impl FnOnce(&mut OidcProvider)) -> Self {
        let app = TestApp::start(store).await;
        let admin = app.set_up().await;
        let now = app.clock.now().as_secs();
        let (provider, other) = (Provider::start(now).await, Provider::start(now).await);
        let mut corp = provider.config("corp");
        configure(&mut corp);
        let config = identity::AuthConfig {
            oidc: Some(OidcConfig {
                public_url: "http://llm.example.org/sub".parse().unwrap(),
                providers: vec![corp, other.config("other")],
                client: Client::new(ClientConfig::new(Reach::Nodes)).unwrap(),
            }),
            ..REQUIRED
        };
        Self {
            app: app.restarted(config).await,
            admin,
            provider,
        }
    }

    /// Sends a browser off; returns the provider's address with all parameters, and the cookie.
    async fn depart(&self, provider: &str, pkce: &Pkce) -> (Url, String) {
        let path = format!(
            "/api/v1/auth/oidc/{provider}/start?challenge={}&return_to=/ui/",
            pkce.challenge
        );
        let sent = self.app.get(&path, None).await;
        assert_eq!(sent.status, 303, "{}", sent.body);
        let header = |name: &str| sent.headers[name].to_str().unwrap().to_owned();
        let cookie = header("set-cookie");
        let scope = format!("; Path=/sub/api/v1/auth/oidc/{provider}/callback; ");
        assert!(cookie.contains(&scope), "{cookie}");
        let cookie = cookie.split(';').next().unwrap().to_owned();
        (header("location").parse().unwrap(), cookie)
    }

    /// Brings a browser back.
    async fn arrive(&self, provider: &str, query: &str, cookie: &str) -> Returned {
        let path = format!("/api/v1/auth/oidc/{provider}/callback?{query}");
        let cookie = ("cookie", cookie);
        let answer = self
            .app
            .send_with((Method::GET, &path), None, cookie, Value::Null)
            .await;
        let location = answer.headers.get("location");
        Returned {
            status: answer.status,
            location: location.map(|value| value.to_str().unwrap().parse().unwrap()),
        }
    }

    /// Makes the whole journey; returns the ticket, or the reason why there is none.
    async fn travel(&self, pkce: &Pkce) -> Result<String, String> {
        let (location, cookie) = self.depart("corp", pkce).await;
        let query = self.provider.approve(&location);
        self.arrive("corp", &query, &cookie).await.outcome()
    }

    /// Presents a ticket.
    async fn present(&self, ticket: &str, pkce: &Pkce) -> Answer {
        let body = json!({"ticket": ticket, "verifier": pkce.verifier.expose()});
        self.app.post("/api/v1/auth/oidc/token", None, body).await
    }

    /// Travels and signs in.
    async fn sign_in(&self) -> Answer {
        let pkce = Pkce::generate();
        let ticket = self.travel(&pkce).await.unwrap();
        self.present(&ticket, &pkce).await
    }

    /// Travels and links what comes of it to who is signed in.
    async fn link(&self, session: &str) -> Answer {
        let pkce = Pkce::generate();
        let ticket = self.travel(&pkce).await.unwrap();
        let body = json!({"ticket": ticket, "verifier": pkce.verifier.expose()});
        self.app
            .post("/api/v1/me/identities", Some(session), body)
            .await
    }

    /// Lists what was recorded last, the newest first.
    async fn recorded(&self, action: &str) -> Vec<Value> {
        let path = format!("/api/v1/audit?action={action}");
        let page = self.app.get(&path, Some(&self.admin)).await;
        assert_eq!(page.status, 200, "{}", page.body);
        page.body["items"].as_array().unwrap().clone()
    }

    fn wait(&self, by: Duration) {
        self.app.wait(by);
        let now = self.app.clock.now().as_secs();
        self.provider.script(|script| script.set_now(now));
    }
}

impl Returned {
    /// Returns the ticket, or the reason why there is none.
    fn outcome(&self) -> Result<String, String> {
        assert_eq!(self.status, 303);
        let location = self.location.as_ref().unwrap();
        let page = location.as_str().split('#').next().unwrap();
        assert_eq!(page, "http://llm.example.org/ui/");
        match location.fragment().unwrap().split_once('=').unwrap() {
            ("ticket", ticket) => Ok(ticket.to_owned()),
            ("error", reason) => Err(reason.to_owned()),
            other => panic!("{other:?}"),
        }
    }
}
