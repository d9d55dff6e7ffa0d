//! The listening side: a thread with its own runtime, connections that can be reset, death and revival on one port.

use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::service::{Node, answer};

/// How a connection ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HangUp {
    /// With RST.
    Reset,
    /// With FIN.
    Close,
}

/// The grip of a response on its connection.
#[derive(Clone)]
pub(super) struct Connection {
    over: CancellationToken,
    reset: Arc<AtomicBool>,
}

impl Connection {
    fn new() -> Self {
        Self {
            over: CancellationToken::new(),
            reset: Arc::default(),
        }
    }

    /// Ends the connection.
    pub(super) fn hang_up(&self, kind: HangUp) {
        self.reset.store(kind == HangUp::Reset, Ordering::Relaxed);
        self.over.cancel();
    }
}

/// The port of an upstream, alive or dead.
pub(super) struct Server {
    runtime: Handle,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
    address: SocketAddr,
    /// Bound but not listening: keeps the port ours while the server is dead.
    _reservation: Socket,
    life: Option<Life>,
}

/// One span between start and kill.
struct Life {
    end: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    pub(super) fn start(name: &str) -> anyhow::Result<Self> {
        let reservation = bound(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = reservation
            .local_addr()?
            .as_socket()
            .context("the port has no address")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name(format!("upstream {name}"))
            .spawn(move || runtime.block_on(stopped.cancelled()))?;
        Ok(Self {
            runtime: handle,
            stop,
            thread: Some(thread),
            address,
            _reservation: reservation,
            life: None,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to listen. Does nothing when alive.
    pub(super) fn revive(&mut self, node: &Arc<Node>) -> anyhow::Result<()> {
        if self.life.is_some() {
            return Ok(());
        }
        let socket = bound(self.address)?;
        socket.listen(4096)?;
        let listener = StdListener::from(socket);
        let life = Life {
            end: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let (end, tasks, node) = (life.end.clone(), life.tasks.clone(), node.clone());
        life.tasks.spawn_on(
            async move {
                // The loop ends by the token; an accept error means the port is gone, which tests see as refused.
                drop(
                    end.clone()
                        .run_until_cancelled(accept(listener, &node, &end, &tasks))
                        .await,
                );
            },
            &self.runtime,
        );
        self.life = Some(life);
        Ok(())
    }

    /// Closes the port and all connections, as the death of the process would. Returns when that is done.
    pub(super) fn kill(&mut self) {
        let Some(life) = self.life.take() else { return };
        life.end.cancel();
        life.tasks.close();
        let (done, wait) = std::sync::mpsc::channel();
        self.runtime.spawn(async move {
            life.tasks.wait().await;
            // The waiting side gives up only when it is gone.
            done.send(()).ok();
        });
        wait.recv_timeout(Duration::from_secs(10)).ok();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic over there has already been reported by its thread.
            drop(thread.join());
        }
    }
}

fn bound(address: SocketAddr) -> anyhow::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket
        .bind(&address.into())
        .with_context(|| format!("{address} cannot be bound"))?;
    Ok(socket)
}

async fn accept(
    listener: StdListener,
    node: &Arc<Node>,
    end: &CancellationToken,
    tasks: &TaskTracker,
) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        node.record.connection();
        let (node, end) = (node.clone(), end.clone());
        tasks.spawn(async move {
            drop(end.run_until_cancelled(serve(stream, node)).await);
        });
    }
}

async fn serve(stream: TcpStream, node: Arc<Node>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = stream.into_std()?;
    // A second handle on the socket: the first one is inside the HTTP connection when the reset is due.
    let socket: StdStream = stream.try_clone()?;
    let io = TokioIo::new(TcpStream::from_std(stream)?);
    let connection = Connection::new();
    let service = service_fn(|request| answer(node.clone(), connection.clone(), request));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(io, service);
    tokio::select! {
        // Errors here are the client's doing and show in the record.
        result = serving => drop(result),
        () = connection.over.cancelled() => {}
    }
    if connection.reset.load(Ordering::Relaxed) {
        SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
    }
    Ok(())
}
