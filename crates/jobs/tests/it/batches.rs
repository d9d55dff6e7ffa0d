//! Files and batches through the routes that clients of the OpenAI API use.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request};
use jobs::{BatchAnswer, BatchExecutor, BatchRequest, JobsConfig};
use serde_json::{Value, json};
use store::testing::TestStore;
use tower::ServiceExt as _;

use crate::app::{Process, config};

store::on_every_engine! {
    a_file_is_stored_in_pieces_listed_read_and_deleted,
    a_batch_answers_every_line_in_its_order,
    what_is_wrong_with_lines_is_told_and_nothing_is_carried_out,
    a_slow_model_does_not_hold_up_another,
    a_batch_that_is_called_off_keeps_what_was_answered,
    a_batch_of_a_lost_process_goes_on_and_each_line_is_answered_once,
    a_batch_whose_time_is_over_says_so,
    files_and_batches_are_their_owners,
    forms_that_cannot_be_used_are_refused,
}

const ENDPOINT: &str = "/v1/chat/completions";
const PATIENCE: Duration = Duration::from_mins(1);

/// Answers as the model's name says: `hang` never, `wrong` with 400, `busy` with 503 the first time, others with their prompt.
#[derive(Default)]
pub(crate) struct Scripted {
    asked: AtomicUsize,
    busy: AtomicUsize,
}

impl BatchExecutor for Scripted {
    fn serves(&self, endpoint: &str) -> bool {
        endpoint == ENDPOINT
    }

    fn answer(&self, request: BatchRequest) -> BoxFuture<'static, BatchAnswer> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let asked: Value = serde_json::from_slice(&request.body).unwrap();
        let status = match asked["model"].as_str().unwrap() {
            "hang" => return Box::pin(std::future::pending()),
            "wrong" => 400,
            "busy" if self.busy.fetch_add(1, Ordering::SeqCst) == 0 => 503,
            _ => 200,
        };
        let answer = BatchAnswer {
            status,
            request_id: "r".to_owned(),
            retry_after: Some(Duration::from_millis(1)),
            body: Bytes::from(json!({"said": asked["prompt"]}).to_string()),
        };
        Box::pin(std::future::ready(answer))
    }
}

/// A client of the routes.
struct Client {
    router: Router,
    token: String,
}

fn line(name: &str, model: &str) -> String {
    json!({"custom_id": name, "method": "POST", "url": ENDPOINT, "body": {"model": model, "prompt": name}}).to_string()
}

fn form(purpose: &str, content: &str) -> String {
    format!(
        "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"in.jsonl\"\r\n\r\n{content}\r\n\
         --b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\n{purpose}\r\n--b--\r\n"
    )
}

impl Client {
    fn of(process: &Process) -> Self {
        Self {
            router: process.openai(),
            token: process.token().to_owned(),
        }
    }

