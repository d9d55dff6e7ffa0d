//! Lists go by an index, whatever they are narrowed to, with many rows behind them: `REMUDA_TEST_ROWS=1000000` makes them a million.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use cluster::{ClusterConfig, ClusterDeps, Registry};
use http::Request;
use identity::{AuthConfig, Identity};
use jobs::{Jobs, JobsConfig, JobsDeps};
use primitives::{Clock, Secret, SystemClock};
use serde_json::Value;
use store::testing::{Plan, Plans, TestStore};
use store::{Db, Engine, Sealer, Statement, Tx};
use system::{System, SystemDeps};
use tower::ServiceExt as _;
use web::outbound::{Client, ClientConfig, Reach};

use crate::harness::PASSWORD;

/// Rows of requests, and as many of the journal, unless the environment says otherwise.
const ROWS: u64 = 250_000;
/// Rows of jobs.
const JOBS: u64 = 100_000;
/// For filling the tables, on a machine with much else to do.
const PATIENCE: Duration = Duration::from_mins(2);
/// Tables that grow without a bound of their own, or with a large one.
const LARGE: [&str; 4] = ["requests", "audit_log", "jobs", "job_chunks"];
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// Ids are in the order of time, as ours are.
const REQUESTS: Statement = Statement::per_engine(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
     INSERT INTO requests (id, received_at, principal_kind, principal_name, dialect, operation, model, node_id, node_name, status,
         outcome, stream, continued, retries, queue_us, total_us)
     SELECT printf('%08x-%04x-7000-8000-%012d', i / 65536, i % 65536, i), i * 1000, 'user', 'u', 'ollama', 'chat', 'm' || (i % 50), 'n', 'n', 200,
         CASE WHEN i % 1000 = 0 THEN 'failed' ELSE 'ok' END, FALSE, 0, 0, 0, 1 FROM n",
    "INSERT INTO requests (id, received_at, principal_kind, principal_name, dialect, operation, model, node_id, node_name, status,
         outcome, stream, continued, retries, queue_us, total_us)
     SELECT lpad(to_hex(i / 65536), 8, '0') || '-' || lpad(to_hex(i % 65536), 4, '0') || '-7000-8000-' || lpad(CAST(i AS TEXT), 12, '0'), i * 1000, 'user',
         'u', 'ollama', 'chat', 'm' || (i % 50), 'n', 'n', 200,
         CASE WHEN i % 1000 = 0 THEN 'failed' ELSE 'ok' END, FALSE, 0, 0, 0, 1 FROM generate_series(1, CAST($1 AS BIGINT)) AS i",
);
const CHANGES: Statement = Statement::per_engine(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
     INSERT INTO audit_log (seq, at, action, actor_kind, actor_id, actor_name, org_id, subject_kind, subject_id, hash)
     SELECT 1000 + i, i, 'a' || (i % 500), 'user', 'p' || (i % 5000), 'p', printf('0198c0de-0000-7000-8000-%012d', i % 100), 'key',
         'k' || i, zeroblob(32) FROM n",
    "INSERT INTO audit_log (seq, at, action, actor_kind, actor_id, actor_name, org_id, subject_kind, subject_id, hash)
     SELECT 1000 + i, i, 'a' || (i % 500), 'user', 'p' || (i % 5000), 'p',
         '0198c0de-0000-7000-8000-' || lpad(CAST(i % 100 AS TEXT), 12, '0'), 'key', 'k' || i, decode(repeat('00', 32), 'hex')
     FROM generate_series(1, CAST($1 AS BIGINT)) AS i",
);
/// A thousand callers, one of whom is the one who asks.
const JOB_ROWS: Statement = Statement::per_engine(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
     INSERT INTO jobs (id, kind, org_id, owner, caller, subject, class, state, created_at, run_at, ended_at, attempt, most_attempts, chunks)
     SELECT printf('0198c0de-0000-7000-8000-%012d', i), 'chat', '00000000-0000-7000-8000-000000000001',
         CASE WHEN i % 1000 = 0 THEN $1 ELSE 'user:' || (i % 1000) END, $1, 'm', 'batch', 'completed', i, i, i, 1, 8, 0 FROM n",
    "INSERT INTO jobs (id, kind, org_id, owner, caller, subject, class, state, created_at, run_at, ended_at, attempt, most_attempts, chunks)
     SELECT '0198c0de-0000-7000-8000-' || lpad(CAST(i AS TEXT), 12, '0'), 'chat', '00000000-0000-7000-8000-000000000001',
         CASE WHEN i % 1000 = 0 THEN CAST($1 AS TEXT) ELSE 'user:' || (i % 1000) END, CAST($1 AS TEXT), 'm', 'batch', 'completed',
         i, i, i, 1, 8, 0 FROM generate_series(1, 100000) AS i",
);

