//! Takes a local Ollama as a node, at start or when it comes up later.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use cluster::{NodeUrl, Registry};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::tasks::Tasks;
use crate::config::{DiscoverySection, LOCAL_OLLAMA};

/// How long the start waits for the first look: the banner comes within a second.
const FIRST_LOOK: Duration = Duration::from_millis(500);

/// The time between two looks.
const EVERY: Duration = Duration::from_secs(30);

/// Looks for a local Ollama now and again, and returns after the first look, or when that takes too long.
pub(super) async fn adopt_local_ollama(
    section: &DiscoverySection,
    own_address: SocketAddr,
    registry: &Registry,
    tasks: &Tasks,
    stop: &CancellationToken,
) {
    let address = section.ollama_url.as_deref().unwrap_or(LOCAL_OLLAMA);
    let candidate = match address.parse::<NodeUrl>() {
        Ok(candidate) if section.ollama && !is_ourselves(&candidate, own_address) => candidate,
        Ok(_) => return,
        Err(error) => {
            tracing::warn!(address, %error, "this is no address of a local Ollama");
            return;
        }
    };
    let (looked, first_look) = oneshot::channel();
    let registry = registry.clone();
    let stop = stop.clone();
    tasks.spawn("discovery", async move {
        stop.run_until_cancelled(look(registry, candidate, looked))
            .await;
    });
    // The sender is dropped after the first look, which is an answer too.
    if tokio::time::timeout(FIRST_LOOK, first_look).await.is_err() {
        tracing::debug!("the local Ollama takes its time");
    }
}

async fn look(registry: Registry, candidate: NodeUrl, looked: oneshot::Sender<()>) {
    let mut looked = Some(looked);
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        match registry.adopt_local(std::slice::from_ref(&candidate)).await {
            Ok(adopted) => {
                for node in adopted {
                    tracing::info!(node = %node.name, url = %candidate.as_str(), "adopted a local Ollama");
                }
            }
            Err(error) => tracing::debug!(%error, "looking for a local Ollama failed"),
        }
        // Dropping the sender ends the start's wait.
        drop(looked.take());
    }
}

/// Tells whether the address is our own listener: people set `OLLAMA_HOST` to Remuda's address for their clients.
fn is_ourselves(candidate: &NodeUrl, own_address: SocketAddr) -> bool {
    let is_here = candidate.host() == "localhost"
        || candidate
            .host()
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified() || ip == own_address.ip());
    is_here && candidate.port() == own_address.port()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_address_is_never_adopted() {
        let own = SocketAddr::from(([127, 0, 0, 1], 11440));
        let ours = |url: &str| is_ourselves(&url.parse().unwrap(), own);
        assert!(ours("http://127.0.0.1:11440"));
        assert!(ours("http://localhost:11440"));
        assert!(!ours("http://127.0.0.1:11434"));
        assert!(!ours("http://10.0.0.1:11440"));
    }
}