    async fn bytes(&self, method: Method, path: &str, kind: &str, body: String) -> (u16, Vec<u8>) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", kind)
            .header("authorization", format!("Bearer {}", self.token))
            .body(Body::from(body));
        let answered = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        let status = answered.status().as_u16();
        let body = web::read_capped(answered.into_body(), 1 << 26)
            .await
            .unwrap();
        (status, body.to_vec())
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let (status, body) = self
            .bytes(method, path, "application/json", body.to_string())
            .await;
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn upload(&self, content: &str) -> Value {
        let kind = "multipart/form-data; boundary=b";
        let (status, body) = self
            .bytes(Method::POST, "/v1/files", kind, form("batch", content))
            .await;
        let file: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status, 200, "{file}");
        file
    }

    async fn submit(&self, content: &str) -> String {
        let file = self.upload(content).await;
        let wish =
            json!({"input_file_id": file["id"], "endpoint": ENDPOINT, "completion_window": "24h"});
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (status, batch) = self.call(Method::POST, "/v1/batches", wish.clone()).await;
            if status == 200 {
                return batch["id"].as_str().unwrap().to_owned();
            }
            // The loop may not have begun yet.
            assert!(
                status == 404 && Instant::now() < deadline,
                "{status} {batch}"
            );
            tokio::task::yield_now().await;
        }
    }

    async fn shown(&self, id: &str) -> Value {
        let path = format!("/v1/batches/{id}");
        let (status, batch) = self.call(Method::GET, &path, Value::Null).await;
        assert_eq!(status, 200, "{batch}");
        batch
    }

    async fn until(&self, id: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let batch = self.shown(id).await;
            if fits(&batch) {
                return batch;
            }
            assert!(Instant::now() < deadline, "waited in vain: {batch}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn lines(&self, file: &Value) -> Vec<Value> {
        let path = format!("/v1/files/{}/content", file.as_str().unwrap());
        let (status, body) = self
            .bytes(Method::GET, &path, "text/plain", String::new())
            .await;
        assert_eq!(status, 200);
        String::from_utf8(body)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

async fn a_file_is_stored_in_pieces_listed_read_and_deleted(store: TestStore) {
    let mut process = Process::start(&store, config()).await;
    let client = Client::of(&process);
    let content = format!("{}\n", line("a", "m")).repeat(9_000);
    let file = client.upload(&content).await;
    assert_eq!(file["bytes"], content.len());
    assert_eq!(file["filename"], "in.jsonl");
    let other = client.upload("x").await;
    let (_, page) = client
        .call(Method::GET, "/v1/files?limit=1", Value::Null)
        .await;
    assert_eq!(page["data"][0]["id"], other["id"]);
    assert_eq!(page["has_more"], true);
    let next = format!("/v1/files?limit=1&after={}", other["id"].as_str().unwrap());
    let (_, page) = client.call(Method::GET, &next, Value::Null).await;
    assert_eq!(page["data"][0]["id"], file["id"]);
    assert_eq!(page["has_more"], false);
    let path = format!("/v1/files/{}", file["id"].as_str().unwrap());
    let (status, read) = client
        .bytes(
            Method::GET,
            &format!("{path}/content"),
            "text/plain",
            String::new(),
        )
        .await;
    assert_eq!((status, read), (200, content.into_bytes()));
    let (status, gone) = client.call(Method::DELETE, &path, Value::Null).await;
    assert_eq!((status, &gone["deleted"]), (200, &json!(true)));
    let (status, error) = client.call(Method::GET, &path, Value::Null).await;
    assert_eq!(
        (status, &error["error"]["type"]),
        (404, &json!("invalid_request_error"))
    );
    let mut tx = process.db.read().await.unwrap();
    let pieces = tx
        .fetch_all("SELECT number FROM file_pieces", ())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(pieces.len(), 1, "those of the other are left");
    process.stop().await;
}

async fn a_batch_answers_every_line_in_its_order(store: TestStore) {
    let mut process = Process::start(&store, config()).await;
    let client = Client::of(&process);
    let models = ["m", "other", "busy"];
    let mut lines: Vec<String> = (0..700)
        .map(|number| line(&format!("n{number}"), models[number % 3]))
        .collect();
    lines.insert(350, line("bad", "wrong"));
    lines.insert(10, String::new());
    let id = client.submit(&lines.join("\n")).await;
    let batch = client
        .until(&id, |batch| batch["status"] == "completed")
        .await;
    let counts = json!({"total": 701, "completed": 700, "failed": 1});
    assert_eq!(batch["request_counts"], counts);
    let answers = client.lines(&batch["output_file_id"]).await;
    assert_eq!(answers.len(), 700);
    for (number, answer) in answers.iter().enumerate() {
        let name = format!("n{number}");
        assert_eq!(answer["custom_id"], name.as_str());
        assert_eq!(answer["response"]["body"]["said"], name.as_str());
    }
    let errors = client.lines(&batch["error_file_id"]).await;
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0]["response"]["status_code"], 400);
    // Soon what was asked and answered stands in the files alone.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut tx = process.db.read().await.unwrap();
        let left = tx
            .fetch_all("SELECT number FROM batch_lines", ())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        if left.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{} lines are left", left.len());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    process.stop().await;
}

