//! Sensors as Linux shows them below `/sys/class/hwmon` (kernel documentation: `hwmon/sysfs-interface`).

use std::fs;
use std::path::Path;

use super::drm::{number, text};

/// Drivers whose first sensor is the processor's, the most exact one first.
const CPU_DRIVERS: [&str; 5] = ["coretemp", "k10temp", "zenpower", "cpu_thermal", "acpitz"];

/// Reads the temperature of the processor in degrees Celsius, where there is a sensor.
pub(super) fn cpu_temperature(root: &Path) -> Option<f32> {
    let sensors: Vec<(String, u64)> = fs::read_dir(root)
        .ok()?
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = text(&entry.path().join("name"))?;
            Some((name, number(&entry.path().join("temp1_input"))?))
        })
        .collect();
    CPU_DRIVERS.iter().find_map(|driver| {
        let (_, milli) = sensors.iter().find(|(name, _)| name == driver)?;
        Some(*milli as f32 / 1000.0)
    })
}

#[cfg(test)]
mod tests {
    use super::super::drm::tree;
    use super::*;

    #[test]
    fn the_processors_own_sensor_goes_before_the_boards() {
        let root = tree(&[
            ("hwmon0/name", "acpitz"),
            ("hwmon0/temp1_input", "27800"),
            ("hwmon1/name", "nvme"),
            ("hwmon1/temp1_input", "40850"),
            ("hwmon2/name", "k10temp"),
            ("hwmon2/temp1_input", "54125"),
        ]);
        assert_eq!(cpu_temperature(root.path()), Some(54.125));
        assert_eq!(cpu_temperature(&root.path().join("hwmon1")), None);
    }
}
