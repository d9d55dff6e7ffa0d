//! GPUs as Linux shows them below `/sys/class/drm` (kernel documentation: `gpu/amdgpu/thermal`, `hwmon/sysfs-interface`).

use std::fs;
use std::path::Path;

use agent_proto::v1::Gpu;

/// The name of NVIDIA among vendors.
pub(super) const NVIDIA: &str = "nvidia";

/// Reads every graphics card below `root`, in the order of their numbers. What cannot be read is left out.
pub(super) fn read_cards(root: &Path) -> Vec<Gpu> {
    let Ok(entries) = fs::read_dir(root) else {
        return Vec::new();
    };
    let mut cards: Vec<(u32, Gpu)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            // Connectors are called card0-DP-1.
            let number = entry
                .file_name()
                .to_str()?
                .strip_prefix("card")?
                .parse()
                .ok()?;
            Some((number, read_card(&entry.path().join("device"))?))
        })
        .collect();
    cards.sort_by_key(|(number, _)| *number);
    cards.into_iter().map(|(_, gpu)| gpu).collect()
}

fn read_card(device: &Path) -> Option<Gpu> {
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
        memory_total_bytes: number(&device.join("mem_info_vram_total")),
        memory_used_bytes: number(&device.join("mem_info_vram_used")),
        used_percent: number(&device.join("gpu_busy_percent")).map(|busy| busy as f32),
        temperature_celsius: sensor("temp1_input").map(|milli| milli as f32 / 1000.0),
        power_watts: sensor("power1_average")
            .or_else(|| sensor("power1_input"))
            .map(watts),
        power_limit_watts: sensor("power1_cap").map(watts),
        uuid: text(&device.join("unique_id")),
        driver: None,
    })
}

fn sensors(device: &Path) -> Option<std::path::PathBuf> {
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
