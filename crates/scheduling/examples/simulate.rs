//! Replays a trace over a described fleet and compares policies:
//!
//! `cargo run --release -p remuda-scheduling --example simulate -- --trace FILE --fleet FILE [--policy a,b] [--rate X] [--seed N]
//! [--tenants N] [--flood N] [--prefix-blocks N] [--slo-ttft-ms N] [--json] [--plot FILE.svg]`

#![expect(clippy::print_stdout, reason = "a command prints its results")]

use std::error::Error;
use std::fs::{self, File};
use std::io::BufReader;
use std::str::FromStr;
use std::time::Duration;

use remuda_scheduling::PolicyName;
use remuda_scheduling::simulator::{FleetSpec, Options, Table, TraceReader, plot, simulate};

type Failure = Box<dyn Error>;

#[derive(Debug, Default)]
struct Arguments {
    trace: String,
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
    if arguments.trace.is_empty() || arguments.fleet.is_empty() {
        return Err("--trace and --fleet are needed".into());
    }
    Ok(arguments)
}

fn main() -> Result<(), Failure> {
    let arguments = arguments()?;
    let fleet = FleetSpec::parse(&fs::read_to_string(&arguments.fleet)?)?;
    let mut reports = Vec::new();
    for policy in &arguments.policies {
        let trace = TraceReader::new(BufReader::new(File::open(&arguments.trace)?));
        reports.push(simulate(trace, &fleet, *policy, &arguments.options)?);
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
    } else {
        print!("{}", Table(&reports));
    }
    if let Some(path) = arguments.plot {
        fs::write(path, plot(&reports))?;
    }
    Ok(())
}
