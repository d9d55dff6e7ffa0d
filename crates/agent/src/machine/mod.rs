//! What the machine is and how much of it is in use.

mod drm;
mod hwmon;
mod nvidia_smi;
mod nvml;

use std::path::{Path, PathBuf};

use agent_proto::v1::{Cpu, Disk, Gpu, Memory, Network, NodeFacts};
use primitives::MonotonicTime;
use sysinfo::{CpuRefreshKind, Disks, MemoryRefreshKind, Networks, RefreshKind, System};

use self::drm::Cards;
use self::nvml::NvidiaSource;

/// The most disks, interfaces or GPUs that are told.
const MOST: usize = 128;
/// File systems that are no disks.
const NO_DISKS: [&str; 6] = [
    "tmpfs", "devtmpfs", "overlay", "squashfs", "efivarfs", "ramfs",
];

/// Everything that a reading of the machine tells, GPUs apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct MachineReading {
    pub(crate) uptime_seconds: u64,
    pub(crate) cpu: Option<Cpu>,
    pub(crate) memory: Option<Memory>,
    pub(crate) disks: Vec<Disk>,
    pub(crate) networks: Vec<Network>,
}

/// Reads processor, memory, disks and network.
pub(crate) struct Machine {
    system: Option<System>,
    disks: Option<Disks>,
    networks: Option<Networks>,
    hwmon: PathBuf,
}

impl Machine {
    pub(crate) fn new(root: &Path) -> Self {
        let wanted = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing().with_usage())
            .with_memory(MemoryRefreshKind::everything());
        Self {
            system: System::new_with_specifics(wanted).ok(),
            disks: Disks::new_with_refreshed_list().ok(),
            networks: Networks::new_with_refreshed_list().ok(),
            hwmon: root.join("sys/class/hwmon"),
        }
    }

    pub(crate) fn read(&mut self) -> MachineReading {
        let mut reading = MachineReading {
            uptime_seconds: System::uptime().unwrap_or_default(),
            ..MachineReading::default()
        };
        if let Some(system) = &mut self.system {
            system.refresh_cpu_usage();
            system.refresh_memory();
            reading.cpu = Some(Cpu {
                used_percent: system.global_cpu_usage(),
                load: System::load_average()
                    .map(|load| vec![load.one, load.five, load.fifteen])
                    .unwrap_or_default(),
                temperature_celsius: hwmon::cpu_temperature(&self.hwmon),
            });
            reading.memory = Some(Memory {
                total_bytes: system.total_memory(),
                available_bytes: system.available_memory(),
                swap_total_bytes: system.total_swap(),
                swap_used_bytes: system.used_swap(),
            });
        }
        if let Some(disks) = &mut self.disks {
            disks.refresh(true);
            let disks = disks.iter().map(|disk| Disk {
                mount: disk.mount_point().to_string_lossy().into_owned(),
                file_system: disk.file_system().to_string_lossy().into_owned(),
                total_bytes: disk.total_space(),
                available_bytes: disk.available_space(),
            });
            let real = |disk: &Disk| {
                disk.total_bytes > 0 && !NO_DISKS.contains(&disk.file_system.as_str())
            };
            reading.disks = disks.filter(real).take(MOST).collect();
        }
        if let Some(networks) = &mut self.networks {
            networks.refresh(true);
            reading.networks = networks
                .iter()
                .take(MOST)
                .map(|(name, network)| Network {
                    name: name.to_string_lossy().into_owned(),
                    received_bytes: network.total_received(),
                    sent_bytes: network.total_transmitted(),
                })
                .collect();
            // In a map's order every reading would look like a change.
            reading.networks.sort_by(|a, b| a.name.cmp(&b.name));
        }
        reading
    }
}

/// Reads what does not change.
pub(crate) fn facts() -> NodeFacts {
    let wanted = RefreshKind::nothing()
        .with_cpu(CpuRefreshKind::nothing())
        .with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(wanted).ok();
    let cpus = system.as_ref().map(System::cpus).unwrap_or_default();
    NodeFacts {
        host_name: System::host_name().unwrap_or_default(),
        operating_system: System::long_os_version().unwrap_or_default(),
        kernel: System::kernel_version().unwrap_or_default(),
        architecture: System::cpu_arch(),
        cpu_model: cpus
            .first()
            .map(|cpu| cpu.brand().trim().to_owned())
            .unwrap_or_default(),
        cpu_cores: u32::try_from(cpus.len()).unwrap_or_default(),
        memory_bytes: system
            .as_ref()
            .map(System::total_memory)
            .unwrap_or_default(),
    }
}

/// The GPUs of the machine at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gpus {
    /// What could be read of each.
    pub(crate) gpus: Vec<Gpu>,
    /// Why there may be more, where there is something to say.
    pub(crate) problem: Option<String>,
}

/// Reads GPUs: NVIDIA's through their library, others from what Linux shows.
pub(crate) struct GpuSource {
    nvidia: NvidiaSource,
    cards: Cards,
}

impl GpuSource {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            nvidia: NvidiaSource::default(),
            cards: Cards::new(root.join("sys/class/drm")),
        }
    }

    /// Reads them. May wait for a driver as long as the driver likes.
    pub(crate) fn read(&mut self, now: MonotonicTime) -> Gpus {
        let (mut gpus, problem) = match self.nvidia.read() {
            Ok(gpus) => (gpus, None),
            Err(problem) => (Vec::new(), Some(problem)),
        };
        for mut gpu in self.cards.read(now) {
            // What the library told is more than what Linux shows of the same cards.
            if gpu.vendor == drm::NVIDIA && !gpus.is_empty() {
                continue;
            }
            gpu.index = u32::try_from(gpus.len()).unwrap_or(u32::MAX);
            gpus.push(gpu);
        }
        gpus.truncate(MOST);
        Gpus { gpus, problem }
    }
}
