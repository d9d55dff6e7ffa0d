//! GPUs as Linux shows them below `/sys/class/drm` (kernel documentation: `gpu/amdgpu/thermal`, `hwmon/sysfs-interface`,
//! `ABI/testing/sysfs-driver-intel-xe-hwmon`).

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_proto::v1::Gpu;
use primitives::MonotonicTime;

/// The name of NVIDIA among vendors.
pub(super) const NVIDIA: &str = "nvidia";

/// The parts of a GPU that have memory of their own, at most.
const MOST_TILES: u32 = 8;

/// The graphics cards below a directory.
pub(super) struct Cards {
    root: PathBuf,
    /// What each had used, in microjoules, and when: some tell no power but in what they have used.
    used: HashMap<u32, (u64, MonotonicTime)>,
}

impl Cards {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            used: HashMap::new(),
        }
    }

    /// Reads every card, in the order of their numbers. What cannot be read is left out.
    pub(super) fn read(&mut self, now: MonotonicTime) -> Vec<Gpu> {
        let Ok(entries) = fs::read_dir(&self.root) else {
            return Vec::new();
        };
        let mut cards: Vec<(u32, PathBuf)> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| {
                // Connectors are called card0-DP-1.
                let name = entry.file_name();
                let number = name.to_str()?.strip_prefix("card")?.parse().ok()?;
                Some((number, entry.path()))
            })
            .collect();
        cards.sort_unstable();
        let gpus = cards.into_iter().filter_map(|(number, card)| {
            let device = card.join("device");
            let mut gpu = read_card(&card, &device)?;
            if gpu.power_watts.is_none() {
                gpu.power_watts = self.watts_since(number, &device, now);
            }
            Some(gpu)
        });
        gpus.collect()
    }

    /// Returns the power of a card since it was looked at last, by what it has used.
    fn watts_since(&mut self, card: u32, device: &Path, now: MonotonicTime) -> Option<f32> {
        let used = number(&sensors(device)?.join("energy1_input"))?;
        let (before, at) = self.used.insert(card, (used, now))?;
        let (joules, time) = (used.checked_sub(before)? as f64 / 1e6, now.since(at));
        (time > Duration::ZERO).then(|| (joules / time.as_secs_f64()) as f32)
    }
}

fn read_card(card: &Path, device: &Path) -> Option<Gpu> {
    let vendor_id = text(&device.join("vendor"))?;
    let vendor = match vendor_id.as_str() {
        "0x1002" => "amd",
        "0x8086" => "intel",
        "0x10de" => NVIDIA,
        // Graphics of virtual machines and of servers' consoles compute nothing.
        _ => return None,
    };
    let sensors = sensors(device);
    let sensor = |name: &str| sensors.as_deref().and_then(|path| number(&path.join(name)));
    let watts = |microwatts: u64| microwatts as f32 / 1e6;
    Some(Gpu {
        index: 0,
        name: text(&device.join("product_name")).unwrap_or_else(|| {
            let id = text(&device.join("device")).unwrap_or_default();
            format!("{} GPU {id}", vendor.to_uppercase())
                .trim_end()
                .to_owned()
        }),
        vendor: vendor.to_owned(),
        memory_total_bytes: number(&device.join("mem_info_vram_total"))
            .or_else(|| memory_of_tiles(device))
            .or_else(|| number(&card.join("lmem_total_bytes"))),
        memory_used_bytes: number(&device.join("mem_info_vram_used")),
        used_percent: number(&device.join("gpu_busy_percent")).map(|busy| busy as f32),
        // Some have no sensor at the edge, where the first one would be.
        temperature_celsius: sensor("temp1_input")
            .or_else(|| sensor("temp2_input"))
            .map(|milli| milli as f32 / 1000.0),
        power_watts: sensor("power1_average")
            .or_else(|| sensor("power1_input"))
            .map(watts),
        power_limit_watts: sensor("power1_cap")
            .or_else(|| sensor("power1_max"))
            .filter(|limit| *limit > 0)
            .map(watts),
        uuid: text(&device.join("unique_id")),
        driver: None,
    })
}

/// Adds up the memory of the parts of an Intel GPU.
fn memory_of_tiles(device: &Path) -> Option<u64> {
    let tiles = (0..MOST_TILES)
        .map_while(|tile| number(&device.join(format!("tile{tile}/physical_vram_size_bytes"))));
    Some(tiles.fold(0, u64::saturating_add)).filter(|bytes| *bytes > 0)
}

fn sensors(device: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(device.join("hwmon")).ok()?;
    entries.find_map(|entry| Some(entry.ok()?.path()))
}

/// Reads a file of one line; `None` when it is missing, empty or not to be read.
pub(super) fn text(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line: String = text.trim().chars().take(256).collect();
    (!line.is_empty()).then_some(line)
}

/// Reads a file of one number.
pub(super) fn number(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}

