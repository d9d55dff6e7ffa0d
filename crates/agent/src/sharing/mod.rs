//! The files of models for other nodes of the installation: read-only, over TLS with the certificates that the control plane issued, and of
//! what lies here only what it has offered to whoever asks.
//!
//! What is served is what Ollama's registry serves for a pull. Names and digests that come over the wire are looked up among the offers
//! and become no path; the paths are made of the names that the control plane offers and of digests that stand in a manifest here.

mod body;
mod door;
mod manifest;
mod model_name;
mod offers;
#[cfg(test)]
mod tests;

pub(crate) use manifest::{MOST_BYTES as MOST_MANIFEST_BYTES, Manifest};
pub(crate) use model_name::{ModelName, Wanted, hex_of, is_hex, wanted};

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agent_proto::v1::{OfferRequest, OfferResponse, Sharing as Told};
use parking_lot::Mutex;
use primitives::Clock;
use sysinfo::Networks;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tonic::Status;

use crate::config::ShareConfig;
use crate::error::AgentError;
use offers::{MOST_OFFERS, Offers};

/// Files, or parts of them, that are sent at the same time: Ollama fetches 16 parts of a file at once.
const MOST_TRANSFERS: usize = 64;
/// The most addresses that are told.
const MOST_ADDRESSES: usize = 8;

/// What an agent shares, and how much it has.
#[derive(Debug)]
pub(crate) struct Sharing {
    models: PathBuf,
    bound: SocketAddr,
    /// What others are told, in place of the machine's own addresses.
    told: Vec<String>,
    offers: Mutex<Offers>,
    transfers: Arc<Semaphore>,
    sent: AtomicU64,
    received: AtomicU64,
    clock: Arc<dyn Clock>,
}

impl Sharing {
    /// Takes the address at which files are had.
    pub(crate) async fn open(
        config: &ShareConfig,
        clock: &Arc<dyn Clock>,
    ) -> Result<(Arc<Self>, TcpListener), AgentError> {
        let failed = |error| AgentError::ShareListen(config.listen, error);
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let sharing = Arc::new(Self {
            models: config.models_dir.clone(),
            bound,
            told: config.told.iter().take(MOST_ADDRESSES).cloned().collect(),
            offers: Mutex::default(),
            transfers: Arc::new(Semaphore::new(MOST_TRANSFERS)),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            clock: Arc::clone(clock),
        });
        Ok((sharing, listener))
    }

    /// Tells what the control plane hears of it.
    pub(crate) fn told(&self) -> Told {
        let sending = MOST_TRANSFERS.saturating_sub(self.transfers.available_permits());
        Told {
            addresses: if self.told.is_empty() {
                addresses_of(self.bound)
            } else {
                self.told.clone()
            },
            sent_bytes: self.sent.load(Ordering::Relaxed),
            received_bytes: self.received.load(Ordering::Relaxed),
            transfers: u32::try_from(sending).unwrap_or(u32::MAX),
        }
    }

    /// Counts bytes that came from another node.
    pub(crate) fn note_received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Lets another node fetch a model for a while.
    pub(crate) async fn offer(&self, request: &OfferRequest) -> Result<OfferResponse, Status> {
        let name = ModelName::parse(&request.model)
            .ok_or_else(|| Status::invalid_argument("that is no name of a model"))?;
        let manifest = Arc::new(self.read_manifest(&name).await?);
        let response = OfferResponse {
            digest: manifest.digest.clone(),
            bytes: manifest.bytes(),
        };
        let stands_for = Duration::from_secs(request.seconds.into());
        let standing = (self.clock.now(), stands_for);
        let mut offers = self.offers.lock();
        if offers.put(&request.node_id, &name, manifest, standing) {
            return Ok(response);
        }
        Err(Status::resource_exhausted(format!(
            "{MOST_OFFERS} offers stand already"
        )))
    }

    async fn read_manifest(&self, name: &ModelName) -> Result<Manifest, Status> {
        let path = name.manifest_in(&self.models);
        let file = tokio::fs::File::open(&path).await.map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                return Status::not_found(format!(
                    "{} has no such model: is it the directory of the model server there (--share-dir)?",
                    self.models.display()
                ));
            }
            Status::failed_precondition(format!(
                "{} cannot be read ({error}): give the agent's user rights to it",
                path.display()
            ))
        })?;
        let (mut file, mut text) = (file.take(MOST_MANIFEST_BYTES as u64), Vec::new());
        file.read_to_end(&mut text)
            .await
            .map_err(|error| Status::failed_precondition(error.to_string()))?;
        Manifest::read(text.into())
            .ok_or_else(|| Status::failed_precondition("the model's manifest cannot be read"))
    }
}

/// Returns where others reach an address that is listened on: itself, or the machine's own where it stands for all of them.
fn addresses_of(bound: SocketAddr) -> Vec<String> {
    if !bound.ip().is_unspecified() {
        return vec![bound.to_string()];
    }
    let Ok(networks) = Networks::new_with_refreshed_list() else {
        return Vec::new();
    };
    let mut found: Vec<SocketAddr> = networks
        .values()
        .flat_map(|network| network.ip_networks().iter().map(|network| network.addr))
        .filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
        // Addresses of one link only mean something together with that link.
        .filter(|ip| match ip {
            std::net::IpAddr::V4(ip) => !ip.is_link_local(),
            std::net::IpAddr::V6(ip) => bound.is_ipv6() && !ip.is_unicast_link_local(),
        })
        .map(|ip| SocketAddr::new(ip, bound.port()))
        .collect();
    found.sort_unstable();
    found.dedup();
    found.truncate(MOST_ADDRESSES);
    found.iter().map(ToString::to_string).collect()
}
