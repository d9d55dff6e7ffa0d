//! A process that serves the inventory, and a client of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request};
use identity::{AuthConfig, Identity};
use inventory::{Inventory, InventoryConfig, InventoryDeps};
use primitives::{Clock, Secret, SystemClock};
use serde_json::{Value, json};
use store::testing::TestStore;
use store::{Db, Sealer};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

const PASSWORD: &str = "correct horse";
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// One process.
pub(crate) struct Process {
    pub(crate) db: Db,
    pub(crate) inventory: Inventory,
    router: Router,
    working: Option<JoinHandle<()>>,
    stop: CancellationToken,
    token: Option<String>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// The key that seals what is stored.
pub(crate) fn sealer() -> Sealer {
    Sealer::from_base64(&Secret::new(KEY.to_owned())).unwrap()
}

impl Process {
    /// Starts one with an administrator, who is the client.
    pub(crate) async fn start(store: &TestStore, config: InventoryConfig) -> Self {
        let mut process = Self::idle(store, config).await;
        process.work();
        process
    }

    /// Starts one that carries nothing out yet.
    pub(crate) async fn idle(store: &TestStore, config: InventoryConfig) -> Self {
        Self::idle_by(store, config, Arc::new(SystemClock::new())).await
    }

    /// The same by another clock.
    pub(crate) async fn idle_by(
        store: &TestStore,
        config: InventoryConfig,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self::idle_over(store.migrated().await, config, clock).await
    }

    /// The same over a database that was reached in another way.
    pub(crate) async fn idle_over(db: Db, config: InventoryConfig, clock: Arc<dyn Clock>) -> Self {
        let sealer = Arc::new(sealer());
        let auth = AuthConfig {
            admin_password: Some(Secret::new(PASSWORD.to_owned())),
            ..AuthConfig::REQUIRED
        };
        let opened = Identity::open(db.clone(), sealer, clock.clone(), auth).await;
        let (identity, _) = opened.unwrap();
        let inventory = Inventory::new(InventoryDeps {
            db: db.clone(),
            clock: clock.clone(),
            identity: identity.clone(),
            config,
            origins: web::AllowedOrigins::default(),
        });
        let (router, _) = inventory
            .routes()
            .merge(identity.routes())
            .split_for_parts();
        let mut process = Self {
            db,
            inventory,
            router: web::api_surface(router, clock),
            working: None,
            stop: CancellationToken::new(),
            token: None,
        };
        let body = json!({"username": "admin", "password": PASSWORD});
        let session = process.send("/api/v1/login", &body.to_string()).await;
        process.token = Some(session.body["access_token"].as_str().unwrap().to_owned());
        process
    }

    pub(crate) fn work(&mut self) {
        let working = self.inventory.clone().work(self.stop.clone());
        self.working = Some(tokio::spawn(working));
    }

    /// Returns what ends the work, for a test that has it done beside.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Has the work end.
    pub(crate) fn stop_working(&self) {
        self.stop.cancel();
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        if let Some(working) = self.working.take() {
            working.await.unwrap();
        }
    }

    /// Acts as another caller from here on, or as nobody.
    pub(crate) fn act_as(&mut self, token: Option<&str>) {
        self.token = token.map(str::to_owned);
    }

    pub(crate) async fn request(&self, request: http::request::Builder, body: Body) -> Answer {
        let request = match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        let request = request.body(body).unwrap();
        let answered = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = answered.into_parts();
        let body = web::read_capped(body, 1 << 26).await.unwrap();
        let body = serde_json::from_slice(&body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }

    /// Posts JSON.
    pub(crate) async fn send(&self, path: &str, body: &str) -> Answer {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("content-type", "application/json");
        self.request(request, Body::from(body.to_owned())).await
    }

    /// Calls a function.
    pub(crate) async fn rpc(&self, function: &str, arguments: Value) -> Answer {
        self.send(&format!("/rpc/{function}"), &arguments.to_string())
            .await
    }

    pub(crate) async fn add(&self, serial: &str, slots: &str) -> Answer {
        let slots: Vec<String> = slots.chars().map(String::from).collect();
        let arguments = json!({"widget_sn": serial, "widget_name": "a part", "slots": slots});
        self.rpc("add_widget", arguments).await
    }

    pub(crate) async fn remove(&self, serial: &str) -> Answer {
        self.rpc("remove_widget", json!({"widget_sn": serial}))
            .await
    }

    pub(crate) async fn pair(
        &self,
        function: &str,
        first: &str,
        second: &str,
        port: &str,
    ) -> Answer {
        let arguments = json!({"widget1_sn": first, "widget2_sn": second, "port": port});
        self.rpc(function, arguments).await
    }

    /// Reads the whole table: serial number to its slots, each a port and a partner.
    pub(crate) async fn table(&self) -> BTreeMap<String, Vec<String>> {
        let mut tx = self.db.read().await.unwrap();
        let rows = tx
            .fetch_all(
                "SELECT w.serial_number AS serial_number, w.ports AS ports, a.serial_number AS one, b.serial_number AS two, c.serial_number AS three
                 FROM widgets w LEFT JOIN widgets a ON a.id = w.slot1 LEFT JOIN widgets b ON b.id = w.slot2
                 LEFT JOIN widgets c ON c.id = w.slot3",
                (),
            )
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let mut table = BTreeMap::new();
        for row in rows {
            let ports: String = row.get("ports").unwrap();
            let mut slots = Vec::new();
            for (port, column) in ports.chars().zip(["one", "two", "three"]) {
                let partner: Option<String> = row.get(column).unwrap();
                slots.push(format!("{port}-{}", partner.unwrap_or_default()));
            }
            // Which of two like slots is taken makes no difference.
            slots.sort();
            table.insert(row.get("serial_number").unwrap(), slots);
        }
        table
    }

    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let text = self.inventory.render_metrics();
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    }
}
