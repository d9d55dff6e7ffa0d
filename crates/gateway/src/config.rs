//! What an operator can set about the data plane.

use std::collections::HashMap;
use std::time::Duration;

use identity::KeyLimits;
use ipnet::IpNet;
use scheduling::{PolicyName, Variant};

use crate::coalescing::CoalescingRules;

/// Limits, timeouts and routing of the data plane.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Worker threads, at least 1; each has its own connections to the nodes.
    pub workers: usize,
    /// Largest request body, in bytes.
    pub body_limit: usize,
    /// Most bytes that the bodies of all requests under way hold together; further ones get 503 with Retry-After.
    pub body_memory: usize,
    /// Origins of web pages that may call from a browser, beside those of this machine.
    pub allowed_origins: Vec<String>,
    /// Most client connections at once; further ones are closed at once.
    pub max_connections: usize,
    /// Most inference requests at once; further ones get 503 with Retry-After.
    pub max_in_flight: usize,
    /// Time a client has to send the head of a request, and an idle connection may stay open.
    pub header_timeout: Duration,
    /// Longest pause between two pieces of a request body.
    pub body_timeout: Duration,
    /// Time for a connection to a node to come up.
    pub connect_timeout: Duration,
    /// Longest wait for the first token of a stream (a cold load and a long prefill lie in it).
    pub first_token_timeout: Duration,
    /// Longest pause between two tokens of a stream before the node counts as stalled.
    pub stall_timeout: Duration,
    /// Longest wait for an answer that is not streamed.
    pub unary_timeout: Duration,
    /// Pause after which a keep-alive comment goes to a waiting SSE client.
    pub keep_alive_interval: Duration,
    /// Most nodes tried for one request, the first included.
    pub max_attempts: usize,
    /// Most times one stream is continued on another node.
    pub max_continuations: usize,
    /// The routing policy for models without one of their own.
    pub policy: PolicyName,
    /// How embedding requests share calls.
    pub coalescing: CoalescingRules,
    /// Settings per model, by normalised name.
    pub models: HashMap<String, ModelRouting>,
    /// Other names for models: alias to model.
    pub aliases: HashMap<String, String>,
    /// Most request records waiting for the database; at the bound further ones are dropped and counted.
    pub record_buffer: usize,
    /// Time after which request records are deleted; `None` keeps them.
    pub record_retention: Option<Duration>,
    /// What callers may use, beside the limits of their keys.
    pub limits: CallerLimits,
    /// The proxies whose `X-Forwarded-For` tells where a request comes from.
    pub trusted_proxies: Vec<IpNet>,
}

/// What each caller may use, beside the limits of their keys. Absent: as much as they like.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallerLimits {
    /// Each address; of IPv6 each network of 64 bits.
    pub address: KeyLimits,
    /// Each person, with all of their keys and sessions.
    pub user: KeyLimits,
    /// Each organisation.
    pub organisation: KeyLimits,
}

/// What is set for one model.
#[derive(Clone, Debug, Default)]
pub struct ModelRouting {
    /// The policy, in place of the general one.
    pub policy: Option<PolicyName>,
    /// Models to use, in order, when no node can serve this one.
    pub fallbacks: Vec<String>,
    /// Tags that a node must carry to serve this model.
    pub require_tags: Vec<String>,
    /// What its tokens cost in the queue, compared with those of other models; 1 when absent.
    pub cost: Option<f32>,
    /// The models that callers of this name are divided over, by weight; empty: they get this model.
    pub split: Vec<Variant>,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            body_limit: 32 << 20,
            body_memory: 512 << 20,
            allowed_origins: Vec::new(),
            max_connections: 20_000,
            max_in_flight: 10_000,
            header_timeout: Duration::from_mins(1),
            body_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(3),
            first_token_timeout: Duration::from_mins(5),
            stall_timeout: Duration::from_secs(30),
            unary_timeout: Duration::from_mins(10),
            keep_alive_interval: Duration::from_secs(10),
            max_attempts: 4,
            max_continuations: 8,
            policy: PolicyName::default(),
            coalescing: CoalescingRules::default(),
            models: HashMap::new(),
            aliases: HashMap::new(),
            record_buffer: 50_000,
            record_retention: Some(Duration::from_hours(30 * 24)),
            limits: CallerLimits::default(),
            trusted_proxies: Vec::new(),
        }
    }
}
