//! Agents and their machines as they look on the wire.

use agent_proto::v1::{Disk, Gpu, Network, Updates};
use primitives::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::agents::{AgentLink, AgentSeat};

/// The agent that a node is reached through.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct AgentBody {
    /// Whether it is linked to the process that answers.
    linked: bool,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Where its connection comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "10.0.0.7:51234")]
    peer: Option<String>,
    /// Its program version.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// The version of the protocol that both sides speak.
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<u32>,
    /// How it is updated from here; absent for agents that cannot be.
    #[serde(skip_serializing_if = "Option::is_none")]
    updates: Option<UpdatesBody>,
    /// Why it is not linked, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// How an agent's program is updated.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct UpdatesBody {
    /// What it runs on: the target of releases for it.
    #[schema(example = "linux-x86_64")]
    target: String,
    /// The public key whose releases it takes; absent where it takes none.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// Whether another version is being taken or tried.
    under_way: bool,
    /// Why the last version that came was not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
}

impl From<&Updates> for UpdatesBody {
    fn from(updates: &Updates) -> Self {
        let bounded = |text: &str| text.chars().take(600).collect::<String>();
        let failed = updates.failed.as_ref();
        Self {
            target: bounded(&updates.target),
            key: updates.key.as_deref().map(bounded),
            under_way: updates.attempt.is_some() || updates.on_trial || updates.leaving,
            failed: failed.map(|failed| bounded(&format!("{}: {}", failed.version, failed.reason))),
        }
    }
}

impl From<&AgentSeat> for AgentBody {
    fn from(seat: &AgentSeat) -> Self {
        let link = seat.link();
        let link = link.as_deref();
        Self {
            linked: link.is_some(),
            since: link.map(AgentLink::since),
            peer: link.map(|link| link.peer().to_string()),
            version: link.map(|link| link.version().to_owned()),
            protocol: link.map(AgentLink::protocol),
            updates: link
                .and_then(AgentLink::status)
                .and_then(|status| status.updates.as_ref().map(UpdatesBody::from)),
            problem: seat.problem(),
        }
    }
}

/// A machine as its agent sees it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct MachineBody {
    /// The name that it calls itself.
    host_name: String,
    /// As `Debian GNU/Linux 13`.
    operating_system: String,
    /// The kernel's version.
    kernel: String,
    /// As `x86_64`.
    architecture: String,
    /// The processor's name.
    cpu_model: String,
    /// Its logical cores.
    cpu_cores: u32,
    /// What is in use, from the first report of the agent on.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageBody>,
}

/// What of a machine is in use.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct UsageBody {
    /// When it was read, by the machine's clock.
    #[schema(value_type = String, format = DateTime)]
    taken_at: Timestamp,
    /// How long the machine is up.
    uptime_seconds: u64,
    /// Use of all cores together, 0 to 100.
    cpu_used_percent: f32,
    /// Load averages over 1, 5 and 15 minutes.
    load: Vec<f64>,
    /// The processor's temperature.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_temperature_celsius: Option<f32>,
    /// Memory in total, in bytes.
    memory_total_bytes: u64,
    /// Memory that programs can still have, in bytes.
    memory_available_bytes: u64,
    /// Swap in total, in bytes.
    swap_total_bytes: u64,
    /// Swap in use, in bytes.
    swap_used_bytes: u64,
    /// Its disks.
    disks: Vec<DiskBody>,
    /// Its network interfaces.
    networks: Vec<NetworkBody>,
    /// Its GPUs.
    gpus: Vec<GpuBody>,
    /// Why GPUs could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu_problem: Option<String>,
    /// Connections to its model server that the agent carries.
    tunnels: u32,
    /// Requests that the model server works on, where it tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    server_in_flight: Option<u32>,
    /// Why the model server beside the agent cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    server_problem: Option<String>,
}

