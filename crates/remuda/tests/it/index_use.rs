//! Lists go by an index, however many rows there are.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use cluster::{ClusterConfig, ClusterDeps, Registry};
use http::Request;
use identity::{AuthConfig, Identity};
use primitives::{Clock, Secret, SystemClock};
use serde_json::Value;
use store::testing::{Plan, Plans, TestStore};
use store::{Db, Engine, Sealer, Statement};
use system::{System, SystemDeps};
use tower::ServiceExt as _;
use web::outbound::{Client, ClientConfig, Reach};

use crate::harness::PASSWORD;

/// Rows of requests, and as many of the journal.
const ROWS: u32 = 100_000;
/// For filling the tables, on a machine with much else to do.
const PATIENCE: std::time::Duration = std::time::Duration::from_mins(1);
/// Tables that grow without a bound of their own.
const LARGE: [&str; 2] = ["requests", "audit_log"];
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// Ids are in the order of time, as ours are.
const REQUESTS: Statement = Statement::per_engine(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
     INSERT INTO requests (id, received_at, principal_kind, principal_name, dialect, operation, model, node_id, node_name, status,
         outcome, stream, continued, retries, queue_us, total_us)
     SELECT printf('0198c0de-0000-7000-8000-%012d', i), i, 'user', 'u', 'ollama', 'chat', 'm' || (i % 50), 'n', 'n', 200,
         CASE WHEN i % 1000 = 0 THEN 'failed' ELSE 'ok' END, FALSE, 0, 0, 0, 1 FROM n",
    "INSERT INTO requests (id, received_at, principal_kind, principal_name, dialect, operation, model, node_id, node_name, status,
         outcome, stream, continued, retries, queue_us, total_us)
     SELECT '0198c0de-0000-7000-8000-' || lpad(CAST(i AS TEXT), 12, '0'), i, 'user', 'u', 'ollama', 'chat', 'm' || (i % 50), 'n', 'n', 200,
         CASE WHEN i % 1000 = 0 THEN 'failed' ELSE 'ok' END, FALSE, 0, 0, 0, 1 FROM generate_series(1, 100000) AS i",
);
const CHANGES: Statement = Statement::per_engine(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
     INSERT INTO audit_log (seq, at, action, actor_kind, actor_id, actor_name, org_id, subject_kind, subject_id, hash)
     SELECT 1000 + i, i, 'a' || (i % 500), 'user', 'p' || (i % 5000), 'p', printf('0198c0de-0000-7000-8000-%012d', i % 100), 'key',
         'k' || i, zeroblob(32) FROM n",
    "INSERT INTO audit_log (seq, at, action, actor_kind, actor_id, actor_name, org_id, subject_kind, subject_id, hash)
     SELECT 1000 + i, i, 'a' || (i % 500), 'user', 'p' || (i % 5000), 'p',
         '0198c0de-0000-7000-8000-' || lpad(CAST(i % 100 AS TEXT), 12, '0'), 'key', 'k' || i, decode(repeat('00', 32), 'hex') FROM generate_series(1, 100000) AS i",
);

store::on_every_engine! {
    every_list_goes_by_an_index,
}

struct Stage {
    router: Router,
    token: String,
    plans: Plans,
    engine: Engine,
}

impl Stage {
    async fn set(db: Db) -> Self {
        let plans = Plans::default();
        let engine = db.engine();
        let db = db.explained(plans.clone());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let sealer = Arc::new(Sealer::from_base64(&Secret::new(KEY.to_owned())).unwrap());
        let auth = AuthConfig {
            admin_password: Some(Secret::new(PASSWORD.to_owned())),
            ..AuthConfig::REQUIRED
        };
        let opened = Identity::open(db.clone(), sealer.clone(), clock.clone(), auth).await;
        let (identity, _) = opened.unwrap();
        let deps = ClusterDeps {
            db: db.clone(),
            sealer: sealer.clone(),
            clock: clock.clone(),
            client: Client::new(ClientConfig::new(Reach::Nodes)).unwrap(),
        };
        let registry = Registry::open(deps, ClusterConfig::default())
            .await
            .unwrap();
        let system = System::open(SystemDeps {
            db: db.clone(),
            sealer,
            clock: clock.clone(),
            identity: identity.clone(),
            registry: registry.clone(),
            defaults: std::collections::BTreeMap::new(),
        })
        .await
        .unwrap();
        let described = identity
            .routes()
            .merge(registry.routes(&identity))
            .merge(system.routes())
            .merge(gateway::routes(db, identity));
        let (router, _) = described.split_for_parts();
        let mut stage = Self {
            router: web::api_surface(router, clock),
            token: String::new(),
            plans,
            engine,
        };
        let sign_in = Request::post("/api/v1/login")
            .header("content-type", "application/json")
            .body(Body::from(format!(
                r#"{{"username":"admin","password":"{PASSWORD}"}}"#
            )));
        let session = stage.ask(sign_in.unwrap()).await;
        session["access_token"]
            .as_str()
            .unwrap()
            .clone_into(&mut stage.token);
        stage
    }

