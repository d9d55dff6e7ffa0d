//! What all workers share, and what each worker has for itself.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use cluster::Registry;
use dialects::ApiError;
use engine::Engine;
use identity::limits::{Limiter, Reservation};
use identity::{Identity, Principal};
use parking_lot::Mutex;
use primitives::{Clock, ErrorKind, RequestId, Timestamp};
use web::AllowedOrigins;

use crate::admission;
use crate::body_memory::BodyMemory;
use crate::coalescing::Groups;
use crate::config::GatewayConfig;
use crate::control::ControlPlane;
use crate::door;
use crate::fleet_view::RouteTable;
use crate::front::{BodyRules, DirectWorker, Inside};
use crate::limits::{Limited, Limits, TrustedProxies};
use crate::live::LiveFleet;
use crate::metrics::Metrics;
use crate::model_commands::CommandJournal;
use crate::pulse::Pulse;
use crate::recorder::Recorder;
use crate::relay::Turns;
use crate::sharing::Runs;
use crate::under_way::{UnderWay, UnderWayList};
use crate::upstream::Pool;

/// One for the whole data plane.
pub(crate) struct Shared {
    config: ArcSwap<GatewayConfig>,
    /// Held while routes are made: those made last are those that were begun last.
    refreshing: Mutex<()>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) identity: Identity,
    pub(crate) registry: Registry,
    pub(crate) engine: Option<Engine>,
    pub(crate) outbound: web::outbound::Client,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) recorder: Recorder,
    /// What has happened lately.
    pub(crate) pulse: Arc<Pulse>,
    /// Where commands about models are recorded.
    pub(crate) journal: CommandJournal,
    pub(crate) live: LiveFleet,
    pub(crate) routes: ArcSwap<RouteTable>,
    pub(crate) control: ControlPlane,
    pub(crate) version: &'static str,
    /// Makes prompts' block hashes unpredictable from outside.
    pub(crate) prefix_seed: u64,
    pub(crate) connections: AtomicUsize,
    /// Names this installation to its clients and nodes.
    pub(crate) instance_header: http::HeaderValue,
    /// Whose pages may call.
    pub(crate) allowed_origins: AllowedOrigins,
    /// What bounds the bodies of requests.
    pub(crate) body_rules: BodyRules,
    /// Embedding requests that may share a call.
    pub(crate) embeddings: Arc<Groups>,
    /// What callers have used.
    pub(crate) limits: Limits,
    /// Who may say where a request comes from.
    pub(crate) proxies: TrustedProxies,
    /// Executions that identical requests may share.
    pub(crate) runs: Runs,
    /// The requests under way.
    pub(crate) under_way: UnderWayList,
    /// Serves requests that the program itself makes, once the data plane runs.
    inside: OnceLock<Weak<Worker>>,
    in_flight: AtomicUsize,
}

/// Counts one inference request in flight until dropped.
pub(crate) struct InFlight {
    shared: Arc<Shared>,
    listed: Option<RequestId>,
}

impl InFlight {
    /// Lists the request among those under way.
    pub(crate) fn list(&mut self, request: &Arc<UnderWay>) {
        self.listed = Some(request.facts.id);
        self.shared.under_way.enter(request.clone());
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(id) = self.listed {
            self.shared.under_way.leave(id);
        }
        self.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.shared.metrics.in_flight.dec();
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "the parts are all there is to this type; they are named again where it is made"
)]
impl Shared {
    /// Puts the parts together.
    pub(crate) fn new(
        config: GatewayConfig,
        clock: Arc<dyn Clock>,
        identity: Identity,
        registry: Registry,
        engine: Option<Engine>,
        outbound: web::outbound::Client,
        metrics: Arc<Metrics>,
        recorder: Recorder,
        pulse: Arc<Pulse>,
        journal: CommandJournal,
        control: ControlPlane,
        limiter: Limiter,
        version: &'static str,
        prefix_seed: u64,
    ) -> Arc<Self> {
        let live = LiveFleet::new(&metrics);
        let instance_header = registry.instance().header_value();
        let allowed_origins = AllowedOrigins::new(&config.allowed_origins);
        let body_rules = BodyRules {
            limit: config.body_limit,
            pause: config.body_timeout,
            memory: BodyMemory::new(config.body_memory, metrics.body_bytes.clone()),
        };
        let routes = RouteTable::build(&registry.snapshot(), &config, &live, &metrics);
        live.admission.observe(&routes, &metrics, clock.monotonic());
        Arc::new(Self {
            embeddings: Arc::new(Groups::new(metrics.embeddings.waiting())),
            runs: Runs::default(),
            under_way: UnderWayList::default(),
            inside: OnceLock::new(),
            limits: Limits::new(limiter),
            proxies: TrustedProxies::new(config.trusted_proxies.clone()),
            config: ArcSwap::from_pointee(config),
            refreshing: Mutex::new(()),
            clock,
            identity,
            registry,
            engine,
            outbound,
            metrics,
            recorder,
            pulse,
            journal,
            live,
            routes: ArcSwap::from_pointee(routes),
            control,
            version,
            prefix_seed,
            connections: AtomicUsize::new(0),
            instance_header,
            allowed_origins,
            body_rules,
            in_flight: AtomicUsize::new(0),
        })
    }

