//! `remuda rollout start`.

use clap::Args;
use serde_json::{Value, json};

use super::ROLLOUTS;
use super::show;
use crate::commands::context::Context;
use crate::commands::failure::Failure;
use crate::config::Period;

#[derive(Debug, Args)]
pub(super) struct Start {
    /// The name that clients ask for.
    model: String,
    /// The version that is rolled out.
    #[arg(long, value_name = "NEWMODEL")]
    to: String,
    /// Its stages: `node` (a small share, at one node), then percent of the callers, which rise to 100.
    #[arg(long, value_delimiter = ',', default_value = "node,10,100")]
    stages: Vec<String>,
    /// How long each stage lasts at least.
    #[arg(long, default_value = "10m", value_parser = seconds)]
    hold: u64,
    /// How many requests of the new version each stage sees at least.
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    min_requests: u64,
    /// The share of its requests that may fail.
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = share)]
    max_error_rate: f64,
    /// How many times the old version's median time to the first token the new one's may be. Without it: any.
    #[arg(long, value_name = "TIMES")]
    max_slower: Option<f64>,
}

fn seconds(text: &str) -> Result<u64, String> {
    let period = Period::parse(text).ok_or("write it as 30s, 10m or 2h")?;
    Ok(period.0.as_secs())
}

fn share(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    let percent: f64 = number.parse().map_err(|_| "write it as 5% or 0.5%")?;
    if (0.0..100.0).contains(&percent) {
        Ok(percent / 100.0)
    } else {
        Err("0% to less than 100%".to_owned())
    }
}

impl Start {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut body = json!({
            "model": self.model, "to": self.to, "stages": self.stages, "hold_seconds": self.hold,
            "min_requests": self.min_requests, "max_error_rate": self.max_error_rate,
        });
        if let Some(most) = self.max_slower {
            body["max_slower"] = Value::from(most);
        }
        let started = context.api()?.post(ROLLOUTS, &body).await?;
        show::tell(context, started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percent_and_times_have_units() {
        assert_eq!((share("5%"), share("0.5")), (Ok(0.05), Ok(0.005)));
        assert_eq!((seconds("10m"), seconds("90")), (Ok(600), Ok(90)));
        for wrong in ["100%", "-1%", "much"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
        assert!(seconds("soon").is_err());
    }
}
