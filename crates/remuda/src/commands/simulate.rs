//! `remuda simulate`: a recorded day under other policies, before anybody switches.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use scheduling::PolicyName;
use scheduling::simulator::{FleetSpec, Options, Report, Table, TraceReader, plot, simulate};

use super::context::Context;
use super::failure::Failure;
use crate::output::{patiently, remark};

/// Replays recorded requests over a described fleet, in virtual time, and compares routing policies.
///
/// Queue, policies, breakers and learned speeds are those of the gateway; only the nodes are models of nodes. The same
/// trace, fleet, policy and seed give the same figures on every machine. No server is needed.
#[derive(Debug, Args)]
#[command(
    after_long_help = "A trace is what `remuda requests export` writes, a Mooncake trace (JSON lines) or an Azure LLM inference trace (CSV).
A fleet is TOML:

  [[models]]
  name = \"llama3\"
  bytes = 4_700_000_000

  [[nodes]]
  name = \"gpu\"
  count = 4
  prefill_tokens_per_s = 5000
  decode_tokens_per_s = 60
  slots = 8
  memory_bytes = 24_000_000_000
  cache_tokens = 200_000

Arrivals are replayed and do not wait for answers, so that the figures are an estimate.

Examples:
  remuda requests export --since 1d > day.jsonl
  remuda simulate --trace day.jsonl --fleet fleet.toml
  remuda simulate --trace day.jsonl --fleet fleet.toml --policy remuda,least_load --rate 2 --plot day.svg"
)]
pub(super) struct Simulate {
    /// The recorded requests.
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,
    /// The fleet that they are replayed over.
    #[arg(long, value_name = "FILE")]
    fleet: PathBuf,
    /// The policies to compare, separated by commas. Without it: all.
    #[arg(long = "policy", value_name = "NAMES", value_delimiter = ',')]
    policies: Vec<PolicyName>,
    /// How many times as fast as recorded the requests arrive.
    #[arg(long, default_value_t = Options::default().rate, value_name = "TIMES")]
    rate: f64,
    /// Decides everything that is random.
    #[arg(long, default_value_t = Options::default().seed, value_name = "NUMBER")]
    seed: u64,
    /// Draw how long first tokens take under each policy, as SVG, into this file.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

impl Simulate {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let text = fs::read_to_string(&self.fleet)
            .map_err(|error| unreadable("fleet", &self.fleet, &error))?;
        let fleet = FleetSpec::parse(&text).map_err(|error| {
            let reason = error.to_string();
            let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
            Failure::Usage(format!("{}: {reason}", self.fleet.display()))
        })?;
        let fleet = Arc::new(fleet);
        // Each policy reads the trace from its beginning, which a pipe gives only once.
        let trace =
            fs::metadata(&self.trace).map_err(|error| unreadable("trace", &self.trace, &error))?;
        if !trace.is_file() {
            return Err(Failure::Usage(format!(
                "the trace {} is no regular file, and it is read once for each policy: write it into a file first",
                self.trace.display()
            )));
        }
        let options = Options {
            rate: self.rate,
            seed: self.seed,
            ..Options::default()
        };
        let policies = if self.policies.is_empty() {
            PolicyName::ALL.to_vec()
        } else {
            self.policies
        };
        let mut reports: Vec<Report> = Vec::new();
        for name in policies {
            let (path, fleet, options) = (self.trace.clone(), fleet.clone(), options.clone());
            let replaying =
                tokio::task::spawn_blocking(move || replay(&path, &fleet, name, &options));
            let meanwhile = format!("replaying the trace with {}", name.as_str());
            let report = patiently(context.out, &meanwhile, replaying)
                .await
                .map_err(|error| Failure::Refused(format!("the simulation broke off: {error}")))?;
            reports.push(report?);
        }
        if context.out.is_json() {
            context.out.json(&reports)?;
        } else {
            context.out.text(&Table(&reports).to_string())?;
        }
        if let Some(file) = &self.plot {
            fs::write(file, plot(&reports)).map_err(|error| {
                Failure::Refused(format!("cannot write {}: {error}", file.display()))
            })?;
            remark(&format!("The picture is in {}.", file.display()));
        }
        Ok(())
    }
}

/// Replays the trace once, from its beginning.
fn replay(
    trace: &Path,
    fleet: &FleetSpec,
    name: PolicyName,
    options: &Options,
) -> Result<Report, Failure> {
    let file = File::open(trace).map_err(|error| unreadable("trace", trace, &error))?;
    let reader = TraceReader::new(BufReader::new(file));
    simulate(reader, fleet, name, options).map_err(|error| Failure::Refused(error.to_string()))
}

fn unreadable(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::Usage(format!(
        "cannot read the {what} {}: {error}; name a file with --{what}",
        path.display()
    ))
}