    async fn ask(&self, request: Request<Body>) -> Value {
        let path = request.uri().to_string();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = web::read_capped(response.into_body(), 1 << 22)
            .await
            .unwrap();
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    /// Lists, and returns how the database went about it.
    async fn plans_of(&self, path: &str) -> (Value, Vec<Plan>) {
        self.plans.take();
        let request = Request::get(path).header("authorization", format!("Bearer {}", self.token));
        let list = self.ask(request.body(Body::empty()).unwrap()).await;
        (list, self.plans.take())
    }
}

/// Tells whether a step of a plan reads a large table from end to end without an index.
fn reads_all(engine: Engine, step: &str) -> bool {
    LARGE.iter().any(|table| match engine {
        Engine::Postgres => step.contains(&format!("Seq Scan on {table}")),
        Engine::Sqlite => step.starts_with(&format!("SCAN {table}")) && !step.contains("USING"),
    })
}

async fn every_list_goes_by_an_index(store: TestStore) {
    let db = store.migrated().await.with_statement_timeout(PATIENCE);
    let mut tx = db.write().await.unwrap();
    for sql in [REQUESTS, CHANGES] {
        assert_eq!(tx.execute(sql, ()).await.unwrap(), u64::from(ROWS));
    }
    tx.commit().await.unwrap();
    let mut tx = db.write().await.unwrap();
    tx.execute("ANALYZE", ()).await.unwrap();
    tx.commit().await.unwrap();
    let stage = Stage::set(db).await;
    let mut looked_at = 0;
    for (path, filters) in [
        (
            "/api/v1/audit",
            vec![
                "action=a7",
                "actor_id=p77",
                "subject_id=k777",
                "action=a7&actor_id=p7",
                "offset=500",
            ],
        ),
        (
            "/api/v1/inference/requests",
            vec![
                "model=m7",
                "outcome=failed",
                "since=1970-01-01T00:00:00.100000Z",
            ],
        ),
        (
            "/api/v1/keys",
            vec!["sort=name", "sort=-created_at", "status=active", "q=a"],
        ),
        (
            "/api/v1/users",
            vec!["sort=name", "sort=-name", "role=admin", "q=a"],
        ),
        ("/api/v1/organisations", vec!["sort=name", "q=a"]),
        ("/api/v1/invitations", vec![]),
        ("/api/v1/me/sessions", vec![]),
        ("/api/v1/system/config/history", vec![]),
    ] {
        let mut first = String::new();
        for filter in std::iter::once("limit=50").chain(filters) {
            let list = format!("{path}?{filter}");
            let (page, plans) = stage.plans_of(&list).await;
            assert!(!plans.is_empty(), "{list}");
            for plan in plans {
                let worst = plan.lines.iter().find(|step| reads_all(stage.engine, step));
                assert_eq!(
                    worst, None,
                    "{list}: {} goes by {:#?}",
                    plan.sql, plan.lines
                );
                looked_at += 1;
            }
            if let Some(cursor) = page["next_cursor"].as_str()
                && filter == "limit=50"
            {
                cursor.clone_into(&mut first);
            }
        }
        if !first.is_empty() {
            let (_, plans) = stage.plans_of(&format!("{path}?cursor={first}")).await;
            assert!(
                plans
                    .iter()
                    .flat_map(|plan| &plan.lines)
                    .all(|step| !reads_all(stage.engine, step))
            );
        }
    }
    assert!(looked_at > 30, "{looked_at} plans");
}