/// A disk.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct DiskBody {
    /// Where it is mounted.
    mount: String,
    /// As `ext4`.
    file_system: String,
    /// In bytes.
    total_bytes: u64,
    /// In bytes.
    available_bytes: u64,
}

/// A network interface.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct NetworkBody {
    /// As `eth0`.
    name: String,
    /// Since it came up.
    received_bytes: u64,
    /// Since it came up.
    sent_bytes: u64,
}

/// A GPU. What it does not tell is absent.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct GpuBody {
    /// Its position, from 0.
    index: u32,
    /// Its name.
    name: String,
    /// `nvidia`, `amd` or `intel`.
    vendor: String,
    /// In bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_total_bytes: Option<u64>,
    /// In bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_used_bytes: Option<u64>,
    /// 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    used_percent: Option<f32>,
    /// In degrees Celsius.
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature_celsius: Option<f32>,
    /// What it draws.
    #[serde(skip_serializing_if = "Option::is_none")]
    power_watts: Option<f32>,
    /// What it may draw.
    #[serde(skip_serializing_if = "Option::is_none")]
    power_limit_watts: Option<f32>,
    /// What tells this card from every other, as its driver says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
    /// The driver's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<String>,
}

impl From<&AgentLink> for MachineBody {
    fn from(link: &AgentLink) -> Self {
        let facts = link.facts();
        Self {
            host_name: facts.host_name.clone(),
            operating_system: facts.operating_system.clone(),
            kernel: facts.kernel.clone(),
            architecture: facts.architecture.clone(),
            cpu_model: facts.cpu_model.clone(),
            cpu_cores: facts.cpu_cores,
            usage: link.status().map(|status| {
                let cpu = status.cpu.clone().unwrap_or_default();
                let memory = status.memory.unwrap_or_default();
                let server = status.server.clone().unwrap_or_default();
                UsageBody {
                    taken_at: Timestamp::from_micros(status.taken_at),
                    uptime_seconds: status.uptime_seconds,
                    cpu_used_percent: cpu.used_percent,
                    load: cpu.load,
                    cpu_temperature_celsius: cpu.temperature_celsius,
                    memory_total_bytes: memory.total_bytes,
                    memory_available_bytes: memory.available_bytes,
                    swap_total_bytes: memory.swap_total_bytes,
                    swap_used_bytes: memory.swap_used_bytes,
                    disks: status.disks.iter().map(DiskBody::from).collect(),
                    networks: status.networks.iter().map(NetworkBody::from).collect(),
                    gpus: status.gpus.iter().map(GpuBody::from).collect(),
                    gpu_problem: status.gpu_problem.clone(),
                    tunnels: status.tunnels,
                    server_in_flight: server.in_flight,
                    server_problem: server.problem,
                }
            }),
        }
    }
}

impl From<&Disk> for DiskBody {
    fn from(disk: &Disk) -> Self {
        Self {
            mount: disk.mount.clone(),
            file_system: disk.file_system.clone(),
            total_bytes: disk.total_bytes,
            available_bytes: disk.available_bytes,
        }
    }
}

impl From<&Network> for NetworkBody {
    fn from(network: &Network) -> Self {
        Self {
            name: network.name.clone(),
            received_bytes: network.received_bytes,
            sent_bytes: network.sent_bytes,
        }
    }
}

impl From<&Gpu> for GpuBody {
    fn from(gpu: &Gpu) -> Self {
        Self {
            index: gpu.index,
            name: gpu.name.clone(),
            vendor: gpu.vendor.clone(),
            memory_total_bytes: gpu.memory_total_bytes,
            memory_used_bytes: gpu.memory_used_bytes,
            used_percent: gpu.used_percent,
            temperature_celsius: gpu.temperature_celsius,
            power_watts: gpu.power_watts,
            power_limit_watts: gpu.power_limit_watts,
            uuid: gpu.uuid.clone(),
            driver: gpu.driver.clone(),
        }
    }
}
