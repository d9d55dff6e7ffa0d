//! The engine: kinds of work, their limits, what becomes of what fails, schedules, duties.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use identity::journal::Actor;
use jobs::{
    Backoff, Cron, Enqueued, Handler, Jobs, Keep, KindSpec, NewWork, Outcome, Priority, Rate,
    Refusal, ScheduleSpec, Task,
};
use parking_lot::Mutex;
use primitives::{Clock, ErrorKind, ManualClock, SystemClock, Timestamp};
use serde_json::{Value, json};
use store::Db;
use store::testing::TestStore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::{Told, config, engine_on};

const PATIENCE: Duration = Duration::from_mins(1);

store::on_every_engine! {
    work_is_there_with_the_transaction_that_it_belongs_to,
    one_with_a_unique_key_is_there_at_a_time,
    what_is_more_urgent_goes_first,
    lanes_and_kinds_have_no_more_than_their_limits_over_two_processes,
    no_more_begin_than_the_rate_allows,
    no_more_of_a_lane_begin_than_its_rate_allows,
    what_fails_for_good_can_be_replayed,
    what_is_snoozed_costs_no_attempt,
    a_paused_kind_waits_and_goes_on,
    what_is_called_off_while_it_runs_stops,
    a_schedule_fires_once_over_two_processes,
    a_duty_has_one_holder_and_goes_to_another,
    work_of_a_lost_process_is_done_by_another_and_ends_once,
    a_thousand_are_claimed_and_ended_in_batches,
    figures_and_metrics_tell_what_waits_and_what_came_of_it,
    work_rings_for_other_processes_where_the_database_carries_bells,
}

/// Notes what it does, and does as the payload says.
#[derive(Default)]
struct Doing {
    done: Mutex<Vec<Value>>,
    /// Running now, by lane.
    running: Mutex<BTreeMap<String, usize>>,
    /// The most that ran at once: of a lane, and in all.
    most: Mutex<(usize, usize)>,
    hold: Option<Duration>,
}

impl Doing {
    fn began(&self, lane: &str) {
        let mut running = self.running.lock();
        let of_lane = running.entry(lane.to_owned()).or_default();
        *of_lane += 1;
        let mut most = self.most.lock();
        most.0 = most.0.max(*of_lane);
        most.1 = most.1.max(running.values().sum());
    }

    fn ended(&self, lane: &str) {
        if let Some(running) = self.running.lock().get_mut(lane) {
            *running -= 1;
        }
    }
}

/// The handler of a test.
struct Does(Arc<Doing>);

impl Handler for Does {
    fn run(&self, task: Task) -> BoxFuture<'static, Outcome> {
        let doing = Arc::clone(&self.0);
        Box::pin(async move {
            doing.began(&task.lane);
            let refusal = Refusal::new(ErrorKind::Upstream, "it went wrong");
            let says = task.payload["does"].as_str().unwrap_or_default().to_owned();
            if let Some(hold) = doing.hold {
                tokio::time::sleep(hold).await;
            }
            doing.done.lock().push(task.payload.clone());
            let outcome = match says.as_str() {
                "hang" => std::future::pending().await,
                "again" => Outcome::Again(refusal),
                "failed" => Outcome::Failed(refusal),
                "later" if doing.done.lock().len() < 3 => Outcome::Later {
                    why: refusal,
                    after: Some(Duration::from_millis(10)),
                },
                _ => Outcome::Done(Value::Null),
            };
            doing.ended(&task.lane);
            outcome
        })
    }
}

/// A process with one kind, `test`.
struct Process {
    db: Db,
    jobs: Jobs,
    doing: Arc<Doing>,
    working: JoinHandle<()>,
    stop: CancellationToken,
}

fn spec() -> KindSpec {
    KindSpec {
        places: 16,
        backoff: Backoff {
            first: Duration::from_millis(10),
            longest: Duration::from_millis(50),
        },
        ..KindSpec::new("test")
    }
}

async fn process(store: &TestStore, spec: KindSpec, doing: Doing) -> Process {
    process_at(store, spec, doing, Arc::new(SystemClock::new())).await
}

/// Two processes that note together what they do.
async fn two_processes(store: &TestStore, spec: KindSpec, doing: Doing) -> [Process; 2] {
    let doing = Arc::new(doing);
    let start = || {
        let clock = Arc::new(SystemClock::new());
        process_at(store, spec, Arc::clone(&doing), clock)
    };
    [start().await, start().await]
}