/// Lays a tree out as a machine shows it.
#[cfg(test)]
pub(super) fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{content}\n")).unwrap();
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_cards(root: &Path) -> Vec<Gpu> {
        Cards::new(root.to_owned()).read(MonotonicTime::default())
    }

    #[test]
    fn a_card_of_a_server_without_a_sensor_at_its_edge_tells_what_it_has() {
        let root = tree(&[
            ("card1/device/vendor", "0x1002"),
            ("card1/device/product_name", "AMD Instinct MI300X OAM"),
            ("card1/device/mem_info_vram_total", "205822885888"),
            ("card1/device/mem_info_vram_used", "297684992"),
            ("card1/device/gpu_busy_percent", "0"),
            ("card1/device/hwmon/hwmon7/temp2_input", "43000"),
            ("card1/device/hwmon/hwmon7/temp3_input", "35000"),
            ("card1/device/hwmon/hwmon7/power1_input", "135000000"),
            ("card1/device/hwmon/hwmon7/power1_cap", "750000000"),
        ]);
        let card = &read_cards(root.path())[0];
        assert_eq!(card.temperature_celsius, Some(43.0));
        assert_eq!(
            (card.power_watts, card.power_limit_watts),
            (Some(135.0), Some(750.0))
        );
    }

    #[test]
    fn an_intel_card_tells_memory_heat_and_power_by_what_it_has_used() {
        let root = tree(&[
            ("card0/device/vendor", "0x8086"),
            ("card0/device/device", "0xe20b"),
            ("card0/device/tile0/physical_vram_size_bytes", "12616466432"),
            ("card0/device/hwmon/hwmon3/name", "xe"),
            ("card0/device/hwmon/hwmon3/temp2_input", "48000"),
            ("card0/device/hwmon/hwmon3/temp3_input", "52000"),
            ("card0/device/hwmon/hwmon3/power1_max", "190000000"),
            ("card0/device/hwmon/hwmon3/energy1_input", "5000000000"),
            ("card1/device/vendor", "0x8086"),
            ("card1/lmem_total_bytes", "17095983104"),
            ("card1/device/hwmon/hwmon4/name", "i915"),
            ("card1/device/hwmon/hwmon4/power1_max", "0"),
        ]);
        let mut cards = Cards::new(root.path().to_owned());
        let at = |seconds| MonotonicTime::default().after(Duration::from_secs(seconds));
        let first = cards.read(at(0));
        assert_eq!(first[0].memory_total_bytes, Some(12_616_466_432));
        assert_eq!(first[0].temperature_celsius, Some(48.0));
        assert_eq!(
            (first[0].power_watts, first[0].power_limit_watts),
            (None, Some(190.0))
        );
        assert_eq!(first[1].memory_total_bytes, Some(17_095_983_104));
        assert_eq!(
            (first[1].power_watts, first[1].power_limit_watts),
            (None, None)
        );
        let counter = root.path().join("card0/device/hwmon/hwmon3/energy1_input");
        fs::write(&counter, "5250000000\n").unwrap();
        assert_eq!(cards.read(at(5))[0].power_watts, Some(50.0));
        // A counter that began anew says nothing of the time before.
        fs::write(&counter, "1000000\n").unwrap();
        assert_eq!(cards.read(at(10))[0].power_watts, None);
        fs::write(&counter, "301000000\n").unwrap();
        assert_eq!(cards.read(at(15))[0].power_watts, Some(60.0));
    }

    #[test]
    fn an_amd_card_tells_memory_use_heat_and_power() {
        let root = tree(&[
            ("card1/device/vendor", "0x1002"),
            ("card1/device/device", "0x744c"),
            ("card1/device/mem_info_vram_total", "25753026560"),
            ("card1/device/mem_info_vram_used", "1073741824"),
            ("card1/device/gpu_busy_percent", "37"),
            ("card1/device/unique_id", "8f9f5c1d2a3b4c5d"),
            ("card1/device/hwmon/hwmon4/name", "amdgpu"),
            ("card1/device/hwmon/hwmon4/temp1_input", "51000"),
            ("card1/device/hwmon/hwmon4/power1_average", "93000000"),
            ("card1/device/hwmon/hwmon4/power1_cap", "303000000"),
            ("card1-DP-1/status", "connected"),
            ("renderD128/device/vendor", "0x1002"),
            ("version", "drm 1.1.0 20060810"),
        ]);
        let cards = read_cards(root.path());
        assert_eq!(cards.len(), 1);
        let card = &cards[0];
        assert_eq!(
            (card.vendor.as_str(), card.name.as_str()),
            ("amd", "AMD GPU 0x744c")
        );
        assert_eq!(card.memory_total_bytes, Some(25_753_026_560));
        assert_eq!(card.memory_used_bytes, Some(1_073_741_824));
        assert_eq!(card.used_percent, Some(37.0));
        assert_eq!(card.temperature_celsius, Some(51.0));
        assert_eq!(
            (card.power_watts, card.power_limit_watts),
            (Some(93.0), Some(303.0))
        );
        assert_eq!(card.uuid.as_deref(), Some("8f9f5c1d2a3b4c5d"));
    }

    #[test]
    fn cards_that_tell_little_are_shown_with_little() {
        let root = tree(&[
            ("card0/device/vendor", "0x8086"),
            ("card0/device/device", "0x46a6"),
            ("card10/device/vendor", "0x10de"),
            ("card2/device/vendor", "0x1002"),
            ("card2/device/product_name", "AMD Instinct MI300X"),
            ("card2/device/mem_info_vram_total", "not a number"),
            ("card2/device/gpu_busy_percent", ""),
        ]);
        let names: Vec<String> = read_cards(root.path())
            .into_iter()
            .map(|gpu| gpu.name)
            .collect();
        assert_eq!(
            names,
            ["INTEL GPU 0x46a6", "AMD Instinct MI300X", "NVIDIA GPU"]
        );
        let amd = &read_cards(root.path())[1];
        assert_eq!((amd.memory_total_bytes, amd.used_percent), (None, None));
    }

    #[test]
    fn machines_without_cards_have_none() {
        let console = tree(&[("card0/device/vendor", "0x1a03")]);
        assert_eq!(read_cards(console.path()), []);
        assert_eq!(read_cards(&console.path().join("missing")), []);
    }
}