    /// Returns the configuration that holds now. Not to be kept over an `await`: it may be replaced.
    pub(crate) fn config(&self) -> Guard<Arc<GatewayConfig>> {
        self.config.load()
    }

    /// Tells which worker serves requests from within.
    pub(crate) fn set_inside(&self, worker: &Arc<Worker>) {
        // Set once, where the data plane is started.
        drop(self.inside.set(Arc::downgrade(worker)));
    }

    /// Returns the way in for requests that the program itself makes; `None` while the data plane starts or ends.
    pub(crate) fn inside(&self) -> Option<Inside> {
        self.inside.get()?.upgrade().map(Inside::new)
    }

    /// Replaces the configuration. Requests under way go on with what they have read of the old one.
    pub(crate) fn configure(self: &Arc<Self>, config: GatewayConfig) {
        self.config.store(Arc::new(config));
        self.refresh_routes();
    }

    /// Publishes the routes of the registry's present snapshot.
    pub(crate) fn refresh_routes(self: &Arc<Self>) {
        let _one_at_a_time = self.refreshing.lock();
        let table = RouteTable::build(
            &self.registry.snapshot(),
            &self.config(),
            &self.live,
            &self.metrics,
        );
        self.live.retain(&table);
        self.routes.store(Arc::new(table));
        admission::refresh(self);
    }

    /// Lets a request in that will use about `tokens` of what its caller may. `None`: nothing limits it.
    ///
    /// # Errors
    ///
    /// 429 with the time to wait.
    pub(crate) async fn reserve(
        &self,
        principal: &Principal,
        address: IpAddr,
        tokens: u64,
    ) -> Result<Option<Reservation>, Box<Limited>> {
        let rules = self.config().limits;
        self.limits
            .reserve(
                &rules,
                principal,
                address,
                tokens,
                &*self.clock,
                &self.metrics,
            )
            .await
    }

    /// Counts a request in.
    ///
    /// # Errors
    /// `Unavailable` at the limit, with the time after which to try again.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<InFlight, ApiError> {
        let most = self.config().max_in_flight;
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        if before >= most {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            let told = format!(
                "{most} requests are under way, which is the limit (server.max_in_flight): try again soon"
            );
            return Err(ApiError::new(ErrorKind::Unavailable, told)
                .with_retry_after(Duration::from_secs(1)));
        }
        self.metrics.in_flight.inc();
        Ok(InFlight {
            shared: self.clone(),
            listed: None,
        })
    }
}

/// One per worker thread.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Arc<Pool>,
    /// Who of its streams reads on.
    pub(crate) turns: Arc<Turns>,
    /// Answers some requests past the control plane's routes, where it has a thread to do so.
    pub(crate) direct: Option<Box<dyn DirectWorker>>,
    /// What is answered to those of them that are turned away.
    pub(crate) refusal: Option<Bytes>,
    random: AtomicU64,
}

impl Worker {
    /// Makes a worker whose random numbers start from `seed`.
    pub(crate) fn new(shared: Arc<Shared>, pool: Arc<Pool>, seed: u64) -> Arc<Self> {
        Self::with(shared, pool, seed, None)
    }

    /// Makes a worker that serves connections on a thread of its own.
    pub(crate) fn of_thread(shared: Arc<Shared>, pool: Arc<Pool>, seed: u64) -> Arc<Self> {
        let direct = shared.control.open_direct();
        Self::with(shared, pool, seed, direct)
    }

    fn with(
        shared: Arc<Shared>,
        pool: Arc<Pool>,
        seed: u64,
        direct: Option<Box<dyn DirectWorker>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            shared,
            pool,
            turns: Arc::default(),
            refusal: direct.as_deref().map(door::refusal),
            direct,
            random: AtomicU64::new(seed),
        })
    }

    /// Does what the requests that are answered directly have in common. Never ends.
    pub(crate) async fn work_directly(&self) {
        if let Some(direct) = &self.direct {
            direct.work().await;
        }
        std::future::pending::<()>().await;
    }

    /// Returns 64 random bits, good enough for ids and ties (SplitMix64, Steele et al. 2014).
    pub(crate) fn random(&self) -> u64 {
        let mut z = self
            .random
            .fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed)
            .wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Makes the id of a request that arrived at `now`: UUID version 7 (RFC 9562) without a system call.
    pub(crate) fn request_id(&self, now: Timestamp) -> RequestId {
        let millis = u64::try_from(now.as_micros() / 1000).unwrap_or(0);
        let (a, b) = (self.random(), self.random());
        let high = (millis << 16) | 0x7000 | (a & 0x0FFF);
        let low = (b & 0x3FFF_FFFF_FFFF_FFFF) | 0x8000_0000_0000_0000;
        RequestId::from_uuid(uuid::Uuid::from_u64_pair(high, low))
    }
}