/// The indexes that lists do not name are made after the rows: that takes a fraction of the time.
const INDEXES: Statement = Statement::per_engine(
    "SELECT name, sql AS made FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL
         AND tbl_name IN ('requests', 'audit_log', 'jobs')",
    // Those of partitions come and go with them.
    "SELECT CAST(indexname AS TEXT) AS name, replace(CAST(indexdef AS TEXT), ' ON ONLY ', ' ON ') AS made FROM pg_indexes
     WHERE tablename IN ('requests', 'audit_log', 'jobs') AND indexname NOT IN ('requests_id', 'audit_log_seq', 'jobs_id')",
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_list_goes_by_an_index_on_sqlite() {
    every_list_goes_by_an_index(TestStore::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_list_goes_by_an_index_on_postgres() {
    every_list_goes_by_an_index(TestStore::postgres().await).await;
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
            sealer: sealer.clone(),
            clock: clock.clone(),
            identity: identity.clone(),
            registry: registry.clone(),
            defaults: std::collections::BTreeMap::new(),
        })
        .await
        .unwrap();
        let jobs = Jobs::new(JobsDeps {
            db: db.clone(),
            sealer,
            clock: clock.clone(),
            identity: identity.clone(),
            config: JobsConfig::default(),
            observer: None,
        });
        let described = identity
            .routes()
            .merge(registry.routes(&identity))
            .merge(system.routes())
            .merge(jobs.routes())
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

    /// Lists, and returns how the database went about it. Totals are left out: they stop counting at their bound, and reading rows as
    /// they lie is the shortest way there.
    async fn plans_of(&self, path: &str) -> (Value, Vec<Plan>) {
        self.plans.take();
        let request = Request::get(path).header("authorization", format!("Bearer {}", self.token));
        let list = self.ask(request.body(Body::empty()).unwrap()).await;
        let mut plans = self.plans.take();
        plans.retain(|plan| !plan.sql.contains("AS counted"));
        assert!(!plans.is_empty(), "{path}");
        (list, plans)
    }

    /// Fails where a list reads a large table from end to end, or does not go by the index that it is meant to.
    fn check(&self, path: &str, plans: &[Plan], index: Option<&str>) {
        for plan in plans {
            let worst = plan.lines.iter().find(|step| reads_all(self.engine, step));
            assert_eq!(
                worst, None,
                "{path}: {} goes by {:#?}",
                plan.sql, plan.lines
            );
        }
        let Some(index) = index else {
            return;
        };
        let index = match (self.engine, index) {
            (Engine::Sqlite, "requests_id") => "sqlite_autoindex_requests_1",
            (Engine::Sqlite, "audit_log_seq") => "sqlite_autoindex_audit_log_1",
            (_, named) => named,
        };
        // Everything lies in one partition here, whose indexes are called after it.
        let goes = plans.iter().any(|plan| {
            let mut steps = plan.lines.iter();
            steps.any(|step| {
                step.replace("audit_log_before", "audit_log")
                    .contains(index)
            })
        });
        assert!(goes, "{path} does not go by {index}: {plans:#?}");
    }
}

/// Tells whether a step of a plan reads a large table from end to end without an index.
fn reads_all(engine: Engine, step: &str) -> bool {
    LARGE.iter().any(|table| match engine {
        // Where rows without a partition would be, there are none.
        Engine::Postgres => {
            step.contains(&format!("Seq Scan on {table}")) && !step.contains("audit_log_after")
        }
        Engine::Sqlite => step.starts_with(&format!("SCAN {table}")) && !step.contains("USING"),
    })
}

/// Fills the tables, their indexes made afterwards, and has the database look at what is in them.
async fn fill(db: &Db) {
    let mut tx = db.write().await.unwrap();
    let mut made = Vec::new();
    for row in tx.fetch_all(INDEXES, ()).await.unwrap() {
        let (name, sql): (String, String) = (row.get("name").unwrap(), row.get("made").unwrap());
        run(&mut tx, format!("DROP INDEX {name}")).await;
        made.push(sql);
    }
    assert!(made.len() > 8, "{made:?}");
    let rows = std::env::var("REMUDA_TEST_ROWS");
    let rows = rows.map_or(ROWS, |rows| rows.parse().unwrap());
    for sql in [REQUESTS, CHANGES] {
        let filled = tx.execute(sql, store::params![rows]).await.unwrap();
        assert_eq!(filled, rows);
    }
    for sql in made {
        run(&mut tx, sql).await;
    }
    tx.commit().await.unwrap();
}

/// Statements are fixed texts; those of this test live as long as it does.
async fn run(tx: &mut Tx, sql: String) {
    let sql: &'static str = Box::leak(sql.into_boxed_str());
    tx.execute(sql, ()).await.unwrap();
}

/// A list by its path: each way to narrow it, and the index that it goes by where there must be one.
type List = (&'static str, Vec<(&'static str, Option<&'static str>)>);

/// The lists, how each can be narrowed and sorted, and the index that it then goes by where its table is large.
fn lists() -> Vec<List> {
    let some = Some;
    vec![
        (
            "/api/v1/audit",
            vec![
                ("limit=50", some("audit_log_seq")),
                ("offset=500", some("audit_log_seq")),
                ("action=a7", some("audit_log_action_seq")),
                ("actor_id=p77", some("audit_log_actor_id_seq")),
                ("subject_id=k777", some("audit_log_subject_id_seq")),
                (
                    "org_id=00000000-0000-7000-8000-000000000001",
                    some("audit_log_org_id_seq"),
                ),
                ("action=a7&actor_id=p7", some("audit_log_actor_id_seq")),
                ("since=1970-01-01T00:00:00.100000Z", None),
                ("until=1970-01-01T00:00:00.190000Z", None),
            ],
        ),
        (
            "/api/v1/inference/requests",
            vec![
                ("limit=50", some("requests_id")),
                ("model=m7", some("requests_model_id")),
                ("model=nobody-has-it", some("requests_model_id")),
                ("model=m7&outcome=ok", some("requests_model_id")),
                ("node=nobody-is-it", some("requests_node_name_id")),
                ("model=m7&node=nobody-is-it", None),
                (
                    "node=0198c0de-0000-7000-8000-000000000001",
                    some("requests_id"),
                ),
                ("outcome=failed", some("requests_not_ok")),
                ("outcome=failed&model=m0", some("requests_not_ok")),
                ("outcome=ok", some("requests_id")),
                ("since=1970-01-01T00:03:10Z", some("requests_id")),
                ("offset=500", some("requests_id")),
                (
                    "caller=0198c0de-0000-7000-8000-000000000001",
                    some("requests_id"),
                ),
            ],
        ),
        (
            "/api/v1/inference/jobs",
            vec![
                ("limit=50", some("jobs_org_id_owner_id")),
                ("sort=created_at", some("jobs_org_id_owner_id")),
                ("sort=-created_at", some("jobs_org_id_owner_id")),
                ("state=failed", some("jobs_org_id_owner_id")),
                ("kind=chat&model=m", some("jobs_org_id_owner_id")),
                ("offset=50", some("jobs_org_id_owner_id")),
            ],
        ),
        (
            "/api/v1/keys",
            vec![
                ("sort=name", None),
                ("sort=-created_at", None),
                ("status=active", None),
                ("q=a", None),
            ],
        ),
        (
            "/api/v1/users",
            vec![
                ("sort=name", None),
                ("sort=-name", None),
                ("role=admin", None),
                ("disabled=true", None),
                ("q=a", None),
            ],
        ),
        (
            "/api/v1/organisations",
            vec![("sort=name", None), ("q=a", None)],
        ),
        ("/api/v1/invitations", vec![("limit=50", None)]),
        ("/api/v1/me/sessions", vec![("limit=50", None)]),
        ("/api/v1/system/config/history", vec![("limit=50", None)]),
    ]
}

async fn every_list_goes_by_an_index(store: TestStore) {
    let db = store.migrated().await.with_statement_timeout(PATIENCE);
    fill(&db).await;
    let stage = Stage::set(db.clone()).await;
    let request =
        Request::get("/api/v1/me").header("authorization", format!("Bearer {}", stage.token));
    let me = stage.ask(request.body(Body::empty()).unwrap()).await;
    let owner = format!("user:{}", me["id"].as_str().unwrap());
    let mut tx = db.write().await.unwrap();
    let filled = tx.execute(JOB_ROWS, store::params![owner]).await.unwrap();
    assert_eq!(filled, JOBS);
    tx.execute("ANALYZE", ()).await.unwrap();
    tx.commit().await.unwrap();
    let mut looked_at = 0;
    for (path, ways) in lists() {
        for (narrowed, index) in ways {
            let list = format!("{path}?{narrowed}");
            let (page, plans) = stage.plans_of(&list).await;
            stage.check(&list, &plans, index);
            looked_at += plans.len();
            if let Some(cursor) = page["next_cursor"].as_str() {
                let next =
                    format!("{path}?cursor={cursor}&{narrowed}").replace("offset=", "limit=");
                let (_, plans) = stage.plans_of(&next).await;
                stage.check(&next, &plans, index);
                looked_at += plans.len();
            }
        }
    }
    assert!(looked_at > 50, "{looked_at} plans");
}