async fn process_at(
    store: &TestStore,
    spec: KindSpec,
    doing: impl Into<Arc<Doing>>,
    clock: Arc<dyn Clock>,
) -> Process {
    let db = store.migrated().await;
    let jobs = engine_on(db.clone(), config(), clock).await;
    let doing = doing.into();
    jobs.register(spec, Arc::new(Does(Arc::clone(&doing))));
    let stop = CancellationToken::new();
    let working = tokio::spawn(jobs.clone().work(Arc::new(Told::default()), stop.clone()));
    Process {
        db,
        jobs,
        doing,
        working,
        stop,
    }
}

fn work(does: &str) -> NewWork {
    NewWork {
        payload: json!({"does": does}),
        ..NewWork::new("test")
    }
}

impl Process {
    async fn enqueue(&self, work: NewWork) -> Enqueued {
        let mut tx = self.db.write().await.unwrap();
        let enqueued = self.jobs.enqueue(&mut tx, work).await.unwrap();
        tx.commit().await.unwrap();
        self.jobs.poke();
        enqueued
    }

    async fn stop(self) {
        self.stop.cancel();
        self.working.await.unwrap();
    }

    fn done(&self) -> usize {
        self.doing.done.lock().len()
    }

    /// Figures of the kind: waiting, running, dead.
    async fn figures(&self) -> (u64, u64, u64) {
        let kinds = self.jobs.list_kinds().await.unwrap();
        let kind = kinds.into_iter().find(|kind| kind.kind == "test");
        kind.map_or((0, 0, 0), |kind| (kind.queued, kind.running, kind.dead))
    }

    async fn until_figures(&self, wanted: (u64, u64, u64)) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.figures().await;
            if now == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "{now:?} and not {wanted:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn until(what: &str, fits: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !fits() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn work_is_there_with_the_transaction_that_it_belongs_to(store: TestStore) {
    let process = process(&store, spec(), Doing::default()).await;
    let mut tx = process.db.write().await.unwrap();
    process.jobs.enqueue(&mut tx, work("undone")).await.unwrap();
    drop(tx);
    process.enqueue(work("done")).await;
    until("the other is done", || process.done() == 1).await;
    process.until_figures((0, 0, 0)).await;
    assert_eq!(process.doing.done.lock()[0]["does"], "done");
    let mut tx = process.db.write().await.unwrap();
    let unknown = process.jobs.enqueue(&mut tx, NewWork::new("other")).await;
    assert!(unknown.unwrap_err().to_string().contains("no kind"));
    drop(tx);
    process.stop().await;
}

async fn one_with_a_unique_key_is_there_at_a_time(store: TestStore) {
    let idle = KindSpec {
        places: 0,
        ..spec()
    };
    let one = process(&store, idle, Doing::default()).await;
    let two = process(&store, spec(), Doing::default()).await;
    let keyed = || NewWork {
        unique_key: Some("only".to_owned()),
        run_at: Some(Timestamp::from_micros(i64::MAX / 2)),
        ..work("done")
    };
    // At the same moment, from both.
    let (first, second) = tokio::join!(one.enqueue(keyed()), two.enqueue(keyed()));
    let new = [first, second]
        .iter()
        .filter(|enqueued| matches!(enqueued, Enqueued::New(_)))
        .count();
    assert_eq!(new, 1, "{first:?} {second:?}");
    let id = |enqueued| match enqueued {
        Enqueued::New(id) | Enqueued::There(id) => id,
    };
    assert_eq!(id(first), id(second));
    one.until_figures((1, 0, 0)).await;
    one.jobs.cancel_work(id(first)).await.unwrap();
    // Once it has ended there is room for another.
    assert!(matches!(one.enqueue(keyed()).await, Enqueued::New(_)));
    one.stop().await;
    two.stop().await;
}

