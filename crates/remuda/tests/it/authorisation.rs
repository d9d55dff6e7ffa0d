//! Who may do what: every operation of the API tried as every kind of caller, against a table that a person has read.
//!
//! An operation that is missing from the table fails the test, and so does one that answers otherwise than it says there. The things
//! that paths name belong to the organisation "lab"; `foreign` administers another one.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use testbed::{Reply, System, TestClient};

use crate::golden::assert_golden;
use crate::openapi::description;

const TABLE: &str = "crates/remuda/tests/it/authorisation.txt";
const PASSWORD: &str = "a password for the matrix";
const CONFIG: &str = "[auth]\nrequired = true\n";

/// Whom each operation is tried as, in the order of the table's columns.
const CALLERS: [&str; 8] = [
    "nobody", "viewer", "user", "operator", "admin", "key", "foreign", "platform",
];

/// One organisation with its people, another with an administrator, and who administers them all.
struct Stage {
    system: System,
    platform: TestClient,
    lab: String,
    callers: BTreeMap<&'static str, TestClient>,
    made: u32,
}

/// What a path names, and how it is known elsewhere.
struct Subject {
    path: String,
    marks: Vec<String>,
}

impl Stage {
    async fn set(system: System) -> Self {
        // With a key, since sessions are ended on the way.
        let admin = system.admin().await.unwrap();
        let body = json!({"name": "of the stage", "role": "admin"});
        let key = admin.post("/api/v1/keys", &body).await.unwrap();
        let key = text(&key.json().unwrap(), "secret");
        let platform = system.client().with_key(&key).unwrap();
        let mut stage = Self {
            callers: BTreeMap::new(),
            lab: String::new(),
            platform,
            system,
            made: 0,
        };
        let made = stage
            .make("/api/v1/organisations", &json!({"name": "lab"}))
            .await;
        stage.lab = text(&made, "id");
        let other = stage
            .make("/api/v1/organisations", &json!({"name": "other"}))
            .await;
        for role in ["viewer", "user", "operator", "admin"] {
            let org = stage.lab.clone();
            stage.person(&format!("lab-{role}"), role, &org).await;
            stage.sign_in(role).await;
        }
        stage
            .person("lab-foreign", "admin", &text(&other, "id"))
            .await;
        stage.sign_in("foreign").await;
        let body = json!({"name": "of the admin", "role": "admin"});
        let key = stage.callers["admin"]
            .post("/api/v1/keys", &body)
            .await
            .unwrap();
        let key = stage
            .system
            .client()
            .with_key(&text(&key.json().unwrap(), "secret"));
        stage.callers.insert("key", key.unwrap());
        stage.callers.insert("nobody", stage.system.client());
        stage.sign_in("platform").await;
        stage
    }

    /// Makes something as the administrator of the platform.
    async fn make(&self, path: &str, body: &Value) -> Value {
        let made = self.platform.post(path, body).await.unwrap();
        assert_eq!(made.status, 201, "{path}: {}", made.text());
        made.json().unwrap()
    }

    async fn person(&self, name: &str, role: &str, org: &str) -> Value {
        let body = json!({"username": name, "password": PASSWORD, "role": role, "org_id": org});
        self.make("/api/v1/users", &body).await
    }

    /// Signs a caller in, again where what they did ended their session.
    async fn sign_in(&mut self, name: &'static str) {
        let body = json!({"username": format!("lab-{name}"), "password": PASSWORD});
        let client = match name {
            "nobody" | "key" => return,
            "platform" => self.system.admin().await.unwrap(),
            _ => {
                let signed_in = self
                    .system
                    .client()
                    .post("/api/v1/login", &body)
                    .await
                    .unwrap();
                let token = text(&signed_in.json().unwrap(), "access_token");
                self.system.client().with_key(&token).unwrap()
            }
        };
        self.callers.insert(name, client);
    }

    /// Makes what the path names.
    async fn subject(&mut self, template: &str) -> Subject {
        self.made += 1;
        let number = self.made;
        let kind = template.trim_start_matches("/api/v1/").split('/').next();
        let unknown = "00000000-0000-7000-8000-0000000000ff".to_owned();
        let (id, marks) = match kind {
            _ if !template.contains('{') => {
                return Subject {
                    path: template.to_owned(),
                    marks: vec![self.lab.clone()],
                };
            }
            Some("keys") => {
                let body = json!({"name": format!("key {number}"), "org_id": self.lab});
                let made = self.make("/api/v1/keys", &body).await;
                (text(&made, "id"), vec![text(&made, "name")])
            }
            Some("users") => {
                let name = format!("person-{number}");
                let made = self.person(&name, "user", &self.lab).await;
                (text(&made, "id"), vec![name])
            }
            Some("invitations") => {
                let made = self
                    .make("/api/v1/invitations", &json!({"org_id": self.lab}))
                    .await;
                (text(&made, "id"), Vec::new())
            }
            Some("roles") => {
                let name = format!("role-{number}");
                let body = json!({"name": name, "permissions": ["keys:read"], "org_id": self.lab});
                self.make("/api/v1/roles", &body).await;
                return Subject {
                    path: format!("/api/v1/roles/{name}?org_id={}", self.lab),
                    marks: vec![name, self.lab.clone()],
                };
            }
            Some("organisations") => (self.lab.clone(), Vec::new()),
            Some("nodes") => {
                // Nothing listens there: the node is added with a warning.
                let body = json!({"name": format!("n{number}"), "url": format!("http://127.0.0.1:{number}")});
                let made = self.make("/api/v1/nodes", &body).await;
                (text(&made, "id"), Vec::new())
            }
            _ => (unknown, Vec::new()),
        };
        let (before, rest) = template.split_once('{').unwrap();
        let after = rest.split_once('}').unwrap().1;
        Subject {
            path: format!("{before}{id}{after}"),
            marks: marks.into_iter().chain([id, self.lab.clone()]).collect(),
        }
    }

