//! A TCP link that can be cut and restored, for tests that lose a database or a node.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// Forwards every connection to a target until cut. While cut, open connections are closed and new ones are closed at
/// once. Stops when dropped.
pub struct LinkBreaker {
    address: SocketAddr,
    whole: Arc<watch::Sender<bool>>,
    target: Arc<Mutex<String>>,
    plan: Arc<Mutex<Plan>>,
    accepting: tokio::task::JoinHandle<()>,
}

/// What is lost when a link is cut at something that a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// What the client sent: the target never has it.
    Question,
    /// What the target says to it: it has been carried out.
    Answer,
}

/// When the link is to be cut.
#[derive(Default)]
struct Plan {
    /// Once so many more bytes have come back.
    left: Option<usize>,
    /// Once a client sends this.
    at: Option<(&'static [u8], Lost)>,
}

impl Plan {
    /// Tells whether so many bytes may come back to a client.
    fn lets_back(&mut self, bytes: usize) -> bool {
        match &mut self.left {
            Some(left) if *left < bytes => {
                self.left = None;
                false
            }
            Some(left) => {
                *left -= bytes;
                true
            }
            None => true,
        }
    }

    /// Tells what is lost of what a client sends.
    fn loses(&mut self, sent: &[u8]) -> Option<Lost> {
        let is_there = |phrase: &[u8]| memchr::memmem::find(sent, phrase).is_some();
        let (_, lost) = self.at.take_if(|(phrase, _)| is_there(phrase))?;
        Some(lost)
    }
}

impl LinkBreaker {
    /// Starts forwarding from a free local port to `target` (`host:port`).
    ///
    /// # Errors
    /// Fails when no port is to be had.
    pub async fn start(target: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let whole = Arc::new(watch::Sender::new(true));
        let target = Arc::new(Mutex::new(target.to_owned()));
        let plan = Arc::new(Mutex::new(Plan::default()));
        let link = (whole.clone(), target.clone(), plan.clone());
        let tracker = TaskTracker::new();
        let accepting = tokio::spawn(async move {
            let (whole, target, plan) = link;
            while let Ok((client, _)) = listener.accept().await {
                let target = target.lock().clone();
                tracker.spawn(forward(client, target, whole.clone(), plan.clone()));
            }
        });
        Ok(Self {
            address,
            whole,
            target,
            plan,
            accepting,
        })
    }

    /// Forwards new connections to another target (`host:port`).
    pub fn aim(&self, target: &str) {
        target.clone_into(&mut self.target.lock());
    }

    /// Cuts the link once so many more bytes have come back from the target.
    pub fn cut_after(&self, bytes: usize) {
        self.plan.lock().left = Some(bytes);
    }

    /// Cuts the link once a client sends `phrase` within one write of at most 8 KiB.
    pub fn cut_at(&self, phrase: &'static [u8], lost: Lost) {
        self.plan.lock().at = Some((phrase, lost));
    }

    /// Tells whether the link is cut.
    pub fn is_cut(&self) -> bool {
        !*self.whole.borrow()
    }

    /// Starts forwarding to the server that a URL with an explicit port names.
    ///
    /// # Errors
    /// Fails when `url` has no host and port, or no port is to be had.
    pub async fn before(url: &str) -> anyhow::Result<Self> {
        Self::start(&target_of(url)?).await
    }

    /// Returns where to connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns `url` with its host and port replaced by this link's.
    ///
    /// # Errors
    /// Fails when `url` has no host and port.
    pub fn through(&self, url: &str) -> anyhow::Result<String> {
        let target = target_of(url)?;
        Ok(url.replacen(&target, &self.address.to_string(), 1))
    }

    /// Cuts the link.
    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// Restores the link for new connections.
    pub fn restore(&self) {
        self.whole.send_replace(true);
    }
}

impl Drop for LinkBreaker {
    fn drop(&mut self) {
        self.cut();
        self.accepting.abort();
    }
}

/// Returns `host:port` of a URL with an explicit port.
fn target_of(url: &str) -> anyhow::Result<String> {
    let uri: http::Uri = url.parse()?;
    let (host, port) = (uri.host(), uri.port_u16());
    match (host, port) {
        (Some(host), Some(port)) => Ok(format!("{host}:{port}")),
        _ => anyhow::bail!("{url} does not name a host and a port"),
    }
}

async fn forward(
    client: TcpStream,
    target: String,
    whole: Arc<watch::Sender<bool>>,
    plan: Arc<Mutex<Plan>>,
) {
    let mut state = whole.subscribe();
    if !*state.borrow() {
        return;
    }
    let Ok(server) = TcpStream::connect(&target).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answer_is_lost = AtomicBool::new(false);
    let there = async {
        let mut buffer = [0; 8 << 10];
        while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
            let lost = plan.lock().loses(&buffer[..read]);
            if lost == Some(Lost::Question) {
                whole.send_replace(false);
                return;
            }
            if lost == Some(Lost::Answer) {
                answer_is_lost.store(true, Ordering::Relaxed);
            }
            // Either side may leave at any time; the other side then sees it.
            if to_server.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
        drop(to_server.shutdown().await);
    };
    let back = async {
        let mut buffer = [0; 8 << 10];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            let may_pass = !answer_is_lost.load(Ordering::Relaxed) && plan.lock().lets_back(read);
            if !may_pass {
                whole.send_replace(false);
                return;
            }
            if to_client.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
        drop(to_client.shutdown().await);
    };
    tokio::select! {
        _ = async { tokio::join!(there, back) } => {}
        result = state.wait_for(|whole| !*whole) => drop(result),
    }
}
