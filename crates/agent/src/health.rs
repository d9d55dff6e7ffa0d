//! `/health` and `/api/v1/metrics/current`, for who looks at the machine itself.

use std::net::SocketAddr;
use std::sync::Arc;

use agent_proto::v1::{Gpu, NodeStatus, Updates};
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::AgentError;
use crate::link::LinkState;

/// The page's listener.
pub struct HealthPage {
    listener: TcpListener,
    address: SocketAddr,
}

#[derive(Clone)]
struct Shown {
    status: watch::Receiver<Arc<NodeStatus>>,
    link: Arc<LinkState>,
}

impl HealthPage {
    /// Takes an address; port 0 takes a free port.
    ///
    /// # Errors
    /// When it is taken.
    pub async fn bind(address: SocketAddr) -> Result<Self, AgentError> {
        let failed = |error| AgentError::Listen(address, error);
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn serve(
        self,
        status: watch::Receiver<Arc<NodeStatus>>,
        link: Arc<LinkState>,
        stop: CancellationToken,
    ) {
        let router = Router::new()
            .route("/health", get(health))
            .route("/api/v1/metrics/current", get(metrics))
            .with_state(Shown { status, link });
        // Not gracefully: that waits for connections that have sent half a request, however long they take for the rest.
        tokio::select! {
            served = axum::serve(self.listener, router).into_future() => {
                if let Err(error) = served {
                    tracing::error!(%error, "the health page ended");
                }
            }
            () = stop.cancelled() => {}
        }
    }
}

/// 200 when the model server answers and the control plane is linked; 503 otherwise, with what is missing.
async fn health(State(shown): State<Shown>) -> (StatusCode, Json<Value>) {
    let status = Arc::clone(&shown.status.borrow());
    let server = status.server.clone().unwrap_or_default();
    let (linked, well) = (shown.link.is_up(), shown.link.is_up() && server.reachable);
    let body = json!({
        "status": if well { "healthy" } else { "degraded" },
        "version": agent_proto::program_version(),
        "linked": linked,
        "control_planes": shown.link.control_planes(),
        "model_server": {"reachable": server.reachable, "problem": server.problem},
        "updates": status.updates.as_ref().map(updates),
    });
    let code = if well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, Json(body))
}

/// Shows whose releases are taken, and what became of the last one where that failed.
fn updates(updates: &Updates) -> Value {
    json!({
        "key": updates.key,
        "on_trial": updates.on_trial,
        "failed": updates.failed.as_ref().map(|failed| json!({
            "version": failed.version,
            "reason": failed.reason,
        })),
    })
}

async fn metrics(State(shown): State<Shown>) -> Json<Value> {
    let status = Arc::clone(&shown.status.borrow());
    Json(seen(&status))
}

/// Shows a state as JSON.
fn seen(status: &NodeStatus) -> Value {
    let cpu = status.cpu.clone().unwrap_or_default();
    let memory = status.memory.unwrap_or_default();
    let server = status.server.clone().unwrap_or_default();
    json!({
        "taken_at_micros": status.taken_at,
        "uptime_seconds": status.uptime_seconds,
        "cpu": {
            "used_percent": cpu.used_percent,
            "load": cpu.load,
            "temperature_celsius": cpu.temperature_celsius,
        },
        "memory": {
            "total_bytes": memory.total_bytes,
            "available_bytes": memory.available_bytes,
            "swap_total_bytes": memory.swap_total_bytes,
            "swap_used_bytes": memory.swap_used_bytes,
        },
        "disks": status.disks.iter().map(|disk| json!({
            "mount": disk.mount,
            "file_system": disk.file_system,
            "total_bytes": disk.total_bytes,
            "available_bytes": disk.available_bytes,
        })).collect::<Vec<_>>(),
        "networks": status.networks.iter().map(|network| json!({
            "name": network.name,
            "received_bytes": network.received_bytes,
            "sent_bytes": network.sent_bytes,
        })).collect::<Vec<_>>(),
        "gpus": status.gpus.iter().map(gpu).collect::<Vec<_>>(),
        "gpu_problem": status.gpu_problem,
        "model_server": {
            "reachable": server.reachable,
            "problem": server.problem,
            "api": server.api,
            "version": server.version,
            "in_flight": server.in_flight,
            "models": server.models.iter().map(|model| json!({
                "name": model.name,
                "digest": model.digest,
                "size_bytes": model.size_bytes,
                "loaded": model.loaded,
                "vram_bytes": model.vram_bytes,
            })).collect::<Vec<_>>(),
        },
        "tunnels": status.tunnels,
        "sharing": status.sharing.as_ref().map(|sharing| json!({
            "addresses": sharing.addresses,
            "sent_bytes": sharing.sent_bytes,
            "received_bytes": sharing.received_bytes,
            "transfers": sharing.transfers,
        })),
    })
}

fn gpu(gpu: &Gpu) -> Value {
    json!({
        "index": gpu.index,
        "name": gpu.name,
        "vendor": gpu.vendor,
        "memory_total_bytes": gpu.memory_total_bytes,
        "memory_used_bytes": gpu.memory_used_bytes,
        "used_percent": gpu.used_percent,
        "temperature_celsius": gpu.temperature_celsius,
        "power_watts": gpu.power_watts,
        "power_limit_watts": gpu.power_limit_watts,
        "uuid": gpu.uuid,
        "driver": gpu.driver,
    })
}
