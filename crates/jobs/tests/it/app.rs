//! A process that accepts jobs and carries them out, and a client of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use http::{Method, Request};
use identity::{AuthConfig, Identity};
use jobs::{Executor, Jobs, JobsConfig, JobsDeps, Outcome, Refusal, Step, Work};
use primitives::{Clock, ErrorKind, Secret, SystemClock};
use serde_json::{Value, json};
use store::testing::TestStore;
use store::{Db, Sealer};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::batches::Scripted;

const PASSWORD: &str = "correct horse";
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const PATIENCE: Duration = Duration::from_mins(1);

/// Does what the prompt says: `done`, `again`, `later`, `hang`, anything else is put out and done.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) runs: AtomicUsize,
}

impl Executor for Told {
    fn check(&self, work: &Work) -> Result<String, Refusal> {
        Ok(work.payload["model"].as_str().unwrap_or("m").to_owned())
    }

    fn run(&self, work: Work) -> BoxStream<'static, Step> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        let prompt = work.payload["prompt"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let output = |text: &str| Step::Output {
            channel: "content",
            text: text.to_owned(),
        };
        let refusal = Refusal::new(ErrorKind::Upstream, "it went wrong");
        let steps = match prompt.as_str() {
            "again" => vec![output("half"), Step::Ended(Outcome::Again(refusal))],
            "failed" => vec![Step::Ended(Outcome::Failed(refusal))],
            "later" => vec![Step::Ended(Outcome::Later {
                why: refusal,
                after: Some(Duration::from_millis(10)),
            })],
            "hang" => {
                return stream::iter([output("half")])
                    .chain(stream::pending())
                    .boxed();
            }
            text => vec![
                output(text),
                Step::Ended(Outcome::Done(json!({"said": text}))),
            ],
        };
        stream::iter(steps).boxed()
    }
}

/// One process.
pub(crate) struct Process {
    pub(crate) db: Db,
    pub(crate) told: Arc<Told>,
    pub(crate) scripted: Arc<Scripted>,
    router: Router,
    jobs: Jobs,
    working: Option<JoinHandle<()>>,
    stop: CancellationToken,
    token: String,
}

pub(crate) fn config() -> JobsConfig {
    JobsConfig {
        lease: Duration::from_secs(3),
        ..JobsConfig::default()
    }
}

/// Makes the domain over a database, by some clock.
pub(crate) async fn engine_on(db: Db, config: JobsConfig, clock: Arc<dyn Clock>) -> Jobs {
    let sealer = Arc::new(Sealer::from_base64(&Secret::new(KEY.to_owned())).unwrap());
    let opened = Identity::open(
        db.clone(),
        sealer.clone(),
        clock.clone(),
        AuthConfig::REQUIRED,
    );
    let (identity, _) = opened.await.unwrap();
    Jobs::new(JobsDeps {
        db,
        sealer,
        clock,
        identity,
        config,
        observer: None,
    })
}

impl Process {
    pub(crate) async fn start(store: &TestStore, config: JobsConfig) -> Self {
        let sealer = Sealer::from_base64(&Secret::new(KEY.to_owned())).unwrap();
        Self::start_sealed(store, config, Arc::new(sealer)).await
    }

    /// Starts one that seals with these keys.
    pub(crate) async fn start_sealed(
        store: &TestStore,
        config: JobsConfig,
        sealer: Arc<Sealer>,
    ) -> Self {
        let db = store.migrated().await;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let auth = AuthConfig {
            admin_password: Some(Secret::new(PASSWORD.to_owned())),
            ..AuthConfig::REQUIRED
        };
        let opened = Identity::open(db.clone(), sealer.clone(), clock.clone(), auth).await;
        let (identity, _) = opened.unwrap();
        let jobs = Jobs::new(JobsDeps {
            db: db.clone(),
            sealer,
            clock: clock.clone(),
            identity: identity.clone(),
            config,
            observer: None,
        });
        let told = Arc::new(Told::default());
        let scripted = Arc::new(Scripted::default());
        jobs.carry_out_batches(scripted.clone()).unwrap();
        let stop = CancellationToken::new();
        let (router, _) = jobs.routes().merge(identity.routes()).split_for_parts();
        let working = tokio::spawn(jobs.clone().work(told.clone(), stop.clone()));
        let mut process = Self {
            db,
            told,
            scripted,
            router: web::api_surface(router, clock),
            jobs,
            working: Some(working),
            stop,
            token: String::new(),
        };
        let body = json!({"username": "admin", "password": PASSWORD});
        let (_, session) = process.call(Method::POST, "/api/v1/login", body).await;
        session["access_token"]
            .as_str()
            .unwrap()
            .clone_into(&mut process.token);
        process
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", self.token))
            .body(Body::from(body.to_string()));
        let answered = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        let status = answered.status().as_u16();
        let body = web::read_capped(answered.into_body(), 1 << 22)
            .await
            .unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Acts as another caller from here on.
    pub(crate) fn act_as(&mut self, token: &str) -> String {
        std::mem::replace(&mut self.token, token.to_owned())
    }

    pub(crate) async fn submit(&self, prompt: &str) -> String {
        self.submit_to("m", prompt).await
    }

    pub(crate) async fn submit_to(&self, model: &str, prompt: &str) -> String {
        let body = json!({"model": model, "prompt": prompt});
        // The loop may not have begun yet.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (status, job) = self
                .call(Method::POST, "/api/v1/inference/generate", body.clone())
                .await;
            if status == 202 {
                return job["id"].as_str().unwrap().to_owned();
            }
            assert!(status == 503 && Instant::now() < deadline, "{status} {job}");
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn shown(&self, id: &str) -> Value {
        let path = format!("/api/v1/inference/jobs/{id}");
        let (status, job) = self.call(Method::GET, &path, Value::Null).await;
        assert_eq!(status, 200, "{job}");
        job
    }

    /// Waits until a job is as it should be, and returns it.
    pub(crate) async fn until(&self, id: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let job = self.shown(id).await;
            if fits(&job) {
                return job;
            }
            assert!(Instant::now() < deadline, "waited in vain: {job}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn in_state(&self, id: &str, state: &str) -> Value {
        self.until(id, |job| job["state"] == state).await
    }

    /// Ends without a word, as a killed process does: what it holds is not given back.
    pub(crate) async fn die(&mut self) {
        let working = self.working.take().unwrap();
        working.abort();
        assert!(working.await.unwrap_err().is_cancelled());
    }

    /// Ends as a stopped process does.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        self.working.take().unwrap().await.unwrap();
    }

    /// Returns the routes that clients of the OpenAI API use.
    pub(crate) fn openai(&self) -> Router {
        self.jobs.openai_routes()
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    pub(crate) fn metric(&self, name: &str) -> String {
        let text = self.jobs.render_metrics();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or("none").trim().to_owned()
    }

    /// Seals what jobs hold anew.
    pub(crate) async fn reseal(&self) -> identity::Resealed {
        self.jobs.reseal().await.unwrap()
    }

    pub(crate) fn keep(&self) -> JoinHandle<()> {
        tokio::spawn(self.jobs.clone().keep(self.stop.clone()))
    }
}
