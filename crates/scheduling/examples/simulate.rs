//! Replays a trace over a described fleet and compares policies:
//!
//! `cargo run --release -p remuda-scheduling --example simulate -- --trace FILE --fleet FILE [--policy a,b] [--rate X] [--seed N]
//! [--tenants N] [--flood N] [--prefix-blocks N] [--slo-ttft-ms N] [--json] [--plot FILE.svg|FILE.png]`
//!
//! With `--synthetic PER_S --requests N` in place of `--trace FILE` it replays N generated requests.

#![expect(clippy::print_stdout, reason = "a command prints its results")]

use std::error::Error;
use std::fs::{self, File};
use std::io::BufReader;
use std::str::FromStr;
use std::time::Duration;

use remuda_scheduling::PolicyName;
use remuda_scheduling::simulator::{
    FleetSpec, Options, PlotFormat, Synthetic, Table, TraceReader, plot, simulate,
};

type Failure = Box<dyn Error>;

#[derive(Debug, Default)]
struct Arguments {
    trace: String,
    /// Requests a second of a generated trace.
    synthetic: Option<f64>,
    requests: u64,
    fleet: String,
    policies: Vec<PolicyName>,
    options: Options,
    json: bool,
    plot: Option<String>,
}

fn number<T: FromStr<Err: Error + 'static>>(name: &str, text: &str) -> Result<T, Failure> {
    text.parse()
        .map_err(|error| format!("{name} {text}: {error}").into())
}

fn arguments() -> Result<Arguments, Failure> {
    let mut arguments = Arguments {
        policies: PolicyName::ALL.to_vec(),
        requests: 100_000,
        ..Arguments::default()
    };
    let mut words = std::env::args().skip(1);
    while let Some(name) = words.next() {
        if name == "--json" {
            arguments.json = true;
            continue;
        }
        let value = words
            .next()
            .ok_or_else(|| format!("{name} wants a value"))?;
        let options = &mut arguments.options;
        match name.as_str() {
            "--trace" => arguments.trace = value,
            "--synthetic" => arguments.synthetic = Some(number(&name, &value)?),
            "--requests" => arguments.requests = number(&name, &value)?,
            "--fleet" => arguments.fleet = value,
            "--policy" => {
                let names = value.split(',').map(str::parse);
                arguments.policies = names.collect::<Result<_, _>>()?;
            }
            "--rate" => options.rate = number(&name, &value)?,
            "--seed" => options.seed = number(&name, &value)?,
            "--tenants" => options.tenants = number(&name, &value)?,
            "--flood" => options.flood = Some(number(&name, &value)?),
            "--prefix-blocks" => options.prefix_blocks = Some(number(&name, &value)?),
            "--slo-ttft-ms" => {
                options.slo.first_token = Duration::from_millis(number(&name, &value)?);
            }
            "--plot" => arguments.plot = Some(value),
            _ => return Err(format!("unknown argument {name}").into()),
        }
    }
    if arguments.trace.is_empty() == arguments.synthetic.is_none() || arguments.fleet.is_empty() {
        return Err("--fleet and one of --trace and --synthetic are needed".into());
    }
    Ok(arguments)
}

fn main() -> Result<(), Failure> {
    let arguments = arguments()?;
    let fleet = FleetSpec::parse(&fs::read_to_string(&arguments.fleet)?)?;
    let mut reports = Vec::new();
    for policy in &arguments.policies {
        let options = &arguments.options;
        reports.push(if let Some(per_s) = arguments.synthetic {
            let trace = Synthetic::new(arguments.requests, per_s, options.seed);
            simulate(trace, &fleet, *policy, options)?
        } else {
            let trace = TraceReader::new(BufReader::new(File::open(&arguments.trace)?));
            simulate(trace, &fleet, *policy, options)?
        });
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
    } else {
        print!("{}", Table(&reports));
    }
    if let Some(path) = arguments.plot {
        fs::write(&path, plot(&reports, PlotFormat::of(path.as_ref())?)?)?;
    }
    Ok(())
}
