//! One reading of an agent beside the lines that `nvidia-smi` printed around it.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::Value;

use super::nvidia_smi::{FIELDS, Line};

/// How a field is compared.
enum Kind {
    /// It is the same text.
    Text,
    /// It lies between the least and the greatest of what was printed, give or take this much.
    Number { scale: f64, give: f64 },
}

/// The agent's field beside each of [`FIELDS`]. Memory is told in bytes here and printed in MiB, rounded; the rest is rounded to whole numbers
/// or hundredths, and the driver averages power over a second.
const TOLD: [(&str, Kind); FIELDS.len()] = [
    ("index", number(1.0, 0.0)),
    ("name", Kind::Text),
    ("uuid", Kind::Text),
    ("driver", Kind::Text),
    ("memory_total_bytes", number(MIB, 1.0)),
    ("memory_used_bytes", number(MIB, 1.0)),
    ("used_percent", number(1.0, 0.0)),
    ("temperature_celsius", number(1.0, 0.0)),
    ("power_watts", number(1.0, 1.0)),
    ("power_limit_watts", number(1.0, 0.01)),
];
const MIB: f64 = (1_u64 << 20) as f64;

const fn number(scale: f64, give: f64) -> Kind {
    Kind::Number { scale, give }
}

/// What readings have shown, by GPU and field.
#[derive(Default)]
pub(super) struct Comparison {
    rows: BTreeMap<(usize, usize), Row>,
}

#[derive(Default)]
struct Row {
    agent: Vec<String>,
    printed: Vec<String>,
    other: u32,
}

impl Comparison {
    /// Adds a reading: the GPUs that the agent told of, and what was printed around it.
    pub(super) fn add(&mut self, gpus: &Value, printed: &[Line]) -> anyhow::Result<()> {
        let gpus = gpus.as_array().context("no list of GPUs")?;
        // Others may be there, too.
        let gpus: Vec<&Value> = gpus
            .iter()
            .filter(|gpu| gpu["vendor"] == "nvidia")
            .collect();
        let mut of_gpu: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
        for line in printed.iter().filter(|line| line.is_gpu()) {
            of_gpu.entry(&line.fields[0]).or_default().push(line);
        }
        anyhow::ensure!(
            gpus.len() == of_gpu.len(),
            "the agent tells of {} GPUs, nvidia-smi of {}",
            gpus.len(),
            of_gpu.len()
        );
        for (position, gpu) in gpus.iter().enumerate() {
            let index = gpu["index"].to_string();
            let lines = of_gpu
                .get(index.as_str())
                .with_context(|| format!("nvidia-smi knows no GPU {index}"))?;
            // By the first they were found.
            for (field, (name, kind)) in TOLD.iter().enumerate().skip(1) {
                let printed = lines.iter().map(|line| line.fields[field].as_str());
                let row = self.rows.entry((position, field)).or_default();
                row.add(&gpu[*name], kind, printed.collect());
            }
        }
        Ok(())
    }

    /// Returns a table, and whether everything is the same.
    pub(super) fn markdown(&self) -> (String, bool) {
        let head = "| GPU | nvidia-smi | printed | the agent told | readings apart |\n|---|---|---|---|---|\n";
        let row = |((gpu, field), row): (&(usize, usize), &Row)| {
            format!(
                "| {gpu} | {} | {} | {} | {} |\n",
                FIELDS[*field],
                ends(&row.printed),
                ends(&row.agent),
                row.other
            )
        };
        let text = head.to_owned() + &self.rows.iter().map(row).collect::<String>();
        let same = !self.rows.is_empty() && self.rows.values().all(|row| row.other == 0);
        (text, same)
    }
}

