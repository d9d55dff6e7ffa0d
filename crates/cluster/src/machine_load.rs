//! How busy the machine of a node is, in a few figures.

use agent_proto::v1::{Gpu, NodeStatus};
use serde::Serialize;
use utoipa::ToSchema;

use crate::model::NodeView;

/// What an agent tells of its machine, in short. What it does not tell is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct MachineLoad {
    /// Use of all processor cores together, 0 to 100.
    pub cpu_percent: f32,
    /// Memory that programs cannot have any more, 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_percent: Option<f32>,
    /// Use of the GPUs in the mean, 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_percent: Option<f32>,
    /// Memory of all GPUs together that is in use, 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory_percent: Option<f32>,
    /// The hottest GPU's temperature in degrees Celsius.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_celsius: Option<f32>,
    /// What all GPUs draw together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_watts: Option<f32>,
}

impl NodeView {
    /// Returns how busy its machine was at its agent's last report; `None` for nodes without an agent that is linked here.
    pub fn machine_load(&self) -> Option<MachineLoad> {
        let link = self.agent.as_ref()?.link()?;
        let status = link.status()?;
        Some(MachineLoad::from(&*status))
    }
}

impl From<&NodeStatus> for MachineLoad {
    fn from(status: &NodeStatus) -> Self {
        let memory = status.memory.unwrap_or_default();
        let used = memory.total_bytes.saturating_sub(memory.available_bytes);
        let told = |of: fn(&Gpu) -> Option<f32>| status.gpus.iter().filter_map(of);
        let gpu_memory = status.gpus.iter().filter_map(|gpu| {
            Some((
                gpu.memory_used_bytes?,
                gpu.memory_total_bytes.filter(|total| *total > 0)?,
            ))
        });
        let (gpu_used, gpu_total) =
            gpu_memory.fold((0, 0), |(used, total), (u, t)| (used + u.min(t), total + t));
        let shares = told(|gpu| gpu.used_percent);
        let (sum, gpus) = shares.fold((0.0, 0.0), |(sum, gpus), share| (sum + share, gpus + 1.0));
        Self {
            cpu_percent: status.cpu.as_ref().map_or(0.0, |cpu| cpu.used_percent),
            memory_percent: percent(used, memory.total_bytes),
            gpu_percent: (gpus > 0.0).then(|| sum / gpus),
            gpu_memory_percent: percent(gpu_used, gpu_total),
            gpu_celsius: told(|gpu| gpu.temperature_celsius).reduce(f32::max),
            gpu_watts: told(|gpu| gpu.power_watts).reduce(|one, other| one + other),
        }
    }
}

fn percent(part: u64, whole: u64) -> Option<f32> {
    (whole > 0).then(|| (part as f64 / whole as f64 * 100.0) as f32)
}

#[cfg(test)]
mod tests {
    use agent_proto::v1::{Cpu, Memory};

    use super::*;

    #[test]
    fn gpus_are_told_together_and_what_is_not_told_is_absent() {
        let gpu = |used, total, percent, celsius| Gpu {
            memory_used_bytes: Some(used),
            memory_total_bytes: Some(total),
            used_percent: percent,
            temperature_celsius: Some(celsius),
            power_watts: Some(100.0),
            ..Gpu::default()
        };
        let status = NodeStatus {
            cpu: Some(Cpu {
                used_percent: 12.5,
                ..Cpu::default()
            }),
            memory: Some(Memory {
                total_bytes: 64,
                available_bytes: 16,
                ..Memory::default()
            }),
            gpus: vec![gpu(10, 40, Some(50.0), 60.0), gpu(30, 40, None, 71.0)],
            ..NodeStatus::default()
        };
        assert_eq!(
            MachineLoad::from(&status),
            MachineLoad {
                cpu_percent: 12.5,
                memory_percent: Some(75.0),
                gpu_percent: Some(50.0),
                gpu_memory_percent: Some(50.0),
                gpu_celsius: Some(71.0),
                gpu_watts: Some(200.0),
            }
        );
        let nothing = MachineLoad::from(&NodeStatus::default());
        assert_eq!(nothing, MachineLoad::default());
    }
}
