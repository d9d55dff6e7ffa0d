//! Starts and stops the data plane: one accepting task, one thread with its own runtime per worker.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use cluster::Registry;
use engine::Engine;
use identity::Identity;
use identity::limits::Limiter;
use primitives::Clock;
use scheduling::queue::QueueLimits;
use store::Db;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use web::tls::ServerTls;

use crate::admission;
use crate::config::GatewayConfig;
use crate::connect::{self, ConnectionGuard};
use crate::control::ControlPlane;
use crate::front::Inside;
use crate::metrics::Metrics;
use crate::model_commands::CommandJournal;
use crate::pulse::Pulse;
use crate::recorder::{EndObserver, WriterEnd, recorder};
use crate::routes::Figures;
use crate::secure;
use crate::shared::{Shared, Worker};
use crate::under_way::Stop;
use crate::upstream::{Dialer, Pool};

/// How long clients have to read that their answers are ended.
const FAREWELL: Duration = Duration::from_secs(1);

/// Connections handed to a worker that it has not taken up yet; at the bound the accepting task waits.
const HANDOVER: usize = 1024;
/// What a client hears when there are too many connections.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 67\r\n\r\n{\"error\":\"too many connections: close idle ones or try again soon\"}";
/// How often the queue is looked through for changes that no event told of.
const LOOK_AGAIN_EVERY: Duration = Duration::from_millis(100);
/// Pause after the database could not tell what keys have used.
const RESTORE_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// How often idle upstream connections are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// What the data plane needs from the rest of the program.
pub struct GatewayDeps {
    /// Limits, timeouts, routing.
    pub config: GatewayConfig,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Who may.
    pub identity: Identity,
    /// The fleet.
    pub registry: Registry,
    /// The embedded engine, if there is one.
    pub engine: Option<Engine>,
    /// Which certificate authorities vouch for nodes.
    pub trust: web::outbound::Trust,
    /// For model commands: pulls, deletes, uploads.
    pub outbound: web::outbound::Client,
    /// Where request records go.
    pub db: Db,
    /// Who is told of requests that have ended.
    pub observer: Option<EndObserver>,
    /// The data plane's metrics.
    pub metrics: Arc<Metrics>,
    /// How TLS is spoken to clients; without it they speak HTTP as it is.
    pub server_tls: Option<Arc<ServerTls>>,
    /// Everything that is not inference.
    pub control: ControlPlane,
    /// Counts what callers use.
    pub limiter: Limiter,
    /// This program's version, shown by `/api/version` as the version of the Ollama API it speaks.
    pub version: &'static str,
    /// Where random numbers start.
    pub seed: u64,
}

