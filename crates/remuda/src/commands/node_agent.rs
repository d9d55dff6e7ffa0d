//! What `remuda node show` tells of a node's agent and its machine.

use primitives::Timestamp;
use serde::Deserialize;

use crate::output::ago;

/// A node's agent as the API shows it.
#[derive(Deserialize)]
pub(super) struct AgentRow {
    pub(super) linked: bool,
    since: Option<Timestamp>,
    pub(super) peer: Option<String>,
    version: Option<String>,
    updates: Option<UpdatesRow>,
    problem: Option<String>,
}

#[derive(Deserialize)]
struct UpdatesRow {
    target: String,
    key: Option<String>,
    under_way: bool,
    failed: Option<String>,
}

/// A node's machine as the API shows it.
#[derive(Deserialize)]
pub(super) struct MachineRow {
    host_name: String,
    operating_system: String,
    cpu_model: String,
    cpu_cores: u32,
    usage: Option<UsageRow>,
}

#[derive(Deserialize)]
struct UsageRow {
    cpu_used_percent: f64,
    memory_total_bytes: u64,
    memory_available_bytes: u64,
    gpus: Vec<GpuRow>,
    gpu_problem: Option<String>,
}

#[derive(Deserialize)]
struct GpuRow {
    name: String,
    memory_total_bytes: Option<u64>,
    memory_used_bytes: Option<u64>,
    used_percent: Option<f64>,
    temperature_celsius: Option<f64>,
    power_watts: Option<f64>,
}

/// Says how an agent is linked.
pub(super) fn linked(agent: &AgentRow, now: Timestamp) -> String {
    match (&agent.problem, &agent.version) {
        (None, version) => format!(
            "{} linked {} from {}",
            version.as_deref().unwrap_or_default(),
            agent
                .since
                .map_or_else(String::new, |since| ago(since, now)),
            agent.peer.as_deref().unwrap_or_default()
        ),
        (Some(problem), _) => problem.clone(),
    }
}

/// Says how an agent is updated.
pub(super) fn updates(agent: &AgentRow) -> Option<String> {
    let told = agent.updates.as_ref()?;
    let target = &told.target;
    Some(match (told.under_way, &told.failed, &told.key) {
        (true, ..) => "another version is being tried".to_owned(),
        (_, Some(failed), _) => format!("not kept: {failed}"),
        (_, _, Some(key)) => format!("for {target}, signed with {key}"),
        (_, _, None) => "none: start it there with --update-key KEY to change that".to_owned(),
    })
}

/// Says what a machine is and how much of it is in use, as lines of a label and a value.
pub(super) fn machine(machine: Option<&MachineRow>) -> Vec<(&'static str, Option<String>)> {
    let Some(machine) = machine else {
        return Vec::new();
    };
    let mut lines = vec![
        (
            "machine",
            Some(format!(
                "{}, {}",
                machine.host_name, machine.operating_system
            )),
        ),
        (
            "processor",
            Some(format!("{} x {}", machine.cpu_cores, machine.cpu_model)),
        ),
    ];
    let Some(usage) = &machine.usage else {
        return lines;
    };
    let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1_u32 << 30));
    lines.push((
        "in use",
        Some(format!(
            "processor {:.0} %, memory {} of {}",
            usage.cpu_used_percent,
            gib(usage
                .memory_total_bytes
                .saturating_sub(usage.memory_available_bytes)),
            gib(usage.memory_total_bytes)
        )),
    ));
    for gpu in &usage.gpus {
        let memory = gpu.memory_used_bytes.zip(gpu.memory_total_bytes);
        let told = [
            memory.map(|(used, total)| format!("{} of {}", gib(used), gib(total))),
            gpu.used_percent.map(|used| format!("{used:.0} %")),
            gpu.temperature_celsius
                .map(|degrees| format!("{degrees:.0} °C")),
            gpu.power_watts.map(|watts| format!("{watts:.0} W")),
        ];
        let told: Vec<String> = told.into_iter().flatten().collect();
        lines.push(("gpu", Some(format!("{}: {}", gpu.name, told.join(", ")))));
    }
    lines.push(("gpu", usage.gpu_problem.clone()));
    lines
}
