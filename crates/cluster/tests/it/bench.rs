//! A registry over a test database, with everything that it needs around it.

use identity::journal::Actor;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use identity::{AuthConfig, Identity, Origin, SignInRequest};
use primitives::{Clock, Secret, SystemClock};
use remuda_cluster::{ClusterConfig, ClusterDeps, FleetSnapshot, NodeSpec, NodeView, Registry};
use serde_json::Value;
use store::testing::TestStore;
use store::{Db, Sealer};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt as _;
use web::outbound::{Client, ClientConfig, Reach};

const PASSWORD: &str = "a long password for tests";
/// Longer than any of these tests needs: reached only when one fails.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Bench {
    pub(crate) registry: Registry,
    pub(crate) db: Db,
    router: Router,
    token: String,
    probes: CancellationToken,
    _stop: DropGuard,
}

/// Probes often, so that tests are quick.
pub(crate) fn quick() -> ClusterConfig {
    ClusterConfig {
        probe_interval: Duration::from_millis(250),
        probe_timeout: Duration::from_secs(2),
        check_timeout: Duration::from_millis(300),
        reconcile_interval: Duration::from_millis(100),
        ..ClusterConfig::default()
    }
}

pub(crate) fn deps(db: Db) -> ClusterDeps {
    let key = Secret::new("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned());
    ClusterDeps {
        db,
        sealer: Arc::new(Sealer::from_base64(&key).unwrap()),
        clock: Arc::new(SystemClock::new()),
        client: Client::new(ClientConfig::new(Reach::Nodes)).unwrap(),
    }
}

impl Bench {
    /// Opens everything; nodes are watched only after [`Self::watch`].
    pub(crate) async fn open(store: &TestStore) -> Self {
        let db = store.migrated().await;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let auth = AuthConfig {
            required: true,
            loopback_only: true,
            admin_password: Some(Secret::new(PASSWORD.to_owned())),
            ..AuthConfig::default()
        };
        let deps = deps(db.clone());
        let (identity, _) = Identity::open(db.clone(), Arc::clone(&deps.sealer), clock, auth)
            .await
            .unwrap();
        let sign_in = SignInRequest {
            username: "admin".to_owned(),
            password: Secret::new(PASSWORD.to_owned()),
            code: None,
            origin: Origin::default(),
        };
        let signed_in = identity.sign_in(sign_in).await.unwrap();
        let registry = Registry::open(deps, quick()).await.unwrap();
        let described = registry.routes(&identity).merge(identity.routes());
        let (router, _) = described.split_for_parts();
        let probes = CancellationToken::new();
        Self {
            registry,
            db,
            router,
            token: signed_in.access_token.expose().clone(),
            _stop: probes.clone().drop_guard(),
            probes,
        }
    }

    pub(crate) async fn sqlite() -> (TestStore, Self) {
        let store = TestStore::sqlite().await;
        let bench = Self::open(&store).await;
        (store, bench)
    }

    pub(crate) fn watch(&self) {
        self.registry.start_probes(self.probes.clone());
    }

    /// Ends everything and gives the database back, as a stop of the process does.
    pub(crate) async fn stop(self) {
        self.probes.cancel();
        self.registry.stopped().await;
        self.db.close().await;
    }

    pub(crate) async fn add(&self, name: &str, url: &str) -> Arc<NodeView> {
        self.registry
            .add_node(NodeSpec::new(name, url), &Actor::system())
            .await
            .unwrap()
            .node
    }

    pub(crate) fn node(&self, name: &str) -> Arc<NodeView> {
        self.registry.load_node(name).unwrap()
    }

    /// Waits until a snapshot satisfies `wanted`.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&FleetSnapshot) -> bool) {
        let mut changes = self.registry.subscribe();
        let reached = async {
            while !wanted(&self.registry.snapshot()) {
                changes.changed().await.unwrap();
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, reached).await.is_ok();
        assert!(
            in_time,
            "not reached: {what}; the fleet is {:#?}",
            self.registry.snapshot().nodes
        );
    }

    pub(crate) async fn until_state(&self, name: &str, state: &str) {
        let is_there = |fleet: &FleetSnapshot| {
            fleet
                .find_node_named(name)
                .is_some_and(|node| node.state.as_str() == state)
        };
        self.until(&format!("{name} is {state}"), is_there).await;
    }

    /// Calls the API as the administrator.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        self.call_as(Some(&self.token), method, path, body).await
    }

    pub(crate) async fn call_as(
        &self,
        token: Option<&str>,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let (status, _, body) = self.exchange(token, method, path, None, body).await;
        (status, body)
    }

    /// Changes a node while it has the version `tag`, as the administrator. Returns the status and the version afterwards.
    pub(crate) async fn put_if(&self, path: &str, tag: &str, body: Value) -> (StatusCode, String) {
        let (token, method) = (Some(self.token.as_str()), Method::PUT);
        let (status, tag, _) = self
            .exchange(token, method, path, Some(tag), Some(body))
            .await;
        (status, tag)
    }

    /// Returns the version that a node has.
    pub(crate) async fn version(&self, path: &str) -> String {
        let token = Some(self.token.as_str());
        self.exchange(token, Method::GET, path, None, None).await.1
    }

    async fn exchange(
        &self,
        token: Option<&str>,
        method: Method,
        path: &str,
        if_match: Option<&str>,
        body: Option<Value>,
    ) -> (StatusCode, String, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(tag) = if_match {
            request = request.header("if-match", tag);
        }
        let request = match body {
            Some(body) => request
                .header("content-type", "application/json")
                .body(Body::from(body.to_string())),
            None => request.body(Body::empty()),
        };
        let response = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        let status = response.status();
        let tag = response.headers().get("etag");
        let tag = tag.map_or(String::new(), |tag| tag.to_str().unwrap().to_owned());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).unwrap()
        };
        (status, tag, body)
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }
}
