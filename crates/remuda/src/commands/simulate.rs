//! `remuda simulate`: a recorded day under other policies, before anybody switches.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use scheduling::PolicyName;
use scheduling::simulator::{
    FleetSpec, Options, PlotFormat, Report, Synthetic, Table, TraceReader, plot, simulate,
};

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
  remuda simulate --trace day.jsonl --fleet fleet.toml --policy remuda,least_load --rate 2 --plot day.png
  remuda simulate --synthetic 20 --requests 100000 --fleet fleet.toml"
)]
pub(super) struct Simulate {
    /// The recorded requests.
    #[arg(long, value_name = "FILE", required_unless_present = "synthetic")]
    trace: Option<PathBuf>,
    /// Generate conversations in place of a trace: requests a second in the mean.
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "trace", value_parser = rate)]
    synthetic: Option<f64>,
    /// How many requests are generated.
    #[arg(
        long,
        default_value_t = 100_000,
        value_name = "NUMBER",
        requires = "synthetic"
    )]
    requests: u64,
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
    /// Tenants that the requests are divided over where the trace names none.
    #[arg(long, default_value_t = Options::default().tenants, value_name = "NUMBER")]
    tenants: u32,
    /// Let one tenant send this many times as many requests.
    #[arg(long, value_name = "TIMES")]
    flood: Option<u32>,
    /// Draw how long first tokens take under each policy into this file, which ends with .svg or .png.
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
        let source = self.source()?;
        let format = self.plot.as_deref().map(PlotFormat::of).transpose();
        let format = format.map_err(|error| Failure::Usage(error.to_string()))?;
        let options = Options {
            rate: self.rate,
            seed: self.seed,
            tenants: self.tenants,
            flood: self.flood,
            ..Options::default()
        };
        let policies = if self.policies.is_empty() {
            PolicyName::ALL.to_vec()
        } else {
            self.policies
        };
        let mut reports: Vec<Report> = Vec::new();
        for name in policies {
            let (source, fleet, options) = (source.clone(), fleet.clone(), options.clone());
            let replaying =
                tokio::task::spawn_blocking(move || source.replay(&fleet, name, &options));
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
        if let (Some(file), Some(format)) = (&self.plot, format) {
            let picture = plot(&reports, format).map_err(|e| Failure::Refused(e.to_string()))?;
            fs::write(file, picture).map_err(|error| {
                Failure::Refused(format!("cannot write {}: {error}", file.display()))
            })?;
            remark(&format!("The picture is in {}.", file.display()));
        }
        Ok(())
    }
}

/// Where requests come from.
#[derive(Clone, Debug)]
enum Source {
    Recorded(PathBuf),
    Generated { requests: u64, per_s: f64 },
}

impl Simulate {
    fn source(&self) -> Result<Source, Failure> {
        let Some(trace) = &self.trace else {
            return Ok(Source::Generated {
                requests: self.requests,
                per_s: self.synthetic.unwrap_or(1.0),
            });
        };
        // Each policy reads the trace from its beginning, which a pipe gives only once.
        let file = fs::metadata(trace).map_err(|error| unreadable("trace", trace, &error))?;
        if !file.is_file() {
            return Err(Failure::Usage(format!(
                "the trace {} is no regular file, and it is read once for each policy: write it into a file first",
                trace.display()
            )));
        }
        Ok(Source::Recorded(trace.clone()))
    }
}

impl Source {
    /// Replays the requests once, from the first.
    fn replay(
        &self,
        fleet: &FleetSpec,
        name: PolicyName,
        options: &Options,
    ) -> Result<Report, Failure> {
        let report = match self {
            Self::Recorded(trace) => {
                let file = File::open(trace).map_err(|error| unreadable("trace", trace, &error))?;
                simulate(TraceReader::new(BufReader::new(file)), fleet, name, options)
            }
            Self::Generated { requests, per_s } => {
                let trace = Synthetic::new(*requests, *per_s, options.seed);
                simulate(trace, fleet, name, options)
            }
        };
        report.map_err(|error| Failure::Refused(error.to_string()))
    }
}

/// Reads a rate of requests.
fn rate(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|rate| (1e-3..=1e6).contains(rate))
        .ok_or_else(|| "give a number from 0.001 to 1000000".to_owned())
}

fn unreadable(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::Usage(format!(
        "cannot read the {what} {}: {error}; name a file with --{what}",
        path.display()
    ))
}
