//! Who holds a job, and what becomes of it when its holder is lost.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jobs::JobsConfig;
use store::testing::TestStore;

use crate::app::{Process, config};

store::on_every_engine! {
    two_processes_claim_each_job_once,
    a_job_of_a_lost_process_is_taken_over,
    a_stopped_process_gives_its_jobs_back,
    a_job_whose_holder_is_lost_each_time_has_failed,
    a_lease_is_renewed_as_long_as_its_holder_lives,
    one_organisation_has_half_of_the_places,
    a_slow_model_does_not_hold_up_another_of_the_same_organisation,
}

async fn two_processes_claim_each_job_once(store: TestStore) {
    let (mut one, mut two) = (
        Process::start(&store, config()).await,
        Process::start(&store, config()).await,
    );
    let mut jobs = Vec::new();
    for number in 0..12 {
        jobs.push((one.submit(&format!("job {number}")).await, number));
    }
    for (id, number) in &jobs {
        let job = two.in_state(id, "completed").await;
        assert_eq!(job["result"]["said"], format!("job {number}"));
        assert_eq!(job["attempt"], 1);
    }
    let runs = one.told.runs.load(Ordering::SeqCst) + two.told.runs.load(Ordering::SeqCst);
    assert_eq!(runs, jobs.len());
    one.stop().await;
    two.stop().await;
}

async fn a_job_of_a_lost_process_is_taken_over(store: TestStore) {
    let idle = JobsConfig {
        concurrency: 0,
        ..config()
    };
    let mut lost = Process::start(&store, config()).await;
    let watcher = Process::start(&store, idle).await;
    let id = lost.submit("hang").await;
    let job = watcher.until(&id, |job| job["pieces"] == 1).await;
    assert_eq!(job["state"], "running");
    lost.die().await;
    let mut heir = Process::start(&store, config()).await;
    let job = watcher.until(&id, |job| job["attempt"] == 2).await;
    assert_eq!(job["state"], "running");
    // One piece says that the answer begins anew, one is the answer.
    watcher.until(&id, |job| job["pieces"] == 3).await;
    assert_eq!(heir.metric("remuda_jobs_leases_lost_total"), "1");
    heir.stop().await;
}

async fn a_stopped_process_gives_its_jobs_back(store: TestStore) {
    let mut first = Process::start(&store, config()).await;
    let id = first.submit("hang").await;
    first.until(&id, |job| job["pieces"] == 1).await;
    first.stop().await;
    let job = first.shown(&id).await;
    assert_eq!(
        (&job["state"], &job["attempt"]),
        (&"queued".into(), &0.into())
    );
    let mut second = Process::start(&store, config()).await;
    let job = second.in_state(&id, "running").await;
    assert_eq!(job["attempt"], 1);
    second.stop().await;
}

async fn a_job_whose_holder_is_lost_each_time_has_failed(store: TestStore) {
    let once = JobsConfig {
        most_attempts: 1,
        ..config()
    };
    let mut lost = Process::start(&store, once).await;
    let id = lost.submit("hang").await;
    lost.in_state(&id, "running").await;
    lost.die().await;
    let mut heir = Process::start(&store, once).await;
    let job = heir.in_state(&id, "failed").await;
    let message = job["error"]["message"].as_str().unwrap();
    assert!(message.contains("lost each time"), "{message}");
    assert_eq!(heir.told.runs.load(Ordering::SeqCst), 0);
    heir.stop().await;
}

async fn a_lease_is_renewed_as_long_as_its_holder_lives(store: TestStore) {
    let (mut holder, mut other) = (
        Process::start(&store, config()).await,
        Process::start(&store, config()).await,
    );
    let id = holder.submit("hang").await;
    holder.in_state(&id, "running").await;
    let lease = async || -> i64 {
        let mut tx = holder.db.read().await.unwrap();
        let row = tx
            .fetch_optional("SELECT lease_until FROM jobs WHERE ended_at IS NULL", ())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        row.unwrap().get("lease_until").unwrap()
    };
    let first = lease().await;
    let deadline = Instant::now() + Duration::from_mins(1);
    // Longer than any lease lasts.
    while lease().await < first + i64::try_from(config().lease.as_micros()).unwrap() {
        assert!(Instant::now() < deadline, "it is not renewed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let job = other.shown(&id).await;
    assert_eq!(
        (&job["state"], &job["attempt"]),
        (&"running".into(), &1.into())
    );
    for process in [&holder, &other] {
        assert_eq!(process.metric("remuda_jobs_leases_lost_total"), "0");
    }
    holder.stop().await;
    other.stop().await;
}

async fn one_organisation_has_half_of_the_places(store: TestStore) {
    let few = JobsConfig {
        concurrency: 4,
        ..config()
    };
    let mut process = Process::start(&store, few).await;
    let mut jobs = Vec::new();
    for _ in 0..5 {
        jobs.push(process.submit("hang").await);
    }
    for id in &jobs[..2] {
        process.in_state(id, "running").await;
    }
    // Two places are left, and nobody of this organisation gets one.
    let last = process.submit("done").await;
    for id in jobs[2..].iter().chain([&last]) {
        assert_eq!(process.shown(id).await["state"], "queued");
    }
    let path = format!("/api/v1/inference/jobs/{}/cancel", jobs[0]);
    process
        .call(http::Method::POST, &path, serde_json::json!({}))
        .await;
    process.in_state(&jobs[2], "running").await;
    process.stop().await;
}

async fn a_slow_model_does_not_hold_up_another_of_the_same_organisation(store: TestStore) {
    for concurrency in [4, 32] {
        let few = JobsConfig {
            concurrency,
            ..config()
        };
        let mut process = Process::start(&store, few).await;
        let mut slow = Vec::new();
        for _ in 0..concurrency {
            slow.push(process.submit_to("slow", "hang").await);
        }
        process.in_state(&slow[0], "running").await;
        for number in 0..3 {
            let id = process
                .submit_to("quick", &format!("answer {number}"))
                .await;
            process.in_state(&id, "completed").await;
        }
        let waiting = &slow[concurrency - 1];
        assert_eq!(process.shown(waiting).await["state"], "queued");
        for id in &slow {
            let path = format!("/api/v1/inference/jobs/{id}/cancel");
            let cancelled = process.call(http::Method::POST, &path, serde_json::json!({}));
            assert_eq!(cancelled.await.0, 200);
        }
        process.stop().await;
    }
}
