//! The system's routes as clients reach them, on a database of the test's own, with the key in a file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use cluster::{ClusterConfig, ClusterDeps, Registry};
use http::{HeaderMap, Method, Request};
use identity::{AuthConfig, Identity, SetupState};
use primitives::{ManualClock, Timestamp};
use serde_json::{Value, json};
use store::testing::TestStore;
use store::{Db, Sealer};
use system::{SettingValue, System, SystemDeps};
use tempfile::TempDir;
use tower::ServiceExt as _;
use web::outbound::{Client, ClientConfig, Reach};
use web::{api_surface, read_capped};

pub(crate) const PASSWORD: &str = "correct horse";

/// One process on a database.
pub(crate) struct TestApp {
    pub(crate) db: Db,
    pub(crate) clock: ManualClock,
    pub(crate) identity: Identity,
    pub(crate) registry: Registry,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) system: System,
    pub(crate) admin: String,
    pub(crate) key_file: PathBuf,
    router: Router,
    folder: Arc<TempDir>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

fn defaults() -> BTreeMap<&'static str, SettingValue> {
    System::definitions()
        .iter()
        .map(|definition| {
            let value = match definition.key {
                "auth.registration" => "invite".into(),
                _ => 100.into(),
            };
            (definition.key, value)
        })
        .collect()
}

impl TestApp {
    /// Starts the first process and makes its administrator.
    pub(crate) async fn start(store: &TestStore) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Self::open(store, folder, None).await
    }

    /// Starts another process on the same database and the same key.
    pub(crate) async fn another(&self, store: &TestStore) -> Self {
        let admin = Some(self.admin.clone());
        Self::open(store, Arc::clone(&self.folder), admin).await
    }

    async fn open(store: &TestStore, folder: Arc<TempDir>, admin: Option<String>) -> Self {
        let db = store.migrated().await;
        let clock = ManualClock::new(Timestamp::from_micros(1_767_323_045_000_000));
        let key_file = folder.path().join("sealing.key");
        let sealer = Arc::new(Sealer::open_or_create(&key_file).unwrap());
        let shared: Arc<dyn primitives::Clock> = Arc::new(clock.clone());
        let (identity, setup) = Identity::open(
            db.clone(),
            Arc::clone(&sealer),
            Arc::clone(&shared),
            AuthConfig::REQUIRED,
        )
        .await
        .unwrap();
        let deps = ClusterDeps {
            db: db.clone(),
            sealer: Arc::clone(&sealer),
            clock: Arc::clone(&shared),
            client: Client::new(ClientConfig::new(Reach::Nodes)).unwrap(),
        };
        let registry = Registry::open(deps, ClusterConfig::default())
            .await
            .unwrap();
        let system = System::open(SystemDeps {
            db: db.clone(),
            sealer: Arc::clone(&sealer),
            clock: shared,
            identity: identity.clone(),
            registry: registry.clone(),
            defaults: defaults(),
        })
        .await
        .unwrap();
        let described = system
            .routes()
            .merge(identity.routes())
            .merge(registry.routes(&identity));
        let (router, _) = described.split_for_parts();
        let mut app = Self {
            router: api_surface(router, Arc::new(clock.clone())),
            db,
            clock,
            identity,
            registry,
            sealer,
            system,
            admin: admin.unwrap_or_default(),
            key_file,
            folder,
        };
        if let SetupState::TokenIssued(token) = setup {
            let body = json!({"token": token.expose(), "username": "admin", "password": PASSWORD});
            let made = app.call(Method::POST, "/api/v1/setup", body).await;
            made.body["access_token"]
                .as_str()
                .unwrap()
                .clone_into(&mut app.admin);
        }
        app
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, None).await
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Value) -> Answer {
        self.send(method, path, None, Some(body)).await
    }

    pub(crate) async fn put_if(&self, path: &str, tag: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, Some(tag), Some(body)).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        tag: Option<&str>,
        body: Option<Value>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json");
        if !self.admin.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.admin));
        }
        if let Some(tag) = tag {
            request = request.header("if-match", tag);
        }
        let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
        let response = self
            .router
            .clone()
            .oneshot(request.body(body).unwrap())
            .await
            .unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = read_capped(response.into_body(), 1 << 20).await.unwrap();
        Answer {
            status,
            headers,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        }
    }
}
