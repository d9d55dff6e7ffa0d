//! Answers that are promised and fetched later: nothing promised is lost, nothing is done twice.

use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use store::testing::TestStore;
use testbed::{
    Answer, Flavour, Gate, LinkBreaker, Reply, ReplyStream, ScriptedUpstream, System, TestClient,
};

use crate::harness::{Home, json as printed, one_line_refusal, succeed};
use crate::pair::Pair;
use crate::service::{Service, until};

const JOBS: &str = "/api/v1/inference/jobs";
const CHAT: &str = "/api/v1/inference/chat";
const QUESTION: &str = "What is a remuda?";

fn wish(question: &str) -> Value {
    json!({"model": "test-model", "messages": [{"role": "user", "content": question}]})
}

fn answer(question: &str) -> String {
    Answer::to(question, None).text()
}

async fn accepted(client: &TestClient, question: &str) -> Value {
    let reply = client.post(CHAT, &wish(question)).await.unwrap();
    assert_eq!(reply.status, 202, "{}", reply.text());
    let job = reply.json().unwrap();
    assert_eq!(
        reply.headers["location"],
        job["links"]["self"].as_str().unwrap()
    );
    job
}

fn path(job: &Value) -> String {
    job["links"]["self"].as_str().unwrap().to_owned()
}

async fn shown(client: &TestClient, job: &Value) -> Value {
    let reply = client.get(&path(job)).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json().unwrap()
}

/// Waits until a job is in a state, and returns it.
async fn in_state(client: &TestClient, job: &Value, state: &str) -> Value {
    let seen = std::sync::Mutex::new(Value::Null);
    let waited = until(&format!("the job is {state}"), async || {
        let now = shown(client, job).await;
        let there = now["state"] == state;
        *seen.lock().unwrap() = now;
        Ok(there)
    })
    .await;
    let seen = seen.into_inner().unwrap();
    assert!(waited.is_ok(), "{waited:?}: {seen}");
    seen
}

/// Waits until a piece of the answer can be read.
async fn has_begun(client: &TestClient, job: &Value) -> Value {
    until("a piece is there", async || {
        Ok(shown(client, job).await["pieces"].as_i64() > Some(0))
    })
    .await
    .unwrap();
    shown(client, job).await
}

/// One server-sent event.
#[derive(Debug, PartialEq)]
struct Event {
    id: i64,
    name: String,
    data: Value,
}

async fn next_event(stream: &mut ReplyStream) -> Option<Event> {
    loop {
        let text = stream.event().await.unwrap()?;
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        // Comments keep the connection alive.
        if let (Some(id), Some(name), Some(data)) = (field("id"), field("event"), field("data")) {
            return Some(Event {
                id: id.parse().unwrap(),
                name: name.to_owned(),
                data: serde_json::from_str(data).unwrap(),
            });
        }
    }
}

async fn follow(client: &TestClient, job: &Value, after: Option<i64>) -> ReplyStream {
    let client = match after {
        Some(after) => client
            .with_header("last-event-id", &after.to_string())
            .unwrap(),
        None => client.clone(),
    };
    let events = job["links"]["events"].as_str().unwrap();
    let stream = client.follow(events).await.unwrap();
    assert_eq!(stream.status, 200);
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    stream
}

async fn rest(mut stream: ReplyStream) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(event) = next_event(&mut stream).await {
        events.push(event);
    }
    events
}

/// Joins the text of events as a client does: an answer that begins anew takes back what was there.
fn text(events: &[Event]) -> String {
    let mut text = String::new();
    for event in events {
        match event.name.as_str() {
            "restarted" => text.clear(),
            "output" => {
                for part in event.data["output"].as_array().unwrap() {
                    assert_eq!(part["channel"], "content");
                    text.push_str(part["text"].as_str().unwrap());
                }
            }
            _ => {}
        }
    }
    text
}

fn has_no_gap(events: &[Event], after: i64) {
    let numbers: Vec<i64> = events.iter().map(|event| event.id).collect();
    let expected: Vec<i64> = (after + 1..).take(numbers.len()).collect();
    assert_eq!(numbers, expected, "{events:?}");
}