async fn what_is_more_urgent_goes_first(store: TestStore) {
    let idle = KindSpec {
        places: 0,
        ..spec()
    };
    let door = process(&store, idle, Doing::default()).await;
    for (priority, name) in [
        (Priority::Idle, "idle"),
        (Priority::Normal, "normal"),
        (Priority::Urgent, "urgent"),
        (Priority::Soon, "soon"),
    ] {
        let work = NewWork {
            priority,
            ..work(name)
        };
        door.enqueue(work).await;
    }
    let single = KindSpec {
        places: 1,
        ..spec()
    };
    let worker = process(&store, single, Doing::default()).await;
    until("all are done", || worker.done() == 4).await;
    let order: Vec<String> = worker
        .doing
        .done
        .lock()
        .iter()
        .map(|payload| payload["does"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(order, ["urgent", "soon", "normal", "idle"]);
    door.stop().await;
    worker.stop().await;
}

async fn lanes_and_kinds_have_no_more_than_their_limits_over_two_processes(store: TestStore) {
    let limited = KindSpec {
        most_of_lane: Some(2),
        most_everywhere: Some(3),
        ..spec()
    };
    let hold = Doing {
        hold: Some(Duration::from_millis(30)),
        ..Doing::default()
    };
    let [one, two] = two_processes(&store, limited, hold).await;
    for number in 0..12 {
        let work = NewWork {
            lane: Some(["a", "b"][number % 2].to_owned()),
            ..work("done")
        };
        [&one, &two][number / 2 % 2].enqueue(work).await;
    }
    until("all are done", || one.done() == 12).await;
    let (of_lane, in_all) = *one.doing.most.lock();
    assert!(of_lane <= 2 && in_all <= 3, "{of_lane} {in_all}");
    one.until_figures((0, 0, 0)).await;
    one.stop().await;
    two.stop().await;
}

async fn no_more_begin_than_the_rate_allows(store: TestStore) {
    let limited = KindSpec {
        rate: Some(Rate {
            most: 3,
            per: Duration::from_hours(1),
        }),
        ..spec()
    };
    let process = process(&store, limited, Doing::default()).await;
    for _ in 0..5 {
        process.enqueue(work("done")).await;
    }
    process.until_figures((2, 0, 0)).await;
    assert_eq!(process.done(), 3);
    let mut tx = process.db.write().await.unwrap();
    let past = "UPDATE job_rates SET window_at = 1";
    tx.execute(past, ()).await.unwrap();
    tx.commit().await.unwrap();
    process.jobs.poke();
    process.until_figures((0, 0, 0)).await;
    assert_eq!(process.done(), 5);
    process.stop().await;
}

async fn no_more_of_a_lane_begin_than_its_rate_allows(store: TestStore) {
    let limited = KindSpec {
        lane_rate: Some(Rate {
            most: 2,
            per: Duration::from_hours(1),
        }),
        ..spec()
    };
    let [one, two] = two_processes(&store, limited, Doing::default()).await;
    for number in 0..8 {
        let lane = ["a", "b"][number % 2];
        let work = NewWork {
            lane: Some(lane.to_owned()),
            ..work(lane)
        };
        one.enqueue(work).await;
    }
    one.until_figures((4, 0, 0)).await;
    let mut begun: Vec<String> = one
        .doing
        .done
        .lock()
        .iter()
        .map(|payload| payload["does"].as_str().unwrap().to_owned())
        .collect();
    begun.sort();
    assert_eq!(begun, ["a", "a", "b", "b"]);
    one.stop().await;
    two.stop().await;
}

async fn what_fails_for_good_can_be_replayed(store: TestStore) {
    let thrice = KindSpec {
        most_attempts: 3,
        ..spec()
    };
    let process = process(&store, thrice, Doing::default()).await;
    process.enqueue(work("again")).await;
    process.enqueue(work("failed")).await;
    process.until_figures((0, 0, 2)).await;
    assert_eq!(process.done(), 4, "three attempts of one, one of the other");
    let dead = process.jobs.list_dead("test", None, 10).await.unwrap();
    let said: Vec<&str> = dead.iter().map(|dead| dead.error.as_str()).collect();
    assert!(
        said.contains(&"after 3 attempts: it went wrong"),
        "{said:?}"
    );
    process
        .jobs
        .replay(dead[0].id, &Actor::system())
        .await
        .unwrap();
    until("it was tried again", || process.done() > 4).await;
    process.until_figures((0, 0, 2)).await;
    assert_eq!(
        process
            .jobs
            .replay_kind("test", &Actor::system())
            .await
            .unwrap(),
        2
    );
    process.until_figures((0, 0, 2)).await;
    // One that is not dead cannot be.
    process
        .jobs
        .pause_kind("test", &Actor::system())
        .await
        .unwrap();
    let dead = process.jobs.list_dead("test", None, 10).await.unwrap();
    process
        .jobs
        .replay(dead[0].id, &Actor::system())
        .await
        .unwrap();
    let twice = process
        .jobs
        .replay(dead[0].id, &Actor::system())
        .await
        .unwrap_err();
    assert!(twice.to_string().contains("cannot be replayed"), "{twice}");
    process.stop().await;
}

async fn what_is_snoozed_costs_no_attempt(store: TestStore) {
    let once = KindSpec {
        most_attempts: 1,
        ..spec()
    };
    let process = process(&store, once, Doing::default()).await;
    process.enqueue(work("later")).await;
    until("the third time it is done", || process.done() == 3).await;
    process.until_figures((0, 0, 0)).await;
    process.stop().await;
}

async fn a_paused_kind_waits_and_goes_on(store: TestStore) {
    let process = process(&store, spec(), Doing::default()).await;
    process.enqueue(work("done")).await;
    until("one is done", || process.done() == 1).await;
    process
        .jobs
        .pause_kind("test", &Actor::system())
        .await
        .unwrap();
    process.enqueue(work("done")).await;
    process.until_figures((1, 0, 0)).await;
    let kinds = process.jobs.list_kinds().await.unwrap();
    let kind = kinds.iter().find(|kind| kind.kind == "test").unwrap();
    assert!(kind.paused_at.is_some());
    process
        .jobs
        .resume_kind("test", &Actor::system())
        .await
        .unwrap();
    until("the other is done", || process.done() == 2).await;
    let unknown = process
        .jobs
        .pause_kind("nothing", &Actor::system())
        .await
        .unwrap_err();
    assert!(unknown.to_string().contains("no kind"), "{unknown}");
    process.stop().await;
}

async fn what_is_called_off_while_it_runs_stops(store: TestStore) {
    let kept = KindSpec {
        keep: Keep::Result,
        places: 1,
        ..spec()
    };
    let process = process(&store, kept, Doing::default()).await;
    let (Enqueued::New(id) | Enqueued::There(id)) = process.enqueue(work("hang")).await;
    process.until_figures((0, 1, 0)).await;
    process.jobs.cancel_work(id).await.unwrap();
    process.until_figures((0, 0, 0)).await;
    // Its place is free.
    process.enqueue(work("done")).await;
    until("the next is done", || process.done() == 2).await;
    assert!(process.jobs.cancel_work(id).await.is_err());
    process.stop().await;
}

async fn a_schedule_fires_once_over_two_processes(store: TestStore) {
    // Ten minutes apart: on PostgreSQL the database's clock is everybody's.
    let now = SystemClock::new().now();
    let early = Arc::new(ManualClock::new(now));
    let late = Arc::new(ManualClock::new(now.after(Duration::from_mins(10))));
    let idle = KindSpec {
        places: 0,
        ..spec()
    };
    let one = process_at(&store, idle, Doing::default(), early).await;
    let two = process_at(&store, idle, Doing::default(), late).await;
    let schedule = || ScheduleSpec {
        name: "each second",
        kind: "test",
        cron: Cron::parse("* * * * * *", "UTC").unwrap(),
    };
    let mut tx = one.db.write().await.unwrap();
    let due = "INSERT INTO job_schedules (name, kind, cron, zone, next_at) VALUES ('each second', 'test', '* * * * * *', 'UTC', 1)";
    tx.execute(due, ()).await.unwrap();
    tx.commit().await.unwrap();
    for process in [&one, &two] {
        process.jobs.schedule(schedule());
    }
    let fired = tokio::join!(one.jobs.fire_due(), two.jobs.fire_due());
    fired.0.unwrap();
    fired.1.unwrap();
    // They look by themselves, too. However often it fires, one waits at a time.
    one.until_figures((1, 0, 0)).await;
    let state = &one.jobs.list_schedules().await.unwrap()[0];
    assert!(state.next_at > now && state.last_at.is_some(), "{state:?}");
    one.stop().await;
    two.stop().await;
}

async fn a_duty_has_one_holder_and_goes_to_another(store: TestStore) {
    let one = process(&store, spec(), Doing::default()).await;
    let two = process(&store, spec(), Doing::default()).await;
    let (here, there) = tokio::join!(
        one.jobs.take_duty("of a test"),
        two.jobs.take_duty("of a test")
    );
    let held = [here.unwrap(), there.unwrap()];
    assert_eq!(held.iter().flatten().count(), 1, "{held:?}");
    let (holder, other) = if held[0].is_some() {
        (&one, &two)
    } else {
        (&two, &one)
    };
    assert_eq!(holder.jobs.take_duty("of a test").await.unwrap(), Some(1));
    assert_eq!(other.jobs.take_duty("of a test").await.unwrap(), None);
    let mut tx = one.db.write().await.unwrap();
    let past = "UPDATE job_duties SET until = 1";
    tx.execute(past, ()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(other.jobs.take_duty("of a test").await.unwrap(), Some(2));
    assert_eq!(holder.jobs.take_duty("of a test").await.unwrap(), None);
    one.stop().await;
    two.stop().await;
}

async fn work_of_a_lost_process_is_done_by_another_and_ends_once(store: TestStore) {
    let lost = process(&store, spec(), Doing::default()).await;
    lost.enqueue(work("hang")).await;
    lost.until_figures((0, 1, 0)).await;
    lost.working.abort();
    assert!(lost.working.await.unwrap_err().is_cancelled());
    // What it runs goes on, and nobody believes it any more.
    let mut tx = lost.db.write().await.unwrap();
    let past = "UPDATE jobs SET lease_until = 1 WHERE state = 'running'";
    tx.execute(past, ()).await.unwrap();
    tx.commit().await.unwrap();
    let heir = process(&store, spec(), Doing::default()).await;
    heir.until_figures((0, 1, 0)).await;
    until("it was begun again", || heir.done() == 1).await;
    heir.stop().await;
}

async fn a_thousand_are_claimed_and_ended_in_batches(store: TestStore) {
    let many = KindSpec {
        places: 256,
        claimed_together: 64,
        ..spec()
    };
    let one = process(&store, many, Doing::default()).await;
    let two = process(&store, many, Doing::default()).await;
    let work: Vec<NewWork> = (0..1_000).map(|number| work(&number.to_string())).collect();
    let mut tx = one.db.write().await.unwrap();
    assert_eq!(one.jobs.enqueue_many(&mut tx, &work).await.unwrap(), 1_000);
    tx.commit().await.unwrap();
    one.jobs.poke();
    one.until_figures((0, 0, 0)).await;
    let mut done: Vec<String> = [&one, &two]
        .iter()
        .flat_map(|process| process.doing.done.lock().clone())
        .map(|payload| payload["does"].as_str().unwrap().to_owned())
        .collect();
    done.sort();
    done.dedup();
    assert_eq!(done.len(), 1_000);
    assert_eq!(one.done() + two.done(), 1_000, "each once");
    one.stop().await;
    two.stop().await;
}

async fn figures_and_metrics_tell_what_waits_and_what_came_of_it(store: TestStore) {
    let twice = KindSpec {
        most_attempts: 2,
        ..spec()
    };
    let process = process(&store, twice, Doing::default()).await;
    let keeping = tokio::spawn(process.jobs.clone().keep(process.stop.clone()));
    for does in ["done", "done", "again", "failed"] {
        process.enqueue(work(does)).await;
    }
    process.until_figures((0, 0, 2)).await;
    process
        .jobs
        .pause_kind("test", &Actor::system())
        .await
        .unwrap();
    let an_hour_ago = SystemClock::new().now().before(Duration::from_hours(1));
    process
        .enqueue(NewWork {
            run_at: Some(an_hour_ago),
            ..work("done")
        })
        .await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let kinds = process.jobs.list_kinds().await.unwrap();
        let kind = kinds.iter().find(|kind| kind.kind == "test").unwrap();
        let metrics = process.jobs.render_metrics();
        let told = |line: &str| metrics.lines().any(|told| told == line);
        let oldest = metrics.lines().find_map(|line| {
            line.strip_prefix("remuda_jobs_kind_oldest_due_seconds{kind=\"test\"} ")
        });
        let oldest: u64 = oldest.and_then(|age| age.parse().ok()).unwrap_or(0);
        let all = told("remuda_jobs_kind_queued{kind=\"test\"} 1")
            && told("remuda_jobs_kind_running{kind=\"test\"} 0")
            && told("remuda_jobs_kind_ended_total{kind=\"test\",state=\"completed\"} 2")
            && told("remuda_jobs_kind_ended_total{kind=\"test\",state=\"failed\"} 2")
            && oldest >= 3_600
            && kind.oldest >= Duration::from_hours(1)
            // Within five minutes, an hour and a day: completed, failed, tried again.
            && kind.came == [[2, 2, 1]; 3];
        if all {
            break;
        }
        assert!(Instant::now() < deadline, "{kind:?}\n{metrics}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    process.stop().await;
    keeping.await.unwrap();
}

async fn work_rings_for_other_processes_where_the_database_carries_bells(store: TestStore) {
    let process = process(&store, spec(), Doing::default()).await;
    let bell = process.db.listen("remuda_jobs").await.unwrap();
    let Some(mut bell) = bell else {
        // SQLite: one process.
        assert!(store.config().url.expose().starts_with("sqlite"));
        return process.stop().await;
    };
    process.enqueue(work("done")).await;
    tokio::time::timeout(PATIENCE, bell.heard())
        .await
        .unwrap()
        .unwrap();
    process.stop().await;
}