impl Row {
    fn add(&mut self, told: &Value, kind: &Kind, printed: Vec<&str>) {
        let (told, same) = match kind {
            Kind::Text => {
                let told = told.as_str().unwrap_or("-").to_owned();
                let same = printed.iter().all(|printed| *printed == told);
                (told, same)
            }
            Kind::Number { scale, give } => {
                let numbers = printed.iter().filter_map(|text| text.parse::<f64>().ok());
                let (least, most) = numbers
                    .fold((f64::INFINITY, f64::NEG_INFINITY), |ends, number| {
                        (ends.0.min(number), ends.1.max(number))
                    });
                match told.as_f64().map(|told| told / scale) {
                    Some(told) => {
                        let same = told >= least - give && told <= most + give;
                        (format!("{}", (told * 100.0).round() / 100.0), same)
                    }
                    // What neither knows is the same.
                    None => ("-".to_owned(), least > most),
                }
            }
        };
        self.other += u32::from(!same);
        self.agent.push(told);
        self.printed.extend(printed.into_iter().map(str::to_owned));
    }
}

/// Returns the least and the greatest of some values, or the one that they all are.
fn ends(values: &[String]) -> String {
    let number = |text: &String| text.parse::<f64>().unwrap_or_default();
    let order = |one: &&String, other: &&String| number(one).total_cmp(&number(other));
    match (values.iter().min_by(order), values.iter().max_by(order)) {
        (Some(least), Some(most)) if least != most => format!("{least} to {most}"),
        (Some(one), _) => one.clone(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::json;

    use super::*;

    const RESTING: &str = "0, NVIDIA H100, GPU-1, 580.1, 81559, 4, 0, 31, 69.42, 700.00";
    const BUSY: &str = "0, NVIDIA H100, GPU-1, 580.1, 81559, 5012, 98, 40, 312.00, 700.00";

    fn lines(texts: &[&str]) -> Vec<Line> {
        let line = |text: &&str| Line::new(Instant::now(), text);
        texts.iter().map(line).collect()
    }

    fn told(used_mib: u64, watts: f64) -> Value {
        json!([{
            "index": 0, "vendor": "nvidia", "name": "NVIDIA H100", "uuid": "GPU-1", "driver": "580.1", "memory_total_bytes": 81_559_u64 << 20,
            "memory_used_bytes": used_mib << 20, "used_percent": 50.0, "temperature_celsius": 35.0, "power_watts": watts,
            "power_limit_watts": 700.0
        }])
    }

    fn apart(gpus: &Value, printed: &[&str]) -> anyhow::Result<u32> {
        let mut comparison = Comparison::default();
        comparison.add(gpus, &lines(printed))?;
        let apart = comparison.rows.values().map(|row| row.other).sum();
        assert_eq!(comparison.markdown().1, apart == 0);
        Ok(apart)
    }

    #[test]
    fn what_lies_between_what_was_printed_is_the_same() -> anyhow::Result<()> {
        assert_eq!(apart(&told(4_000, 100.0), &[RESTING, BUSY])?, 0);
        assert_eq!(apart(&told(6_000, 100.0), &[RESTING, BUSY])?, 1);
        assert_eq!(apart(&told(6_000, 400.0), &[RESTING, BUSY])?, 2);
        // Use, temperature, memory and power.
        assert_eq!(apart(&told(4_000, 100.0), &[RESTING])?, 4);
        Ok(())
    }

    #[test]
    fn what_one_of_them_does_not_tell_is_apart() -> anyhow::Result<()> {
        let mut gpus = told(4, 69.0);
        gpus[0]["used_percent"] = json!(0);
        gpus[0]["temperature_celsius"] = json!(31);
        assert_eq!(apart(&gpus, &[RESTING])?, 0);
        gpus[0]["power_watts"] = Value::Null;
        assert_eq!(apart(&gpus, &[RESTING])?, 1);
        let unknown = RESTING.replace("69.42", "[N/A]");
        assert_eq!(apart(&gpus, &[&unknown])?, 0);
        gpus[0]["uuid"] = Value::Null;
        assert_eq!(apart(&gpus, &[&unknown])?, 1);
        Ok(())
    }

    #[test]
    fn a_gpu_that_only_one_knows_is_an_error() {
        assert!(apart(&json!([]), &[RESTING]).is_err());
        assert!(apart(&json!([{"index": 0, "vendor": "amd"}]), &[RESTING]).is_err());
        assert!(
            apart(
                &told(4, 69.0),
                &["1, a second one, GPU-2, 580.1, 1, 1, 1, 1, 1, 1"]
            )
            .is_err()
        );
    }
}
