//! NVIDIA's GPUs, through the management library that comes with the driver, or its program where the library cannot be loaded. Without
//! driver there are none, and that is no fault.

use agent_proto::v1::Gpu;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

/// The library, opened at the first reading and kept.
#[derive(Default)]
pub(super) struct NvidiaSource {
    library: Option<Nvml>,
}

impl NvidiaSource {
    /// Reads every GPU; says what is wrong where there is a driver that does not work.
    pub(super) fn read(&mut self) -> Result<Vec<Gpu>, String> {
        let library = match &self.library {
            Some(library) => library,
            None => match Nvml::init() {
                Ok(library) => self.library.insert(library),
                Err(NvmlError::DriverNotLoaded) => return Ok(Vec::new()),
                Err(NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound) => {
                    return super::nvidia_smi::read();
                }
                Err(error) => return Err(problem(&error)),
            },
        };
        let read = read_all(library);
        if let Err(error) = &read {
            let problem = problem(error);
            // A driver that was exchanged under a running program wants to be opened anew.
            self.library = None;
            return Err(problem);
        }
        read.map_err(|error| problem(&error))
    }
}

fn problem(error: &NvmlError) -> String {
    format!("NVIDIA's driver does not tell: {error}; `nvidia-smi` says more")
}

fn read_all(library: &Nvml) -> Result<Vec<Gpu>, NvmlError> {
    let driver = library.sys_driver_version().ok();
    let mut gpus = Vec::new();
    for index in 0..library.device_count()? {
        match library.device_by_index(index) {
            Ok(device) => gpus.push(read_one(index, &device, driver.clone())),
            // One that fell off the bus must not hide the others.
            Err(error) => tracing::debug!(index, %error, "a GPU cannot be opened"),
        }
    }
    Ok(gpus)
}

fn read_one(index: u32, device: &Device<'_>, driver: Option<String>) -> Gpu {
    let memory = device.memory_info().ok();
    let watts = |milliwatts: u32| milliwatts as f32 / 1000.0;
    Gpu {
        index,
        name: device.name().unwrap_or_else(|_| "NVIDIA GPU".to_owned()),
        vendor: super::drm::NVIDIA.to_owned(),
        memory_total_bytes: memory.as_ref().map(|memory| memory.total),
        memory_used_bytes: memory.as_ref().map(|memory| memory.used),
        used_percent: device
            .utilization_rates()
            .ok()
            .map(|rates| rates.gpu as f32),
        temperature_celsius: device
            .temperature(TemperatureSensor::Gpu)
            .ok()
            .map(|degrees| degrees as f32),
        power_watts: device.power_usage().ok().map(watts),
        power_limit_watts: device.enforced_power_limit().ok().map(watts),
        uuid: device.uuid().ok(),
        driver,
    }
}
