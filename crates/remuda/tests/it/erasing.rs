//! What is known of a person: given out as a whole, and erased so that nothing in any table names them any more.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Body;
use cluster::{ClusterConfig, ClusterDeps, Registry};
use http::{Method, Request};
use identity::{AuthConfig, Identity};
use jobs::{Jobs, JobsConfig, JobsDeps};
use primitives::{Clock, RequestId, Secret, SystemClock};
use serde_json::{Value, json};
use store::testing::TestStore;
use store::{Db, Params, Sealer, Statement, params};
use system::{System, SystemDeps};
use tower::ServiceExt as _;
use web::ClientAddress;
use web::outbound::{Client, ClientConfig, Reach};

use crate::harness::PASSWORD;

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// What names the person, and stands nowhere else.
const NAME: &str = "zacharias-q";
const EMAIL: &str = "zach@somewhere.example";
const CALLED: &str = "Zacharias Quill";
const ADDRESS: &str = "203.0.113.77";
const TRACES: [&str; 4] = [NAME, EMAIL, CALLED, ADDRESS];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_person_is_found_nowhere_on_sqlite() {
    an_erased_person_is_found_nowhere(TestStore::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_person_is_found_nowhere_on_postgres() {
    an_erased_person_is_found_nowhere(TestStore::postgres().await).await;
}

struct Stage {
    router: Router,
    db: Db,
    records: gateway::RequestsOfPeople,
    /// The administrator's token: they come from elsewhere.
    admin: OnceLock<String>,
}

impl Stage {
    async fn set(db: Db) -> Self {
        let sealer = Arc::new(Sealer::from_base64(&Secret::new(KEY.to_owned())).unwrap());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
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
            registry,
            defaults: BTreeMap::new(),
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
        let records = || gateway::RequestsOfPeople {
            db: db.clone(),
            clock: clock.clone(),
        };
        identity.add_personal_data(records());
        identity.add_personal_data(jobs);
        identity.add_personal_data(system);
        let (router, _) = identity.routes().split_for_parts();
        Self {
            records: records(),
            router: web::api_surface(router, clock),
            db,
            admin: OnceLock::new(),
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        credential: Option<&str>,
        body: Value,
    ) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(credential) = credential {
            request = request.header("authorization", format!("Bearer {credential}"));
        }
        let mut request = if body.is_null() {
            request.body(Body::empty()).unwrap()
        } else {
            request
                .header("content-type", "application/json")
                .body(Body::from(body.to_string()))
                .unwrap()
        };
        request
            .headers_mut()
            .insert("user-agent", "test".parse().unwrap());
        let by_admin = body["username"] == "admin"
            || credential.is_some_and(|token| self.admin.get().is_some_and(|own| own == token));
        let from = if by_admin { "192.0.2.9" } else { ADDRESS };
        let from = ClientAddress(from.parse().unwrap());
        request.extensions_mut().insert(from);
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = web::read_capped(response.into_body(), 1 << 22)
            .await
            .unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn log_in(&self, username: &str) -> String {
        let body = json!({"username": username, "password": PASSWORD});
        let (status, session) = self.ask(Method::POST, "/api/v1/login", None, body).await;
        assert_eq!(status, 200, "{session}");
        session["access_token"].as_str().unwrap().to_owned()
    }

    async fn run(&self, sql: impl Into<Statement>, values: Params) {
        let mut tx = self.db.write().await.unwrap();
        assert_eq!(tx.execute(sql, values).await.unwrap(), 1);
        tx.commit().await.unwrap();
    }

    /// Returns every row of every table as text.
    async fn dump(&self) -> Vec<(String, String)> {
        const COLUMNS: Statement = Statement::per_engine(
            "SELECT m.name AS t, 'SELECT ' || group_concat('quote(\"' || c.name || '\")', '||''|''||') || ' AS line FROM \"' || m.name || '\"' AS q
             FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' GROUP BY m.name",
            "SELECT CAST(tablename AS TEXT) AS t, 'SELECT CAST(x AS TEXT) AS line FROM \"' || tablename || '\" x' AS q
             FROM pg_tables WHERE schemaname = current_schema()",
        );
        let mut tx = self.db.read().await.unwrap();
        let mut rows = Vec::new();
        for row in tx.fetch_all(COLUMNS, ()).await.unwrap() {
            let (table, sql): (String, String) = (row.get("t").unwrap(), row.get("q").unwrap());
            let sql: &'static str = Box::leak(sql.into_boxed_str());
            for row in tx.fetch_all(sql, ()).await.unwrap() {
                rows.push((table.clone(), row.get::<String>("line").unwrap()));
            }
        }
        tx.commit().await.unwrap();
        assert!(rows.len() > 20, "{rows:?}");
        rows
    }

    async fn traces(&self) -> Vec<(String, String)> {
        let named = |line: &str| TRACES.iter().any(|trace| line.contains(trace));
        let mut rows = self.dump().await;
        rows.retain(|(_, line)| named(line));
        rows
    }

    async fn verified(&self, admin: &str) -> Value {
        let path = "/api/v1/audit/verify";
        self.ask(Method::GET, path, Some(admin), Value::Null)
            .await
            .1
    }
}

const REQUEST: &str = "INSERT INTO requests (id, received_at, principal_kind, principal_id, principal_name, client_address, dialect, operation,
         model, status, outcome, stream, continued, retries, queue_us, total_us)
     VALUES ($1, 1, $2, $3, $4, $5, 'ollama', 'chat', 'm', 200, 'ok', FALSE, 0, 0, 0, 1)";
const JOB: &str = "INSERT INTO jobs (id, kind, org_id, owner, caller, client_address, subject, class, state, created_at, run_at, attempt,
         most_attempts, chunks)
     VALUES ($1, 'chat', '00000000-0000-7000-8000-000000000001', $2, $2, $3, 'm', 'batch', 'queued', 1, 1, 0, 8, 0)";

async fn an_erased_person_is_found_nowhere(store: TestStore) {
    let stage = Stage::set(store.migrated().await).await;
    let admin = stage.log_in("admin").await;
    stage.admin.set(admin.clone()).unwrap();
    let body = json!({"username": NAME, "password": PASSWORD, "role": "admin"});
    let (status, made) = stage
        .ask(Method::POST, "/api/v1/users", Some(&admin), body)
        .await;
    assert_eq!(status, 201, "{made}");
    let id = made["id"].as_str().unwrap().to_owned();
    let them = stage.log_in(NAME).await;
    let body = json!({"email": EMAIL, "display_name": CALLED});
    let (status, told) = stage
        .ask(Method::PATCH, "/api/v1/me/profile", Some(&them), body)
        .await;
    assert_eq!(status, 200, "{told}");
    let body = json!({"name": format!("key of {NAME}"), "role": "admin"});
    let (status, key) = stage
        .ask(Method::POST, "/api/v1/keys", Some(&them), body)
        .await;
    assert_eq!(status, 201, "{key}");
    let key_id = key["id"].as_str().unwrap().to_owned();
    let secret = key["secret"].as_str().unwrap().to_owned();
    let body = json!({"role": "viewer", "note": format!("for a friend of {CALLED}")});
    let (status, _) = stage
        .ask(Method::POST, "/api/v1/invitations", Some(&secret), body)
        .await;
    assert_eq!(status, 201);
    for (number, kind, who) in [(1, "user", &id), (2, "key", &key_id)] {
        let request = format!("0198c0de-0000-7000-8000-00000000000{number}");
        let values = params![request, kind, who, NAME, ADDRESS];
        stage.run(REQUEST, values).await;
    }
    let job = "0198c0de-0000-7000-8000-000000000009";
    let owner = format!("user:{id}");
    stage.run(JOB, params![job, owner, ADDRESS]).await;
    // What somebody else does and is says nothing of them.
    let other = "0198c0de-0000-7000-8000-00000000000a";
    let values = params![other, "user", other, "somebody", "192.0.2.1"];
    stage.run(REQUEST, values).await;

    // Everything is in their export.
    let (status, export) = stage
        .ask(Method::GET, "/api/v1/me/export", Some(&them), Value::Null)
        .await;
    assert_eq!(status, 200);
    assert_eq!(export["person"]["username"], NAME);
    assert_eq!(export["person"]["email"], EMAIL);
    for (section, count) in [
        ("sessions", 1),
        ("keys", 1),
        ("invitations_made", 1),
        ("requests", 2),
        ("jobs", 1),
    ] {
        let items = export[section].as_array();
        assert_eq!(items.map(Vec::len), Some(count), "{section}: {export}");
    }
    let actions: Vec<&str> = export["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["action"].as_str().unwrap())
        .collect();
    for action in [
        "session.start",
        "profile.edit",
        "key.create",
        "invitation.create",
        "user.create",
    ] {
        assert!(actions.contains(&action), "{action}: {actions:?}");
    }
    let path = format!("/api/v1/users/{id}/export");
    let (status, by_admin) = stage
        .ask(Method::GET, &path, Some(&admin), Value::Null)
        .await;
    assert_eq!((status, &by_admin["person"]["email"]), (200, &json!(EMAIL)));

    // They are erased once the name was given rightly.
    let before = stage.traces().await;
    assert!(before.len() > 8, "{before:?}");
    let path = format!("/api/v1/users/{id}/erase");
    for (who, username, expected) in [(&admin, "another", 400), (&them, NAME, 409)] {
        let body = json!({"username": username});
        let (status, refused) = stage.ask(Method::POST, &path, Some(who), body).await;
        assert_eq!(status, expected, "{refused}");
    }
    let body = json!({"username": NAME});
    let (status, erasure) = stage
        .ask(Method::POST, &path, Some(&admin), body.clone())
        .await;
    assert_eq!(status, 200, "{erasure}");
    assert!(!erasure["kept"].as_array().unwrap().is_empty());
    assert_eq!(stage.traces().await, Vec::<(String, String)>::new());
    let rows = stage.dump().await;
    let of = |name: &str| rows.iter().filter(|(table, _)| table == name).count();
    assert_eq!((of("requests"), of("jobs")), (3, 0));
    assert!(rows.iter().any(|(_, line)| line.contains("somebody")));
    // A request that was under way: its record comes only now.
    let late = RequestId::first_at(stage.records.clock.now());
    stage
        .run(REQUEST, params![late, "key", key_id, NAME, ADDRESS])
        .await;
    assert_ne!(stage.traces().await, []);
    stage.records.erase_late().await.unwrap();
    assert_eq!(stage.traces().await, []);
    let (status, _) = stage
        .ask(Method::GET, "/api/v1/me", Some(&secret), Value::Null)
        .await;
    assert_eq!(status, 401);
    let (status, _) = stage.ask(Method::POST, &path, Some(&admin), body).await;
    assert_eq!(status, 404);

    // The chain holds, and still notices what was changed, in an erased record too.
    let chain = stage.verified(&admin).await;
    assert_eq!(chain["whole"], true, "{chain}");
    assert!(chain["erased"].as_u64().unwrap() > 5, "{chain}");
    let seq = erased_record(&stage).await;
    stage
        .run(
            "UPDATE audit_log SET actor_name = 'eve' WHERE seq = $1",
            params![seq],
        )
        .await;
    let chain = stage.verified(&admin).await;
    assert_eq!(chain["broken"]["seq"], seq, "{chain}");
}

async fn erased_record(stage: &Stage) -> i64 {
    let mut tx = stage.db.read().await.unwrap();
    let row = tx
        .fetch_optional(
            "SELECT seq FROM audit_log WHERE actor_name = 'erased' ORDER BY seq LIMIT 1",
            (),
        )
        .await
        .unwrap()
        .unwrap();
    tx.commit().await.unwrap();
    row.get("seq").unwrap()
}