async fn what_is_wrong_with_lines_is_told_and_nothing_is_carried_out(store: TestStore) {
    let few = JobsConfig {
        batch_lines: 3,
        ..config()
    };
    let mut process = Process::start(&store, few).await;
    let client = Client::of(&process);
    let lines = [
        line("a", "m"),
        line("a", "m"),
        "{".to_owned(),
        line("b", "m"),
    ];
    let id = client.submit(&lines.join("\n")).await;
    let batch = client.until(&id, |batch| batch["status"] == "failed").await;
    let faults = batch["errors"]["data"].as_array().unwrap();
    let found: Vec<(i64, &str)> = faults
        .iter()
        .map(|fault| {
            (
                fault["line"].as_i64().unwrap(),
                fault["code"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [(2, "duplicate_custom_id"), (3, "invalid_json_line")]
    );
    let lines: Vec<String> = (0..5).map(|n| line(&n.to_string(), "m")).collect();
    let id = client.submit(&lines.join("\n")).await;
    let batch = client.until(&id, |batch| batch["status"] == "failed").await;
    assert_eq!(batch["errors"]["data"][0]["code"], "too_many_requests");
    assert_eq!(batch["errors"]["data"][0]["line"], 4);
    let id = client.submit("\n\n").await;
    let batch = client.until(&id, |batch| batch["status"] == "failed").await;
    assert_eq!(batch["errors"]["data"][0]["code"], "empty_file");
    assert_eq!(process.scripted.asked.load(Ordering::SeqCst), 0);
    process.stop().await;
}

async fn a_slow_model_does_not_hold_up_another(store: TestStore) {
    let mut process = Process::start(&store, config()).await;
    let client = Client::of(&process);
    let mut lines: Vec<String> = (0..40).map(|n| line(&format!("h{n}"), "hang")).collect();
    lines.extend((0..40).map(|n| line(&format!("m{n}"), "m")));
    let id = client.submit(&lines.join("\n")).await;
    let batch = client
        .until(&id, |batch| batch["request_counts"]["completed"] == 40)
        .await;
    assert_eq!(batch["status"], "in_progress");
    process.stop().await;
}

async fn a_batch_that_is_called_off_keeps_what_was_answered(store: TestStore) {
    let mut process = Process::start(&store, config()).await;
    let client = Client::of(&process);
    let lines = [line("done", "m"), line("never", "hang")];
    let id = client.submit(&lines.join("\n")).await;
    client
        .until(&id, |batch| batch["request_counts"]["completed"] == 1)
        .await;
    let path = format!("/v1/batches/{id}/cancel");
    let (status, batch) = client.call(Method::POST, &path, json!({})).await;
    assert_eq!((status, &batch["status"]), (200, &json!("cancelling")));
    let batch = client
        .until(&id, |batch| batch["status"] == "cancelled")
        .await;
    assert!(batch["cancelled_at"].is_i64());
    let answers = client.lines(&batch["output_file_id"]).await;
    assert_eq!(answers[0]["custom_id"], "done");
    let errors = client.lines(&batch["error_file_id"]).await;
    assert_eq!(errors[0]["custom_id"], "never");
    assert_eq!(errors[0]["error"]["code"], "batch_cancelled");
    let (status, _) = client.call(Method::POST, &path, json!({})).await;
    assert_eq!(status, 409);
    process.stop().await;
}

async fn a_batch_of_a_lost_process_goes_on_and_each_line_is_answered_once(store: TestStore) {
    let mut lost = Process::start(&store, config()).await;
    let client = Client::of(&lost);
    let mut lines: Vec<String> = (0..50).map(|n| line(&format!("m{n}"), "m")).collect();
    lines.push(line("slow", "hang"));
    let id = client.submit(&lines.join("\n")).await;
    client
        .until(&id, |batch| batch["request_counts"]["completed"] == 50)
        .await;
    lost.die().await;
    let heir = Process::start(&store, config()).await;
    let path = format!("/v1/batches/{id}/cancel");
    // Whoever has it now asks for the line that is left, and for no other.
    let deadline = Instant::now() + PATIENCE;
    while heir.scripted.asked.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < deadline, "nobody took it over");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(heir.scripted.asked.load(Ordering::SeqCst), 1);
    let client = Client::of(&heir);
    client.call(Method::POST, &path, json!({})).await;
    let batch = client
        .until(&id, |batch| batch["status"] == "cancelled")
        .await;
    assert_eq!(batch["request_counts"]["completed"], 50);
    assert_eq!(client.lines(&batch["output_file_id"]).await.len(), 50);
}

async fn a_batch_whose_time_is_over_says_so(store: TestStore) {
    let mut process = Process::start(&store, config()).await;
    let client = Client::of(&process);
    let lines = [line("done", "m"), line("never", "hang")];
    let id = client.submit(&lines.join("\n")).await;
    client
        .until(&id, |batch| batch["request_counts"]["completed"] == 1)
        .await;
    let mut tx = process.db.write().await.unwrap();
    let past = "UPDATE batches SET expires_at = 1";
    tx.execute(past, ()).await.unwrap();
    tx.commit().await.unwrap();
    let batch = client
        .until(&id, |batch| batch["status"] == "expired")
        .await;
    let errors = client.lines(&batch["error_file_id"]).await;
    assert_eq!(errors[0]["error"]["code"], "batch_expired");
    process.stop().await;
}

async fn files_and_batches_are_their_owners(store: TestStore) {
    let mut process = Process::start(&store, config()).await;
    let owner = Client::of(&process);
    let file = owner.upload(&line("a", "m")).await;
    let id = owner.submit(&line("a", "m")).await;
    let body = json!({"username": "ann", "password": "a password of ann's"});
    let (status, made) = process
        .call(Method::POST, "/api/v1/users", body.clone())
        .await;
    assert_eq!(status, 201, "{made}");
    let (_, session) = process.call(Method::POST, "/api/v1/login", body).await;
    let other = Client {
        router: owner.router.clone(),
        token: session["access_token"].as_str().unwrap().to_owned(),
    };
    let file = file["id"].as_str().unwrap();
    for path in [
        format!("/v1/files/{file}"),
        format!("/v1/files/{file}/content"),
        format!("/v1/batches/{id}"),
    ] {
        let (status, _) = other.call(Method::GET, &path, Value::Null).await;
        assert_eq!(status, 404, "{path}");
    }
    let stranger = Client {
        router: owner.router.clone(),
        token: "rmd_nobody".to_owned(),
    };
    let (status, error) = stranger.call(Method::GET, "/v1/files", Value::Null).await;
    assert_eq!(
        (status, &error["error"]["code"]),
        (401, &json!("invalid_api_key"))
    );
    process.stop().await;
}

async fn forms_that_cannot_be_used_are_refused(store: TestStore) {
    let small = JobsConfig {
        file_limit: 1_000,
        ..config()
    };
    let mut process = Process::start(&store, small).await;
    let client = Client::of(&process);
    let multipart = "multipart/form-data; boundary=b";
    for (kind, body, status, says) in [
        ("application/json", "{}".to_owned(), 400, "multipart"),
        (multipart, form("assistants", "x"), 400, "purpose"),
        (multipart, "--b--\r\n".to_owned(), 400, "file"),
        (multipart, "--b\r\nhalf".to_owned(), 400, "form"),
        (
            multipart,
            form("batch", &"x".repeat(1_001)),
            413,
            "file_limit",
        ),
    ] {
        let (answered, said) = client.bytes(Method::POST, "/v1/files", kind, body).await;
        let said = String::from_utf8(said).unwrap();
        assert_eq!(answered, status, "{said}");
        assert!(said.contains(says), "{said}");
    }
    let mut tx = process.db.read().await.unwrap();
    let left = tx.fetch_all("SELECT id FROM files", ()).await.unwrap();
    tx.commit().await.unwrap();
    assert!(left.is_empty(), "what was refused leaves nothing behind");
    for (wish, says) in [
        (json!({"input_file_id": "file-x"}), "endpoint"),
        (
            json!({"input_file_id": "file-x", "endpoint": "/v1/images", "completion_window": "24h"}),
            "endpoint",
        ),
        (
            json!({"input_file_id": "file-x", "endpoint": ENDPOINT, "completion_window": "1h"}),
            "24h",
        ),
        (
            json!({"input_file_id": "file-x", "endpoint": ENDPOINT, "completion_window": "24h"}),
            "no file",
        ),
    ] {
        let (status, error) = client.call(Method::POST, "/v1/batches", wish).await;
        assert!(status == 400 || status == 404, "{error}");
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{message}");
    }
    process.stop().await;
}