    /// A body that is right, where a right one has an effect that does not stand in the way of the next caller's.
    fn body(&mut self, named: &str) -> Value {
        self.made += 1;
        let number = self.made;
        match named {
            "POST /api/v1/keys" => json!({"name": format!("key {number}"), "org_id": self.lab}),
            "POST /api/v1/users" => {
                json!({"username": format!("person-{number}"), "password": PASSWORD, "org_id": self.lab})
            }
            "POST /api/v1/roles" => {
                json!({"name": format!("role-{number}"), "permissions": ["keys:read"], "org_id": self.lab})
            }
            "POST /api/v1/invitations" => json!({"org_id": self.lab}),
            "POST /api/v1/organisations" => json!({"name": format!("org {number}")}),
            "POST /api/v1/nodes" => {
                json!({"name": format!("n{number}"), "url": format!("http://127.0.0.1:{number}")})
            }
            "POST /api/v1/graphql" => json!({"query": "{ keys { items { name } } }"}),
            "PUT /api/v1/system/config" => json!({"config": {"queue.batch": number}}),
            "POST /api/v1/system/config/rollback" => json!({"version": 0}),
            _ => json!({}),
        }
    }
}

fn text(value: &Value, field: &str) -> String {
    let found = value[field].as_str();
    found
        .unwrap_or_else(|| panic!("no {field}: {value}"))
        .to_owned()
}

/// Operations of the document as `METHOD path`.
fn operations(description: &Value) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            all.push((method.to_uppercase(), path.clone()));
        }
    }
    all.sort_by(|a, b| (&a.1, &a.0).cmp(&(&b.1, &b.0)));
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_lets_in_whom_the_table_says_and_nobody_else() {
    let system = System::builder().config(CONFIG).start().await.unwrap();
    let description = description(&system).await;
    let mut stage = Stage::set(system).await;
    let mut table = format!("{:<52} {}\n", "operation", CALLERS.join(" "));
    for (method, template) in operations(&description) {
        let named = format!("{method} {template}");
        let mut line = format!("{named:<52}");
        let mut subject = None;
        for caller in CALLERS {
            let Subject { path, marks } = match subject.take() {
                Some(subject) => subject,
                None => stage.subject(&template).await,
            };
            let body = stage.body(&named).to_string();
            let reply: Reply = stage.callers[caller]
                .send(method.parse().unwrap(), &path, body.into())
                .await
                .unwrap();
            let width = caller.len().max(3);
            write!(line, " {:<width$}", reply.status.as_u16()).unwrap();
            assert!(
                reply.status.as_u16() < 500,
                "{named} as {caller}: {}",
                reply.text()
            );
            if caller == "foreign" && reply.status.is_success() {
                let shown = reply.text();
                for mark in &marks {
                    assert!(
                        !shown.contains(mark),
                        "{named} shows {mark} to a stranger: {shown}"
                    );
                }
            }
            if reply.status.is_success() && method != "GET" {
                stage.sign_in(caller).await;
            } else {
                subject = Some(Subject { path, marks });
            }
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    assert_golden(TABLE, &table);
    stage.system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_organisation_is_as_one_that_does_not_exist() {
    let system = System::builder().config(CONFIG).start().await.unwrap();
    let description = description(&system).await;
    let stage = Stage::set(system).await;
    let foreign = &stage.callers["foreign"];
    let mut lists = 0;
    for (path, item) in description["paths"].as_object().unwrap() {
        let parameters = item["get"]["parameters"].as_array();
        let narrowed = |parameter: &Value| parameter["name"] == "org_id";
        if !parameters.into_iter().flatten().any(narrowed) {
            continue;
        }
        let unknown = "00000000-0000-7000-8000-0000000000ff";
        let mut answers = Vec::new();
        for org in [stage.lab.as_str(), unknown] {
            let reply = foreign.get(&format!("{path}?org_id={org}")).await.unwrap();
            let mut problem = reply.json().unwrap();
            problem["request_id"] = Value::Null;
            answers.push(problem.to_string().replace(org, "ORG"));
        }
        assert_eq!(answers[0], answers[1], "{path}");
        assert!(
            answers[0].contains("\"status\":404"),
            "{path}: {}",
            answers[0]
        );
        lists += 1;
    }
    assert!(
        lists >= 4,
        "{lists} lists can be narrowed to an organisation"
    );
    stage.system.stop().await;
}