/// The data plane could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartGatewayError {
    /// The listener could not be used.
    #[error("cannot use the listener: {0}")]
    Listener(#[source] std::io::Error),
    /// TLS cannot be spoken to nodes.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[source] rustls::Error),
    /// A worker thread could not be started.
    #[error("cannot start a worker thread: {0}")]
    Thread(#[source] std::io::Error),
}

/// A running data plane.
pub struct Gateway {
    address: SocketAddr,
    drain: CancellationToken,
    stop: CancellationToken,
    writer_end: WriterEnd,
    workers: Vec<WorkerThread>,
    shared: Arc<Shared>,
    inside: Inside,
    background: TaskTracker,
    writer: tokio::task::JoinHandle<()>,
}

struct WorkerThread {
    thread: JoinHandle<()>,
}

/// The accepting task's end of a worker.
struct Handover {
    sender: mpsc::Sender<(std::net::TcpStream, SocketAddr, ConnectionGuard)>,
    open: Arc<AtomicUsize>,
}

impl Gateway {
    /// Starts serving on a bound listener. Must be called within the control plane's runtime.
    pub fn start(deps: GatewayDeps, listener: TcpListener) -> Result<Self, StartGatewayError> {
        let address = listener.local_addr().map_err(StartGatewayError::Listener)?;
        listener
            .set_nonblocking(true)
            .map_err(StartGatewayError::Listener)?;
        let listener =
            tokio::net::TcpListener::from_std(listener).map_err(StartGatewayError::Listener)?;
        let limits_db = deps.db.clone();
        let journal = CommandJournal::new(deps.db.clone(), deps.clock.clone(), Handle::current());
        let pulse = Arc::new(Pulse::new(deps.clock.now()));
        let (recorder, writer) = recorder(
            deps.config.record_buffer,
            deps.db,
            deps.clock.clone(),
            deps.metrics.clone(),
            deps.config.record_retention,
            Some(observer(pulse.clone(), deps.clock.clone(), deps.observer)),
        );
        let tls = deps.trust.client_config().map_err(StartGatewayError::Tls)?;
        let dialer = Arc::new(Dialer::new(tls, deps.config.connect_timeout));
        let workers = deps.config.workers.max(1);
        let shared = Shared::new(
            deps.config,
            deps.clock.clone(),
            deps.identity,
            deps.registry,
            deps.engine,
            deps.outbound,
            deps.metrics,
            recorder,
            pulse,
            journal,
            deps.control,
            deps.limiter,
            deps.version,
            deps.seed,
        );
        let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
        let writer_end = WriterEnd::default();
        let background = TaskTracker::new();
        let mut threads = Vec::with_capacity(workers);
        let mut handovers = Vec::with_capacity(workers);
        for index in 0..workers {
            let pool = Pool::new(dialer.clone(), deps.clock.clone());
            let seed = deps.seed.wrapping_add(index as u64);
            let worker = Worker::of_thread(shared.clone(), pool, seed);
            let (thread, handover) = start_worker(
                index,
                worker,
                deps.server_tls.clone(),
                drain.clone(),
                stop.clone(),
            )?;
            threads.push(thread);
            handovers.push(handover);
        }
        let pool = Pool::new(dialer, deps.clock.clone());
        let seed = deps.seed.wrapping_add(workers as u64);
        let inside = Worker::new(shared.clone(), pool, seed);
        shared.set_inside(&inside);
        background.spawn(keep_inside(inside.clone(), stop.clone()));
        background.spawn(restore_limits(shared.clone(), limits_db, stop.clone()));
        let refusal = deps.server_tls.is_none().then_some(TOO_MANY);
        background.spawn(accept(
            listener,
            shared.clone(),
            handovers,
            refusal,
            drain.clone(),
        ));
        background.spawn(follow_fleet(shared.clone(), stop.clone()));
        background.spawn(look_again(shared.clone(), stop.clone()));
        let writer = tokio::spawn(writer.run(writer_end.clone()));
        Ok(Self {
            address,
            drain,
            stop,
            writer_end,
            workers: threads,
            shared,
            inside: Inside::new(inside),
            background,
            writer,
        })
    }

    /// Returns the address that is listened on.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the way in for requests that the program itself makes for somebody.
    pub fn inside(&self) -> Inside {
        self.inside.clone()
    }

    /// Returns the figures of what happens here.
    pub fn figures(&self) -> Figures {
        Figures::new(self.shared.clone())
    }

    /// Replaces the bounds of the queue, from now on; who waits already stays. Until it is called the default ones hold.
    pub fn set_queue_limits(&self, limits: QueueLimits) {
        self.shared.live.admission.set_limits(limits);
    }

    /// Replaces the configuration for requests that come from now on. What was used at the start stays as it was: workers, buffers,
    /// bounds of bodies, the time to connect, allowed origins, trusted proxies, and how long records are kept.
    pub fn configure(&self, config: GatewayConfig) {
        self.shared.configure(config);
    }

    /// Ends the answers that are still under way, so that their clients hear why; who does not read has a moment for it.
    async fn stop_answers(&self) {
        let left = self.shared.under_way.all();
        for request in &left {
            request.stop(Stop::Shutdown);
        }
        if left.is_empty() {
            return;
        }
        let told = async {
            while self.shared.connections.load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        // Whoever reads has heard by then.
        drop(tokio::time::timeout(FAREWELL, told).await);
    }

    /// Stops accepting, lets requests under way finish for at most `limit` (or until `hurry`), then ends the rest and
    /// writes the last records.
    pub async fn shutdown(self, limit: Duration, hurry: &CancellationToken) {
        self.drain.cancel();
        let deadline = tokio::time::sleep(limit);
        tokio::pin!(deadline);
        let mut poll = tokio::time::interval(Duration::from_millis(10));
        while self.shared.connections.load(Ordering::Relaxed) > 0 {
            tokio::select! {
                _ = poll.tick() => {}
                () = hurry.cancelled() => break,
                () = &mut deadline => {
                    tracing::warn!(connections = self.shared.connections.load(Ordering::Relaxed), "time for draining is over: the remaining connections are closed");
                    break;
                }
            }
        }
        self.stop_answers().await;
        self.stop.cancel();
        self.background.close();
        self.background.wait().await;
        let joined = tokio::task::spawn_blocking(move || {
            for worker in self.workers {
                if worker.thread.join().is_err() {
                    tracing::error!("a worker thread ended abnormally");
                }
            }
        })
        .await;
        if let Err(error) = joined {
            tracing::error!(%error, "worker threads could not be joined");
        }
        // All who could submit records have ended; a database that is away gets a moment, no more.
        self.writer_end.last.cancel();
        let writer = self.writer;
        tokio::pin!(writer);
        if tokio::time::timeout(Duration::from_secs(5), &mut writer)
            .await
            .is_err()
        {
            self.writer_end.give_up.cancel();
            if let Err(error) = writer.await {
                tracing::error!(%error, "the record writer ended abnormally");
            }
        }
    }
}

fn start_worker(
    index: usize,
    worker: Arc<Worker>,
    tls: Option<Arc<ServerTls>>,
    drain: CancellationToken,
    stop: CancellationToken,
) -> Result<(WorkerThread, Handover), StartGatewayError> {
    let (sender, receiver) = mpsc::channel(HANDOVER);
    let handover = Handover {
        sender,
        open: Arc::new(AtomicUsize::new(0)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartGatewayError::Thread)?;
    let thread = std::thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || runtime.block_on(work(worker, receiver, tls, drain, stop)))
        .map_err(StartGatewayError::Thread)?;
    Ok((WorkerThread { thread }, handover))
}

/// A worker's life: take connections, serve each in a task, look through idle upstream connections.
async fn work(
    worker: Arc<Worker>,
    mut receiver: mpsc::Receiver<(std::net::TcpStream, SocketAddr, ConnectionGuard)>,
    tls: Option<Arc<ServerTls>>,
    drain: CancellationToken,
    stop: CancellationToken,
) {
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    let turns = worker.turns.clone();
    let own = worker.clone();
    let dealing = async { tokio::join!(turns.deal(), own.work_directly()) };
    tokio::pin!(dealing);
    loop {
        tokio::select! {
            _ = &mut dealing => {}
            handed = receiver.recv() => {
                let Some((stream, peer, guard)) = handed else {
                    // The accepting task has ended; connections under way go on until `stop`.
                    tokio::select! {
                        _ = &mut dealing => {}
                        () = stop.cancelled() => {}
                    }
                    return;
                };
                match tokio::net::TcpStream::from_std(stream) {
                    Ok(stream) => {
                        let (worker, drain) = (worker.clone(), drain.clone());
                        match tls.clone() {
                            None => tokio::spawn(connect::serve(worker, stream, peer, drain, guard)),
                            Some(tls) => tokio::spawn(secure::serve(worker, stream, peer, drain, guard, tls)),
                        };
                    }
                    Err(error) => tracing::warn!(%error, "a connection could not be served"),
                }
            },
            _ = sweep.tick() => worker.pool.sweep(),
            () = stop.cancelled() => return,
        }
    }
}

/// Has the pulse hear of ended requests before the one who was given.
fn observer(pulse: Arc<Pulse>, clock: Arc<dyn Clock>, given: Option<EndObserver>) -> EndObserver {
    Arc::new(move |record| {
        pulse.note(record, clock.now());
        if let Some(given) = &given {
            given(record);
        }
    })
}

/// Looks after the worker for requests that come from within, whose work is done on the control plane's runtime.
async fn keep_inside(worker: Arc<Worker>, stop: CancellationToken) {
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    let turns = worker.turns.clone();
    let dealing = turns.deal();
    tokio::pin!(dealing);
    loop {
        tokio::select! {
            () = &mut dealing => {}
            _ = sweep.tick() => worker.pool.sweep(),
            () = stop.cancelled() => return,
        }
    }
}

/// Accepts connections and gives each to the worker with the fewest. Those beyond the limit hear `refusal`.
async fn accept(
    listener: tokio::net::TcpListener,
    shared: Arc<Shared>,
    workers: Vec<Handover>,
    refusal: Option<&[u8]>,
    drain: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.cancelled() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: waiting lets some close.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Some(mut guard) = ConnectionGuard::acquire(&shared) else {
            if let Some(refusal) = refusal
                && let Err(error) = stream.try_write(refusal)
            {
                tracing::debug!(%error, "a refused client did not wait for the answer");
            }
            continue;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let Some(worker) = workers
            .iter()
            .min_by_key(|w| w.open.load(Ordering::Relaxed))
        else {
            return;
        };
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be handed to a worker");
                continue;
            }
        };
        guard.assign(&worker.open);
        if worker.sender.send((stream, peer, guard)).await.is_err() {
            return;
        }
    }
}

