//! The client: a connection pool with its guard.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Method;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use url::Url;

use super::connector::GuardedConnector;
use super::{Call, CallBody, OutboundError, Reach, Trust, Way};

/// How a client reaches out.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Which addresses may be called.
    pub reach: Reach,
    /// The longest wait for a TCP connection, name resolution included.
    pub connect_timeout: Duration,
    /// How many idle connections to one server are kept, each for at most 60 s.
    pub max_idle_per_host: usize,
    /// Whose certificates are believed.
    pub trust: Trust,
}

impl ClientConfig {
    /// Returns the settings for `reach`: 3 s to connect, 8 idle connections, Mozilla's certificate authorities.
    pub fn new(reach: Reach) -> Self {
        Self {
            reach,
            connect_timeout: Duration::from_secs(3),
            max_idle_per_host: 8,
            trust: Trust::default(),
        }
    }
}

pub(super) type Pool = legacy::Client<HttpsConnector<GuardedConnector>, CallBody>;

/// Calls other servers. Clones share the connection pool.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) pool: Pool,
    pub(super) config: ClientConfig,
    way: Arc<OnceLock<Arc<dyn Way>>>,
}

impl Client {
    /// Makes a client.
    pub fn new(config: ClientConfig) -> Result<Self, OutboundError> {
        let tls = config.trust.client_config().map_err(OutboundError::Tls)?;
        let way = Arc::<OnceLock<Arc<dyn Way>>>::default();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(GuardedConnector {
                reach: config.reach,
                connect_timeout: config.connect_timeout,
                way: Arc::clone(&way),
            });
        let pool = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_mins(1))
            .pool_max_idle_per_host(config.max_idle_per_host)
            .pool_timer(TokioTimer::new())
            .http1_max_buf_size(64 * 1024)
            .build(connector);
        Ok(Self {
            inner: Arc::new(Inner { pool, config, way }),
        })
    }

    /// Has this client and its clones reach the hosts that `way` knows by it. Only the first way counts; returns whether it is
    /// this one.
    pub fn reach_by(&self, way: Arc<dyn Way>) -> bool {
        self.inner.way.set(way).is_ok()
    }

    /// Begins a call. Nothing is sent before [`Call::send`].
    pub fn call(&self, method: Method, url: &Url) -> Call {
        Call::new(Arc::clone(&self.inner), method, url)
    }

    /// Begins a `GET`.
    pub fn get(&self, url: &Url) -> Call {
        self.call(Method::GET, url)
    }

    /// Begins a `POST`.
    pub fn post(&self, url: &Url) -> Call {
        self.call(Method::POST, url)
    }
}