/// What two answers to the same question have in common.
fn comparable(mut answer: Value) -> Value {
    for varies in [
        "created_at",
        "total_duration",
        "load_duration",
        "prompt_eval_duration",
        "eval_duration",
    ] {
        answer.as_object_mut().unwrap().shift_remove(varies);
    }
    answer
}

fn chats(upstream: &ScriptedUpstream) -> usize {
    upstream.requests_to("/api/chat").len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_is_answered_as_a_live_request_is() {
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let system = System::builder().node(&upstream).start().await.unwrap();
    system.until_models(&["test-model"]).await.unwrap();
    let admin = system.admin().await.unwrap();
    let job = accepted(&admin, QUESTION).await;
    assert_eq!(job["kind"], "chat");
    assert_eq!(job["priority"], "batch");
    let done = in_state(&admin, &job, "completed").await;
    assert_eq!(
        done["result"]["message"]["content"],
        answer(QUESTION).as_str()
    );
    let mut live = wish(QUESTION);
    live["stream"] = json!(false);
    let live = admin
        .post("/api/chat", &live)
        .await
        .unwrap()
        .json()
        .unwrap();
    assert_eq!(comparable(done["result"].clone()), comparable(live));

    let body = json!({"model": "test-model", "prompt": QUESTION, "priority": "interactive"});
    let reply = admin
        .post("/api/v1/inference/generate", &body)
        .await
        .unwrap();
    assert_eq!(reply.status, 202, "{}", reply.text());
    let prompted = in_state(&admin, &reply.json().unwrap(), "completed").await;
    assert_eq!(prompted["result"]["response"], answer(QUESTION).as_str());
    assert_eq!(prompted["priority"], "interactive");

    // It is a request like any other, and can be explained like one.
    let record = format!(
        "/api/v1/inference/requests/{}",
        done["request_id"].as_str().unwrap()
    );
    until("the record is there", async || {
        Ok(admin.get(&record).await?.status == 200)
    })
    .await
    .unwrap();

    let list = admin
        .get(&format!("{JOBS}?state=completed&limit=1"))
        .await
        .unwrap();
    let page = list.json().unwrap();
    assert_eq!(page["total"], 2);
    assert_eq!(page["items"][0]["id"], prompted["id"]);
    assert!(page["items"][0].get("result").is_none(), "{page}");
    let next = page["next_cursor"].as_str().unwrap();
    let list = admin
        .get(&format!("{JOBS}?state=completed&cursor={next}"))
        .await
        .unwrap();
    assert_eq!(list.json().unwrap()["items"][0]["id"], done["id"]);
    let oldest = admin
        .get(&format!(
            "{JOBS}?sort=created_at&kind=chat&model=test-model"
        ))
        .await
        .unwrap();
    let oldest = oldest.json().unwrap();
    assert_eq!(
        (&oldest["items"][0]["id"], &oldest["total"]),
        (&done["id"], &json!(1))
    );
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_sees_the_job_of_another() {
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let system = System::builder()
        .config("[auth]\nrequired = true\n")
        .node(&upstream)
        .start()
        .await
        .unwrap();
    system.until_models(&["test-model"]).await.unwrap();
    let admin = system.admin().await.unwrap();
    let mut clients = Vec::new();
    for (name, role) in [("ann", "user"), ("bob", "admin"), ("eve", "viewer")] {
        let body = json!({"username": name, "password": "a password of jobs", "role": role});
        assert_eq!(
            admin.post("/api/v1/users", &body).await.unwrap().status,
            201
        );
        let body = json!({"username": name, "password": "a password of jobs"});
        let session = system.client().post("/api/v1/login", &body).await.unwrap();
        let token = session.json().unwrap()["access_token"]
            .as_str()
            .unwrap()
            .to_owned();
        clients.push(system.client().with_key(&token).unwrap());
    }
    let [ann, bob, eve] = &clients[..] else {
        panic!()
    };
    let job = accepted(ann, QUESTION).await;
    in_state(ann, &job, "completed").await;
    for stranger in [bob, eve, &admin] {
        let (own, cancel) = (path(&job), format!("{}/cancel", path(&job)));
        let events = stranger.get(&format!("{own}/events")).await.unwrap();
        assert_eq!(events.status, 404, "{}", events.text());
        for (method, path) in [
            (Method::GET, &own),
            (Method::POST, &cancel),
            (Method::DELETE, &own),
        ] {
            let reply = stranger.send(method, path, "{}".into()).await.unwrap();
            assert_eq!(reply.status, 404, "{}", reply.text());
        }
        let list = stranger.get(JOBS).await.unwrap().json().unwrap();
        assert_eq!(list["total"], 0, "{list}");
    }
    assert_eq!(eve.post(CHAT, &wish(QUESTION)).await.unwrap().status, 403);
    assert_eq!(
        system
            .client()
            .post(CHAT, &wish(QUESTION))
            .await
            .unwrap()
            .status,
        401
    );
    // What they ask lies in the database sealed.
    let file = std::fs::read(system.data_dir().join("remuda.db-wal")).unwrap();
    assert!(
        !file
            .windows(QUESTION.len())
            .any(|part| part == QUESTION.as_bytes())
    );
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_loses_no_job_and_does_none_twice() -> anyhow::Result<()> {
    let gate = Gate::closed();
    let upstream = ScriptedUpstream::start(Flavour::Ollama)?;
    upstream.edit_script(|script| script.gate = Some((5, gate.clone())));
    let home = Home::new();
    let config = "[jobs]\nlease = \"8s\"\n";
    let first = Service::start(home.up_over(&[&upstream], config)).await?;
    let job = accepted(&first.admin, QUESTION).await;
    let begun = has_begun(&first.admin, &job).await;
    assert_eq!(
        (&begun["state"], &begun["attempt"]),
        (&json!("running"), &json!(1))
    );
    let mut stream = follow(&first.admin, &job, None).await;
    let mut before = vec![next_event(&mut stream).await.unwrap()];
    assert_eq!(before[0].name, "output");
    let waiting = accepted(&first.admin, "the second question").await;
    assert_eq!(first.server.stop("KILL"), None);
    gate.open();

    let second = Service::start(home.up_over(&[&upstream], config)).await?;
    let done = in_state(&second.admin, &job, "completed").await;
    assert_eq!(
        done["result"]["message"]["content"],
        answer(QUESTION).as_str()
    );
    assert_eq!(done["attempt"], 2, "{done}");
    let other = in_state(&second.admin, &waiting, "completed").await;
    assert_eq!(
        other["result"]["message"]["content"],
        answer("the second question").as_str()
    );
    // Who followed it goes on, and is told that the answer begins anew.
    let seen = before[0].id;
    let after = rest(follow(&second.admin, &job, Some(seen)).await).await;
    assert_eq!(after[0].name, "restarted", "{after:?}");
    assert_eq!(after.last().unwrap().name, "completed");
    before.extend(after);
    assert_eq!(text(&before), answer(QUESTION));
    let list = second.admin.get(JOBS).await?.json()?;
    assert_eq!(list["total"], 2, "{list}");
    assert!(second.metric("remuda_jobs_leases_lost_total").await? >= 1);
    let metrics = second.admin.get("/metrics").await?.text();
    let ended = "remuda_jobs_ended_total{state=\"completed\"} 2";
    assert!(metrics.contains(ended), "{metrics}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_accepted_job_ends_once_when_one_of_two_servers_is_killed() -> anyhow::Result<()> {
    let config = "[jobs]\nlease = \"3s\"\nconcurrency = 4\n";
    let pair = Pair::start(TestStore::postgres().await, config).await?;
    let mut jobs = Vec::new();
    for number in 0..40 {
        let question = format!("question {number}");
        let door = [&pair.here.admin, &pair.there.admin][number % 2];
        jobs.push((accepted(door, &question).await, question));
    }
    let batch = batch(&pair.there.admin, 60).await?;
    // Somewhere in the middle.
    in_state(&pair.here.admin, &jobs[2].0, "completed").await;
    assert_eq!(pair.there.server.stop("KILL"), None);
    for (job, question) in &jobs {
        let done = in_state(&pair.here.admin, job, "completed").await;
        let said = &done["result"]["message"]["content"];
        assert_eq!(said, answer(question).as_str(), "{done}");
    }
    let list = pair.here.admin.get(JOBS).await?.json()?;
    assert_eq!(list["total"], 40, "{list}");
    let path = format!("/v1/batches/{batch}");
    until("the batch is done", async || {
        let now = pair.here.admin.get(&path).await?.json()?;
        Ok(now["status"] == "completed" && now["request_counts"]["completed"] == 60)
    })
    .await?;
    let now = pair.here.admin.get(&path).await?.json()?;
    let file = now["output_file_id"].as_str().unwrap_or_default();
    let answers = pair
        .here
        .admin
        .get(&format!("/v1/files/{file}/content"))
        .await?;
    let names: BTreeSet<String> = answers
        .text()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["custom_id"].to_string())
        .collect();
    assert_eq!((names.len(), answers.text().lines().count()), (60, 60));
    Ok(())
}

/// Has so many lines answered as a batch, and returns its id.
async fn batch(client: &TestClient, lines: u32) -> anyhow::Result<String> {
    let text: Vec<String> = (0..lines)
        .map(|number| {
            json!({"custom_id": number.to_string(), "method": "POST", "url": "/v1/chat/completions", "body": wish("a line")})
                .to_string()
        })
        .collect();
    let form = format!(
        "--b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n\
         --b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n{}\r\n--b--\r\n",
        text.join("\n")
    );
    let uploading = client.with_header("content-type", "multipart/form-data; boundary=b")?;
    let file = uploading
        .send(Method::POST, "/v1/files", form.into())
        .await?
        .json()?;
    let wish = json!({"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"});
    let batch = client.post("/v1/batches", &wish).await?;
    anyhow::ensure!(batch.status == 200, "{}", batch.text());
    Ok(batch.json()?["id"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn administrators_see_kinds_pause_them_and_replay_what_failed() {
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let system = System::builder().node(&upstream).start().await.unwrap();
    system.until_models(&["test-model"]).await.unwrap();
    let admin = system.admin().await.unwrap();
    let job = accepted(&admin, QUESTION).await;
    in_state(&admin, &job, "completed").await;
    let pause = |action: &str| format!("/api/v1/jobs/kinds/chat/{action}");
    let reply = admin.post(&pause("pause"), &json!({})).await.unwrap();
    assert_eq!(reply.status, 204, "{}", reply.text());
    let waiting = accepted(&admin, "a second question").await;
    let kinds = admin
        .get("/api/v1/jobs/kinds")
        .await
        .unwrap()
        .json()
        .unwrap();
    let kinds = kinds["items"].as_array().unwrap().clone();
    let chat = kinds.iter().find(|kind| kind["kind"] == "chat").unwrap();
    assert!(chat["paused_at"].is_string(), "{chat}");
    assert_eq!(chat["queued"], 1, "{chat}");
    assert_eq!(shown(&admin, &waiting).await["state"], "queued");
    let reply = admin.post(&pause("resume"), &json!({})).await.unwrap();
    assert_eq!(reply.status, 204, "{}", reply.text());
    in_state(&admin, &waiting, "completed").await;
    for action in ["job_kind.pause", "job_kind.resume"] {
        let path = format!("/api/v1/audit?action={action}");
        let changes = admin.get(&path).await.unwrap().json().unwrap();
        assert_eq!(changes["items"][0]["subject_id"], "chat", "{changes}");
        assert_eq!(changes["total"], 1, "{changes}");
    }
    let schedules = admin.get("/api/v1/jobs/schedules").await.unwrap();
    assert_eq!(schedules.json().unwrap()["items"][0]["kind"], "batch_sweep");
    let id = waiting["id"].as_str().unwrap();
    let reply = admin
        .post(&format!("/api/v1/jobs/dead/{id}/replay"), &json!({}))
        .await
        .unwrap();
    assert_eq!(reply.status, 409, "{}", reply.text());
    let reply = admin
        .post("/api/v1/jobs/kinds/nothing/pause", &json!({}))
        .await
        .unwrap();
    assert_eq!(reply.status, 404);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_gives_the_attempt_back() {
    let gate = Gate::closed();
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    upstream.edit_script(|script| script.gate = Some((5, gate.clone())));
    let system = System::builder().node(&upstream).start().await.unwrap();
    system.until_models(&["test-model"]).await.unwrap();
    let admin = system.admin().await.unwrap();
    let job = accepted(&admin, QUESTION).await;
    has_begun(&admin, &job).await;
    let system = system.restart().await.unwrap();
    gate.open();
    let admin = system.admin().await.unwrap();
    let done = in_state(&admin, &job, "completed").await;
    assert_eq!(done["attempt"], 1, "{done}");
    let events = rest(follow(&admin, &job, None).await).await;
    assert_eq!(text(&events), answer(QUESTION));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_a_job_misses_nothing_and_hears_nothing_twice() {
    let gate = Gate::closed();
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    upstream.edit_script(|script| script.gate = Some((10, gate.clone())));
    let system = System::builder().node(&upstream).start().await.unwrap();
    system.until_models(&["test-model"]).await.unwrap();
    let admin = system.admin().await.unwrap();
    let job = accepted(&admin, QUESTION).await;
    let mut whole = follow(&admin, &job, None).await;
    let mut cut = follow(&admin, &job, None).await;
    let mut events = vec![next_event(&mut cut).await.unwrap()];
    drop(cut);
    gate.open();
    let seen = events[0].id;
    events.extend(rest(follow(&admin, &job, Some(seen)).await).await);
    has_no_gap(&events, 0);
    assert_eq!(text(&events), answer(QUESTION));
    let end = events.last().unwrap();
    assert_eq!(end.name, "completed");
    assert_eq!(
        end.data["result"]["message"]["content"],
        answer(QUESTION).as_str()
    );
    // Who followed all along got the same.
    let mut live = Vec::new();
    while let Some(event) = next_event(&mut whole).await {
        live.push(event);
    }
    assert_eq!(live, events);
    // There is nothing left to tell.
    let links = job["links"]["events"].as_str().unwrap();
    let last = admin
        .with_header("last-event-id", &end.id.to_string())
        .unwrap();
    assert_eq!(last.get(links).await.unwrap().status, 204);
    for bad in ["x", "-1"] {
        let bad = admin.with_header("last-event-id", bad).unwrap();
        assert_eq!(bad.get(links).await.unwrap().status, 400);
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_called_off_at_once_also_while_it_runs() {
    let gate = Gate::closed();
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    upstream.edit_script(|script| script.gate = Some((5, gate.clone())));
    let system = System::builder().node(&upstream).start().await.unwrap();
    system.until_models(&["test-model"]).await.unwrap();
    let admin = system.admin().await.unwrap();
    let job = accepted(&admin, QUESTION).await;
    has_begun(&admin, &job).await;
    let early = admin
        .send(Method::DELETE, &path(&job), "".into())
        .await
        .unwrap();
    assert_eq!(early.status, 409, "{}", early.text());
    let cancel = job["links"]["cancel"].as_str().unwrap();
    let cancelled = admin.post(cancel, &json!({})).await.unwrap();
    assert_eq!(cancelled.json().unwrap()["state"], "cancelled");
    let hears = async || upstream.cancellations().len() == 1;
    until("the node hears of it", async || Ok(hears().await))
        .await
        .unwrap();
    let again = admin.post(cancel, &json!({})).await.unwrap();
    assert_eq!(again.status, 409, "{}", again.text());
    let events = rest(follow(&admin, &job, None).await).await;
    assert_eq!(events.last().unwrap().name, "cancelled");
    let gone = admin
        .send(Method::DELETE, &path(&job), "".into())
        .await
        .unwrap();
    assert_eq!(gone.status, 204, "{}", gone.text());
    assert_eq!(admin.get(&path(&job)).await.unwrap().status, 404);
    system.stop().await;
}

fn detail(reply: &Reply) -> String {
    reply.json().unwrap()["detail"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_done_is_refused_with_what_to_do() {
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let config = "[jobs]\nconcurrency = 0\nmax_queued_of_organisation = 2\n";
    let system = System::builder()
        .config(config)
        .node(&upstream)
        .start()
        .await
        .unwrap();
    system.until_models(&["test-model"]).await.unwrap();
    let admin = system.admin().await.unwrap();
    let mut large = wish("x");
    large["messages"][0]["content"] = json!("x".repeat(5 << 20));
    let mut odd = wish("x");
    odd["colour"] = json!("red");
    let mut nameless = wish("x");
    nameless["model"] = json!("nobody-has-it");
    for (body, status, hint) in [
        (large, 413, "4194304"),
        (odd, 400, "colour"),
        (nameless, 404, "nobody-has-it"),
        (json!({"model": "test-model"}), 400, "messages"),
        (
            json!({"model": "test-model", "messages": [{"role": 7}]}),
            400,
            "expected a string",
        ),
        (
            json!({"model": "test-model", "messages": [], "priority": "urgent"}),
            400,
            "urgent",
        ),
    ] {
        let reply = admin.post(CHAT, &body).await.unwrap();
        assert_eq!(reply.status, status, "{}", reply.text());
        assert!(detail(&reply).contains(hint), "{}", reply.text());
    }
    for (path, status) in [
        (format!("{JOBS}/nothing"), 404),
        (format!("{JOBS}/0198c0de-0000-7000-8000-0000000000ff"), 404),
        (format!("{JOBS}?limit=0"), 400),
        (format!("{JOBS}?state=lost"), 400),
        (format!("{JOBS}?cursor=eA"), 400),
        (format!("{JOBS}?colour=red"), 400),
    ] {
        assert_eq!(admin.get(&path).await.unwrap().status, status, "{path}");
    }
    let first = accepted(&admin, "one").await;
    accepted(&admin, "two").await;
    let full = admin.post(CHAT, &wish("three")).await.unwrap();
    assert_eq!(full.status, 429, "{}", full.text());
    assert_eq!(full.headers["retry-after"], "10");
    assert!(
        detail(&full).contains("max_queued_of_organisation"),
        "{}",
        full.text()
    );
    let cancel = first["links"]["cancel"].as_str().unwrap();
    assert_eq!(admin.post(cancel, &json!({})).await.unwrap().status, 200);
    accepted(&admin, "three").await;
    // Sent again under the same name it is accepted once.
    let named = admin.with_header("idempotency-key", "the-same").unwrap();
    let cancel = "0198c0de-0000-7000-8000-0000000000ff";
    assert_eq!(
        admin
            .post(&format!("{JOBS}/{cancel}/cancel"), &json!({}))
            .await
            .unwrap()
            .status,
        404
    );
    let full = named.post(CHAT, &wish("four")).await.unwrap();
    assert_eq!(full.status, 429);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_away_is_waited_for() {
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let system = System::builder().node(&upstream).start().await.unwrap();
    system.until_models(&["test-model"]).await.unwrap();
    let admin = system.admin().await.unwrap();
    upstream.kill();
    let job = accepted(&admin, QUESTION).await;
    until("it was tried in vain", async || {
        Ok(shown(&admin, &job).await["error"].is_object())
    })
    .await
    .unwrap();
    upstream.restart().unwrap();
    let done = in_state(&admin, &job, "completed").await;
    assert_eq!(
        done["result"]["message"]["content"],
        answer(QUESTION).as_str()
    );
    assert!(done.get("error").is_none(), "{done}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_on_one_postgres_share_the_work() {
    let database = TestStore::postgres().await;
    let url = database.config().url.expose();
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let config = "[store]\nencryption_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n[jobs]\nconcurrency = 4\n";
    let start = || {
        let builder = System::builder().config(config).database(url);
        builder.node(&upstream).start()
    };
    let (one, two) = (start().await.unwrap(), start().await.unwrap());
    for system in [&one, &two] {
        system.until_models(&["test-model"]).await.unwrap();
    }
    let before = chats(&upstream);
    let (admin, other) = (one.admin().await.unwrap(), two.admin().await.unwrap());
    let mut jobs = Vec::new();
    for number in 0..30 {
        let question = format!("question {number}");
        jobs.push((accepted(&admin, &question).await, question));
    }
    let mut ids = BTreeSet::new();
    for (job, question) in &jobs {
        let done = in_state(&other, job, "completed").await;
        assert_eq!(
            done["result"]["message"]["content"],
            answer(question).as_str()
        );
        ids.insert(done["request_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), jobs.len());
    assert_eq!(chats(&upstream) - before, jobs.len());
    // What one process carries out is followed and called off at the other.
    let events = rest(follow(&other, &jobs[0].0, None).await).await;
    assert_eq!(text(&events), answer(&jobs[0].1));
    one.stop().await;
    two.stop().await;
}

/// Takes the database away from under a server that carries jobs out, and gives it back.
async fn outlives_an_outage(database: TestStore) -> anyhow::Result<()> {
    let url = database.config().url.expose();
    let link = LinkBreaker::before(url).await?;
    let upstream = ScriptedUpstream::start(Flavour::Ollama)?;
    upstream.edit_script(|script| script.token_delay = Duration::from_millis(5));
    let home = Home::new();
    let mut up = home.up_over(&[&upstream], "[jobs]\nlease = \"3s\"\nconcurrency = 8\n");
    up.env("REMUDA_STORE__URL", link.through(url)?);
    if let Some(direct) = &database.config().direct_url {
        up.env("REMUDA_STORE__DIRECT_URL", direct.expose());
    }
    let service = Service::start(up).await?;
    let mut promised = Vec::new();
    for number in 0..20 {
        let question = format!("question {number}");
        promised.push((accepted(&service.admin, &question).await, question));
    }
    has_begun(&service.admin, &promised[0].0).await;
    link.cut();
    service.until_health("database", false).await?;
    for _ in 0..3 {
        let refused = service
            .admin
            .post(CHAT, &wish("nobody promises this"))
            .await?;
        assert_eq!(refused.status, 503, "{}", refused.text());
    }
    link.restore();
    service.until_health("database", true).await?;
    for number in 20..25 {
        let question = format!("question {number}");
        promised.push((accepted(&service.admin, &question).await, question));
    }
    for (job, question) in &promised {
        let done = in_state(&service.admin, job, "completed").await;
        assert_eq!(
            done["result"]["message"]["content"],
            answer(question).as_str()
        );
        let events = rest(follow(&service.admin, job, None).await).await;
        assert_eq!(text(&events), answer(question));
    }
    let list = service.admin.get(JOBS).await?.json()?;
    assert_eq!(list["total"], promised.len(), "{list}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_outlives_an_outage_of_postgres() -> anyhow::Result<()> {
    outlives_an_outage(TestStore::postgres().await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_outlives_an_outage_of_pgbouncer() -> anyhow::Result<()> {
    outlives_an_outage(TestStore::pgbouncer().await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_sends_work_away_and_fetches_it() -> anyhow::Result<()> {
    let upstream = ScriptedUpstream::start(Flavour::Ollama)?;
    let home = Home::new();
    let service = Service::start(home.up_over(&[&upstream], "")).await?;
    let key = json!({"name": "jobs", "role": "user"});
    let key = service.admin.post("/api/v1/keys", &key).await?.json()?;
    let key = key["secret"].as_str().unwrap().to_owned();
    let remuda = |words: &[&str]| {
        let mut command = home.remuda(["--server", service.server.url()]);
        command.args(words).env("REMUDA_API_KEY", &key);
        command
    };
    let sent = succeed(&mut remuda(&[
        "run",
        "--background",
        "test-model",
        QUESTION,
    ]));
    let id = sent.split_whitespace().next().unwrap().to_owned();
    let told = succeed(&mut remuda(&["jobs", "follow", &id]));
    assert_eq!(told.trim_end(), answer(QUESTION));
    let job = printed(&mut remuda(&["jobs", "show", &id]));
    assert_eq!(job["state"], "completed");
    let text = succeed(&mut remuda(&["jobs", "show", &id]));
    assert!(text.contains(&answer(QUESTION)), "{text}");
    let list = succeed(&mut remuda(&["jobs", "list", "--state", "completed"]));
    assert!(list.contains(&id), "{list}");
    let refused = one_line_refusal(&mut remuda(&["jobs", "cancel", &id]), 1);
    assert!(refused.contains("has ended"), "{refused}");
    succeed(&mut remuda(&["jobs", "rm", &id]));
    let refused = one_line_refusal(&mut remuda(&["jobs", "show", &id]), 1);
    assert!(refused.contains("remuda jobs list"), "{refused}");
    Ok(())
}