/// Learns what keys have used of this month. A database that is away is asked again: until then their months begin anew.
async fn restore_limits(shared: Arc<Shared>, db: Db, stop: CancellationToken) {
    let started = shared.clock.now();
    let read = async {
        while let Err(error) = shared.limits.restore(&db, started, &*shared.clock).await {
            tracing::warn!(%error, "what keys have used of their monthly budgets cannot be read now");
            tokio::time::sleep(RESTORE_AGAIN_AFTER).await;
        }
    };
    tokio::select! {
        () = read => {}
        () = stop.cancelled() => {}
    }
}

/// Looks after those who wait: some changes come with time alone.
pub(crate) async fn look_again(shared: Arc<Shared>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(LOOK_AGAIN_EVERY);
    loop {
        tokio::select! {
            _ = tick.tick() => admission::look_again(&shared),
            () = stop.cancelled() => return,
        }
    }
}

/// Rebuilds the routes whenever the registry publishes a new snapshot.
pub(crate) async fn follow_fleet(shared: Arc<Shared>, stop: CancellationToken) {
    let mut generations = shared.registry.subscribe();
    // What was published before the subscription would go unnoticed.
    shared.refresh_routes();
    loop {
        tokio::select! {
            changed = generations.changed() => {
                if changed.is_err() {
                    return;
                }
                shared.refresh_routes();
            }
            () = stop.cancelled() => return,
        }
    }
}
