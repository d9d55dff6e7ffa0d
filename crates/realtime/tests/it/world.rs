//! A hub behind a real server, and the people who connect to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use identity::{AuthConfig, Identity};
use primitives::{Clock, Secret, SystemClock};
use realtime::{CallerId, Hub, HubConfig, HubDeps, Owner};
use serde_json::{Value, json};
use store::Sealer;
use store::testing::TestStore;
use testbed::{Reply, TestClient};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::listener::Listener;

const PASSWORD: &str = "correct horse battery";
/// A page that the operator allows.
pub(crate) const ALLOWED_ORIGIN: &str = "https://app.example.org";

pub(crate) struct World {
    pub(crate) hub: Hub,
    pub(crate) identity: Identity,
    pub(crate) address: SocketAddr,
    clock: Arc<dyn Clock>,
    _stop: DropGuard,
    _store: TestStore,
}

/// Somebody with a key.
pub(crate) struct Person {
    /// A client of the API as this person.
    pub(crate) api: TestClient,
    pub(crate) token: String,
    pub(crate) owner: Owner,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(configure: impl FnOnce(&mut HubConfig)) -> Self {
        let store = TestStore::sqlite().await;
        let db = store.migrated().await;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let key = Secret::new("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned());
        let sealer = Arc::new(Sealer::from_base64(&key).unwrap());
        let config = AuthConfig {
            admin_password: Some(Secret::new(PASSWORD.to_owned())),
            ..AuthConfig::REQUIRED
        };
        let (identity, _) = Identity::open(db, sealer, Arc::clone(&clock), config)
            .await
            .unwrap();
        let mut config = HubConfig::default();
        configure(&mut config);
        let deps = HubDeps {
            identity: identity.clone(),
            clock: Arc::clone(&clock),
            origins: Arc::new(|origin| origin == ALLOWED_ORIGIN),
            seed: 7,
        };
        let hub = Hub::new(deps, config);
        let stop = CancellationToken::new();
        tokio::spawn(hub.clone().keep(stop.clone()));
        let (identity_routes, _) = identity.routes().split_for_parts();
        let routes = web::api_surface(identity_routes.merge(hub.routes()), Arc::clone(&clock));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                served = axum::serve(listener, routes) => served.unwrap(),
                () = stopped.cancelled() => {}
            }
        });
        Self {
            hub,
            identity,
            address,
            clock,
            _stop: stop.drop_guard(),
            _store: store,
        }
    }

    /// Returns the administrator of the platform, signed in.
    pub(crate) async fn admin(&self) -> Person {
        self.signed_in("admin").await
    }

    async fn signed_in(&self, username: &str) -> Person {
        let sign_in = json!({"username": username, "password": PASSWORD});
        let reply = TestClient::new(self.address)
            .post("/api/v1/login", &sign_in)
            .await
            .unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        let token = text(&reply.json().unwrap(), "access_token");
        self.person_with(token)
    }

    /// Returns who presents a token.
    pub(crate) fn person_with(&self, token: String) -> Person {
        let principal = self
            .identity
            .snapshot()
            .authenticate(Some(&token), self.clock.now())
            .unwrap();
        Person {
            api: TestClient::new(self.address).with_key(&token).unwrap(),
            owner: Owner {
                org: principal.org,
                caller: CallerId::of(&principal),
            },
            token,
        }
    }

    /// Makes an organisation.
    pub(crate) async fn organisation(&self, admin: &Person, name: &str) -> String {
        let made = created(admin, "/api/v1/organisations", json!({"name": name})).await;
        text(&made, "id")
    }

    /// Makes a person and signs them in.
    pub(crate) async fn person(&self, admin: &Person, name: &str, role: &str, org: &str) -> Person {
        let body = json!({"username": name, "password": PASSWORD, "role": role, "org_id": org});
        created(admin, "/api/v1/users", body).await;
        self.signed_in(name).await
    }

    /// Makes a key of the administrator and returns its path and who presents it.
    pub(crate) async fn key(&self, admin: &Person, role: &str) -> (String, Person) {
        let body = json!({"name": format!("key of {role}"), "role": role});
        let made = created(admin, "/api/v1/keys", body).await;
        let path = format!("/api/v1/keys/{}", text(&made, "id"));
        (path, self.person_with(text(&made, "secret")))
    }

    /// Connects as a person.
    pub(crate) async fn connect(&self, person: &Person) -> Listener {
        let mut listener = Listener::open(self.address, "/ws", Some(&person.token))
            .await
            .unwrap();
        assert_eq!(listener.next().await["type"], "welcome");
        listener
    }

    /// Waits until so many are connected.
    pub(crate) async fn until_connected(&self, count: usize) {
        testbed::wait_until("connections", Duration::from_secs(20), || {
            self.hub.connections() == count
        })
        .await
        .unwrap();
    }

    /// Returns the number behind a line of the metrics.
    pub(crate) fn metric(&self, line: &str) -> u64 {
        let metrics = self.hub.render_metrics();
        let value = metrics
            .lines()
            .find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
        value.unwrap_or(0)
    }
}

impl Person {
    /// Sends a request of any method.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Reply {
        let body = body.map(|body| body.to_string().into()).unwrap_or_default();
        self.api.send(method, path, body).await.unwrap()
    }
}

pub(crate) async fn created(admin: &Person, path: &str, body: Value) -> Value {
    let reply = admin.api.post(path, &body).await.unwrap();
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.json().unwrap()
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap().to_owned()
}
