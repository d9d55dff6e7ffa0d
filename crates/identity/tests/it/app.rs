//! The identity routes as clients reach them, on a database of the test's own.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request};
use identity::{AuthConfig, AuthError, Identity, OpenError, Principal, SetupState};
use primitives::{Clock as _, ManualClock, Secret, Timestamp};
use serde_json::{Value, json};
use store::testing::TestStore;
use store::{Db, Sealer};
use tower::ServiceExt as _;
use web::{ClientAddress, api_surface, read_capped};

/// The password that the tests' administrator has.
pub(crate) const PASSWORD: &str = "correct horse";

/// Requires a credential from everybody.
pub(crate) const REQUIRED: AuthConfig = AuthConfig::REQUIRED;

pub(crate) struct TestApp {
    pub(crate) store: Arc<TestStore>,
    pub(crate) db: Db,
    pub(crate) clock: ManualClock,
    pub(crate) identity: Identity,
    pub(crate) setup: SetupState,
    router: Router,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<u64>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl TestApp {
    /// Starts on a fresh database, requiring credentials.
    pub(crate) async fn start(store: TestStore) -> Self {
        let db = store.migrated().await;
        let clock = ManualClock::new(Timestamp::from_micros(1_767_323_045_000_000));
        Self::open(Arc::new(store), db, clock, REQUIRED).await
    }

    /// Starts another process beside this one.
    pub(crate) async fn replica(&self) -> Self {
        let (store, clock) = (Arc::clone(&self.store), self.clock.clone());
        let db = store.open().await;
        Self::open(store, db, clock, REQUIRED).await
    }

    /// Starts again on what another process left.
    pub(crate) async fn restarted(self, config: AuthConfig) -> Self {
        self.db.close().await;
        let db = self.store.open().await;
        Self::open(self.store, db, self.clock, config).await
    }

    async fn open(store: Arc<TestStore>, db: Db, clock: ManualClock, config: AuthConfig) -> Self {
        let (identity, setup) = identity(&db, &clock, config).await.unwrap();
        let (router, description) = identity.routes().split_for_parts();
        let repeatable = web::repeatable_paths(&description);
        let router = identity.repeatable(router, repeatable);
        Self {
            router: api_surface(router, Arc::new(clock.clone())),
            store,
            db,
            clock,
            identity,
            setup,
        }
    }

    /// Returns the routes, for requests that the functions below do not make.
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    /// Returns the set-up token of the first start.
    pub(crate) fn setup_token(&self) -> &Secret<String> {
        match &self.setup {
            SetupState::TokenIssued(token) => token,
            other => panic!("no set-up token was issued: {other:?}"),
        }
    }

    /// Makes the administrator `admin` and returns the session's secret.
    pub(crate) async fn set_up(&self) -> String {
        let token = self.setup_token().expose().clone();
        let body = json!({"token": token, "username": "admin", "password": PASSWORD});
        let answer = self.post("/api/v1/setup", None, body).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.body["token"].as_str().unwrap().to_owned()
    }

    /// Makes a person with [`PASSWORD`] in the caller's organisation and returns the path of their record and their session's secret.
    pub(crate) async fn person(&self, admin: &str, username: &str, role: &str) -> (String, String) {
        let body = json!({"username": username, "password": PASSWORD, "role": role});
        let made = self.post("/api/v1/users", Some(admin), body).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let session = self.log_in(username, PASSWORD, "127.0.0.1").await;
        (
            format!("/api/v1/users/{}", made.body["id"].as_str().unwrap()),
            session.body["token"].as_str().unwrap().to_owned(),
        )
    }

    /// Signs a person with [`PASSWORD`] in and returns the access token.
    pub(crate) async fn sign_in(&self, username: &str) -> String {
        let answer = self.log_in(username, PASSWORD, "127.0.0.1").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body["access_token"].as_str().unwrap().to_owned()
    }

    /// Returns the path of the record of who is signed in.
    pub(crate) async fn own_record(&self, session: &str) -> String {
        let me = self.get("/api/v1/me", Some(session)).await.body;
        format!("/api/v1/users/{}", me["id"].as_str().unwrap())
    }

    /// Makes a key as `body` says and returns its id and its secret.
    pub(crate) async fn key(&self, admin: &str, body: Value) -> (String, String) {
        let answer = self.post("/api/v1/keys", Some(admin), body).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let text = |field: &str| answer.body[field].as_str().unwrap().to_owned();
        (text("id"), text("secret"))
    }

    pub(crate) async fn log_in(&self, username: &str, password: &str, from: &str) -> Answer {
        let body = json!({"username": username, "password": password});
        let mut request = request(Method::POST, "/api/v1/login", None, Some(body));
        let address: IpAddr = from.parse().unwrap();
        request.extensions_mut().insert(ClientAddress(address));
        self.send(request).await
    }

    pub(crate) async fn get(&self, path: &str, credential: Option<&str>) -> Answer {
        self.send(request(Method::GET, path, credential, None))
            .await
    }

    pub(crate) async fn post(&self, path: &str, credential: Option<&str>, body: Value) -> Answer {
        self.send(request(Method::POST, path, credential, Some(body)))
            .await
    }

    pub(crate) async fn patch(&self, path: &str, credential: Option<&str>, body: Value) -> Answer {
        self.send(request(Method::PATCH, path, credential, Some(body)))
            .await
    }

    pub(crate) async fn put(&self, path: &str, credential: Option<&str>, body: Value) -> Answer {
        self.send(request(Method::PUT, path, credential, Some(body)))
            .await
    }

    pub(crate) async fn delete(&self, path: &str, credential: Option<&str>) -> Answer {
        self.send(request(Method::DELETE, path, credential, None))
            .await
    }

    /// Decides as the inference path does.
    pub(crate) fn authenticate(&self, credential: Option<&str>) -> Result<Principal, AuthError> {
        self.identity
            .snapshot()
            .authenticate(credential, self.clock.now())
    }

    pub(crate) fn wait(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Sends a request with one more header.
    pub(crate) async fn send_with(
        &self,
        (method, path): (Method, &str),
        credential: Option<&str>,
        (name, value): (&'static str, &str),
        body: Value,
    ) -> Answer {
        let mut request = request(method, path, credential, Some(body));
        request.headers_mut().insert(name, value.parse().unwrap());
        self.send(request).await
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get("retry-after")
            .map(|value| value.to_str().unwrap().parse().unwrap());
        if status >= 400 {
            assert_eq!(
                response.headers()["content-type"],
                "application/problem+json"
            );
        }
        let headers = response.headers().clone();
        let body = read_capped(response.into_body(), 1 << 20).await.unwrap();
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body).unwrap()
        };
        Answer {
            status,
            retry_after,
            headers,
            body,
        }
    }
}

/// Opens the identities of a database.
pub(crate) async fn identity(
    db: &Db,
    clock: &ManualClock,
    config: AuthConfig,
) -> Result<(Identity, SetupState), OpenError> {
    let key = Secret::new("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned());
    let sealer = Arc::new(Sealer::from_base64(&key).unwrap());
    Identity::open(db.clone(), sealer, Arc::new(clock.clone()), config).await
}

fn request(
    method: Method,
    path: &str,
    credential: Option<&str>,
    body: Option<Value>,
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(credential) = credential {
        request = request.header("authorization", format!("Bearer {credential}"));
    }
    match body {
        Some(body) => request
            .header("content-type", "application/json")
            .body(Body::from(body.to_string())),
        None => request.body(Body::empty()),
    }
    .unwrap()
}
