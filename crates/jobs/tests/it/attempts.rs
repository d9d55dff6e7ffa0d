//! What attempts come to, and what is kept of jobs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Method;
use jobs::JobsConfig;
use serde_json::json;
use store::testing::TestStore;
use store::{Sealer, params};

use crate::app::{Process, config};

store::on_every_engine! {
    what_goes_wrong_is_tried_again_and_then_has_failed,
    waiting_for_what_is_not_there_costs_no_attempt,
    a_caller_who_may_not_any_more_gets_nothing_done,
    what_has_ended_is_deleted_in_time,
    what_jobs_hold_is_sealed_anew_with_another_key,
}

async fn what_jobs_hold_is_sealed_anew_with_another_key(store: TestStore) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sealing.key");
    let sealer = Arc::new(Sealer::open_or_create(&file).unwrap());
    let mut process = Process::start_sealed(&store, config(), sealer.clone()).await;
    let done = process.submit("hello").await;
    process.in_state(&done, "completed").await;
    let hangs = process.submit("hang").await;
    process.in_state(&hangs, "running").await;
    sealer.renew_file().unwrap();
    let outcome = process.reseal().await;
    // The result and the output of one, the payload of the other; what comes in between may be sealed with the new key already.
    assert!(outcome.resealed >= 3, "{outcome:?}");
    assert_eq!(outcome.unreadable, 0);
    assert_eq!(process.reseal().await.resealed, 0);
    // Without the key of before everything can still be read.
    sealer.forget_older().unwrap();
    sealer.renew_file().unwrap();
    process.reseal().await;
    sealer.forget_older().unwrap();
    let job = process.shown(&done).await;
    assert_eq!(job["result"]["said"], "hello", "{job}");
    process.stop().await;
}

async fn what_goes_wrong_is_tried_again_and_then_has_failed(store: TestStore) {
    let twice = JobsConfig {
        most_attempts: 2,
        ..config()
    };
    let mut process = Process::start(&store, twice).await;
    let id = process.submit("again").await;
    let failed = process.submit("failed").await;
    let waits = process
        .until(&id, |job| job["next_attempt_at"].is_string())
        .await;
    assert_eq!(waits["attempt"], 1);
    assert_eq!(waits["error"]["message"], "it went wrong");
    let job = process.in_state(&id, "failed").await;
    assert_eq!(job["error"]["message"], "after 2 attempts: it went wrong");
    assert_eq!(job["error"]["kind"], "upstream");
    // What will never go right is not tried again.
    let job = process.in_state(&failed, "failed").await;
    assert_eq!(job["attempt"], 1);
    assert_eq!(process.told.runs.load(Ordering::SeqCst), 3);
    assert_eq!(
        process.metric("remuda_jobs_ended_total{state=\"failed\"}"),
        "2"
    );
    process.stop().await;
}

async fn waiting_for_what_is_not_there_costs_no_attempt(store: TestStore) {
    let impatient = JobsConfig {
        most_attempts: 1,
        give_up_after: Duration::from_millis(1_500),
        ..config()
    };
    let mut process = Process::start(&store, impatient).await;
    let id = process.submit("later").await;
    process
        .until(&id, |_| process.told.runs.load(Ordering::SeqCst) >= 2)
        .await;
    assert_eq!(
        process.shown(&id).await["attempt"].as_i64().map(|n| n <= 1),
        Some(true)
    );
    let keeping = process.keep();
    let job = process.in_state(&id, "failed").await;
    let message = job["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("give_up_after") && message.contains("it went wrong"),
        "{message}"
    );
    process.stop().await;
    keeping.await.unwrap();
}

async fn a_caller_who_may_not_any_more_gets_nothing_done(store: TestStore) {
    let idle = JobsConfig {
        concurrency: 0,
        ..config()
    };
    let mut door = Process::start(&store, idle).await;
    let body = json!({"name": "of a test"});
    let (status, key) = door.call(Method::POST, "/api/v1/keys", body).await;
    assert_eq!(status, 201, "{key}");
    let admin = door.act_as(key["secret"].as_str().unwrap());
    let id = door.submit("done").await;
    let allowed = door.submit("done").await;
    door.act_as(&admin);
    let path = format!("/api/v1/keys/{}", key["id"].as_str().unwrap());
    let (status, _) = door.call(Method::DELETE, &path, json!({})).await;
    assert_eq!(status, 204);
    let own = door.submit("done").await;
    let mut worker = Process::start(&store, config()).await;
    for id in [&id, &allowed] {
        let job = worker.in_state(id, "failed").await;
        assert_eq!(job["error"]["kind"], "forbidden", "{job}");
    }
    worker.in_state(&own, "completed").await;
    assert_eq!(worker.told.runs.load(Ordering::SeqCst), 1);
    worker.stop().await;
}

async fn what_has_ended_is_deleted_in_time(store: TestStore) {
    let few = JobsConfig {
        max_kept: 2,
        ..config()
    };
    let mut process = Process::start(&store, few).await;
    let mut jobs = Vec::new();
    for _ in 0..4 {
        let id = process.submit("done").await;
        process.in_state(&id, "completed").await;
        jobs.push(id);
    }
    let mut tx = process.db.write().await.unwrap();
    let old = "UPDATE jobs SET ended_at = 1 WHERE id = $1";
    tx.execute(old, params![&jobs[3]]).await.unwrap();
    tx.commit().await.unwrap();
    let keeping = process.keep();
    let path = "/api/v1/inference/jobs";
    loop {
        let (_, page) = process.call(Method::GET, path, json!({})).await;
        if page["total"] == 2 {
            let left = [&page["items"][0]["id"], &page["items"][1]["id"]];
            assert_eq!(left, [jobs[2].as_str(), jobs[1].as_str()]);
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut tx = process.db.read().await.unwrap();
    let chunks = tx
        .fetch_all("SELECT job_id FROM job_chunks", ())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(chunks.len(), 2, "what they put out went with them");
    process.stop().await;
    keeping.await.unwrap();
}
