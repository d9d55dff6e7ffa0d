//! NVIDIA's GPUs as `nvidia-smi` tells, where its program is there and its library cannot be loaded: a static program, or a library
//! that lies where nobody looks for it.

use std::io::ErrorKind;
use std::process::{Command, Stdio};

use agent_proto::v1::Gpu;

const QUERY: &str = "--query-gpu=index,name,uuid,driver_version,memory.total,memory.used,utilization.gpu,temperature.gpu,power.draw,enforced.power.limit";

/// Reads every GPU; none where there is no such program.
pub(super) fn read() -> Result<Vec<Gpu>, String> {
    let mut command = Command::new("nvidia-smi");
    command
        .args([QUERY, "--format=csv,noheader,nounits"])
        .stdin(Stdio::null());
    let told = match command.output() {
        Ok(told) => told,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("nvidia-smi does not start: {error}")),
    };
    let text = String::from_utf8_lossy(&told.stdout);
    if told.status.success() {
        return Ok(parse(&text));
    }
    let said = format!("{text} {}", String::from_utf8_lossy(&told.stderr));
    let said: Vec<&str> = said.split_whitespace().collect();
    let said: String = said.join(" ").chars().take(200).collect();
    Err(format!("nvidia-smi tells nothing: {}, {said}", told.status))
}

/// Reads what it prints: a line for each GPU. What it does not know stands in brackets, as `[N/A]`.
pub(super) fn parse(text: &str) -> Vec<Gpu> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Gpu> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [
        index,
        name,
        uuid,
        driver,
        total,
        used,
        busy,
        celsius,
        watts,
        limit,
    ] = fields.as_slice()
    else {
        return None;
    };
    let known =
        |field: &str| (!field.is_empty() && !field.starts_with('[')).then(|| field.to_owned());
    let mebibytes = |field: &str| field.parse::<u64>().ok()?.checked_mul(1 << 20);
    let number = |field: &str| {
        field
            .parse::<f32>()
            .ok()
            .filter(|number| number.is_finite())
    };
    Some(Gpu {
        index: index.parse().ok()?,
        name: known(name).unwrap_or_else(|| "NVIDIA GPU".to_owned()),
        vendor: super::drm::NVIDIA.to_owned(),
        memory_total_bytes: mebibytes(total),
        memory_used_bytes: mebibytes(used),
        used_percent: number(busy),
        temperature_celsius: number(celsius),
        power_watts: number(watts),
        power_limit_watts: number(limit),
        uuid: known(uuid),
        driver: known(driver),
    })
}

#[cfg(test)]
mod tests {
    use super::super::nvml::NvidiaSource;
    use super::*;

    #[test]
    fn what_it_prints_of_servers_is_read() {
        let gpus = parse(
            "0, NVIDIA H100 80GB HBM3, GPU-5d8a2c1e-7b1f-4c6d-9a53-2f0e6b7c8d90, 550.54.15, 81559, 4, 0, 31, 69.42, 700.00\n\
             1, NVIDIA H100 80GB HBM3, GPU-0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0, 550.54.15, 81559, 75012, 98, 64, 612.07, 700.00\n",
        );
        assert_eq!(gpus.len(), 2);
        let busy = &gpus[1];
        assert_eq!(
            (busy.index, busy.name.as_str(), busy.vendor.as_str()),
            (1, "NVIDIA H100 80GB HBM3", "nvidia")
        );
        assert_eq!(busy.memory_total_bytes, Some(81_559 << 20));
        assert_eq!(busy.memory_used_bytes, Some(75_012 << 20));
        assert_eq!(
            (busy.used_percent, busy.temperature_celsius),
            (Some(98.0), Some(64.0))
        );
        assert_eq!(
            (busy.power_watts, busy.power_limit_watts),
            (Some(612.07), Some(700.0))
        );
        assert_eq!(
            busy.uuid.as_deref(),
            Some("GPU-0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0")
        );
        assert_eq!(busy.driver.as_deref(), Some("550.54.15"));
    }

    #[test]
    fn what_a_card_does_not_tell_is_left_out() {
        let gpus = parse(
            "0, NVIDIA GeForce GT 710, GPU-1, 470.223.02, 2002, 120, [N/A], 41, [N/A], [N/A]\n\
             1, Tesla T4, [Unknown Error], [Not Supported], [GPU is lost], [GPU is lost], [GPU is lost], [GPU is lost], nan, inf\n\
             NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n\
             \n",
        );
        assert_eq!(gpus.len(), 2);
        let (old, lost) = (&gpus[0], &gpus[1]);
        assert_eq!((old.used_percent, old.power_watts), (None, None));
        assert_eq!(old.memory_used_bytes, Some(120 << 20));
        assert_eq!(
            lost,
            &Gpu {
                index: 1,
                name: "Tesla T4".to_owned(),
                vendor: "nvidia".to_owned(),
                ..Gpu::default()
            }
        );
    }

    /// On a machine with such a GPU both ways are compared; on others both find none.
    #[test]
    fn the_library_and_the_program_tell_the_same_of_this_machine() {
        let by_program = read().unwrap_or_default();
        let by_library = NvidiaSource::default().read().unwrap_or_default();
        let fixed = |gpus: &[Gpu]| -> Vec<_> {
            gpus.iter()
                .map(|gpu| {
                    let mebibytes = gpu.memory_total_bytes.map(|bytes| bytes >> 20);
                    let (name, uuid) = (gpu.name.clone(), gpu.uuid.clone());
                    (gpu.index, name, uuid, mebibytes, gpu.driver.clone())
                })
                .collect()
        };
        assert_eq!(fixed(&by_library), fixed(&by_program));
        for (one, other) in by_library.iter().zip(&by_program) {
            for (one, other, apart) in [
                (one.temperature_celsius, other.temperature_celsius, 5.0),
                (one.power_limit_watts, other.power_limit_watts, 1.0),
            ] {
                assert_eq!(one.is_some(), other.is_some(), "{one:?} {other:?}");
                let apart_now = one.unwrap_or_default() - other.unwrap_or_default();
                assert!(apart_now.abs() <= apart, "{one:?} {other:?}");
            }
            assert_eq!(one.power_watts.is_some(), other.power_watts.is_some());
            assert_eq!(one.used_percent.is_some(), other.used_percent.is_some());
            assert_eq!(
                one.memory_used_bytes.is_some(),
                other.memory_used_bytes.is_some()
            );
        }
    }
}
