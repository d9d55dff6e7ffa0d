//! `remuda inventory load`: how many calls a second the inventory takes, and how long each one.

mod connection;
mod figures;
mod world;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use futures_util::stream::{self, StreamExt as _};
use parking_lot::Mutex;
use scheduling::simulator::{PlotFormat, plot_over_time};
use tokio::task::JoinSet;

use super::super::context::Context;
use super::super::failure::Failure;
use super::import;
use crate::config::Period;
use crate::output::remark;
use connection::Connection;
use figures::{Figures, Outcome};
use world::{Mix, World};

/// Widgets of one part of the preparation.
const PART: u32 = 20_000;

/// Parts that are under way at the same time.
const TOGETHER: usize = 3;

/// Connections that are being opened at the same time.
const OPENING: usize = 64;

/// Puts load on the inventory and reports what it took.
///
/// Each connection makes one call at a time. With --rate calls have a time at which they should begin, and count from then on even if they
/// begin later because all connections are busy.
#[derive(Debug, Args)]
#[command(
    after_long_help = "The widgets that the calls are about have serial numbers of their own (--prefix), and stay behind.
The server may be any that answers /rpc/add_widget and the other three as Remuda does.

Examples:
  remuda inventory load --connections 64 --duration 30s
  remuda inventory load --prepare --population 1000000 --rate 5000 --duration 2m --plot load.svg
  remuda inventory load --mix add=100 --connections 512 --report load.json"
)]
pub(in crate::commands) struct Load {
    /// Calls a second; without it as many as the connections can make.
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// How often each call is made, in parts of their sum.
    #[arg(long, default_value = "add=40,associate=30,disassociate=15,remove=15")]
    mix: Mix,
    /// Connections.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// How long.
    #[arg(long, default_value = "30s", value_parser = period)]
    duration: Period,
    /// Widgets that are there at the beginning, as --prepare makes them.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(0..=100_000_000))]
    population: u32,
    /// Make those widgets first.
    #[arg(long)]
    prepare: bool,
    /// What their serial numbers begin with.
    #[arg(long, default_value = "load")]
    prefix: String,
    /// Decides everything that is random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the report as JSON into this file, too.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Draw rate and times into this file, which ends with .svg or .png.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

fn period(text: &str) -> Result<Period, String> {
    Period::parse(text).ok_or_else(|| "write a number with its unit, as 30s or 2m".to_owned())
}

/// What all connections share.
struct Run {
    world: Mutex<World>,
    figures: Mutex<Figures>,
    /// Calls that were begun, where they have times.
    begun: AtomicU64,
    rate: Option<u32>,
    began: Instant,
    duration: Duration,
}

impl Load {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let format = self.plot.as_deref().map(PlotFormat::of).transpose();
        let format = format.map_err(|error| Failure::Usage(error.to_string()))?;
        let duration = self.duration.0;
        let api = context.api()?;
        if self.prepare {
            self.make_population(context).await?;
        }
        let authorization = api.authorization().await?;
        let target = connection::Target::new(&context.server.join("/"), authorization.as_deref())
            .map_err(Failure::Usage)?;
        let figures =
            Figures::new(duration).map_err(|error| Failure::Refused(error.to_string()))?;
        let opened = open_all(&target, self.connections).await?;
        let run = Arc::new(Run {
            world: Mutex::new(World::new(
                &self.prefix,
                self.population,
                self.mix,
                self.seed,
            )),
            figures: Mutex::new(figures),
            begun: AtomicU64::new(0),
            rate: self.rate,
            began: Instant::now(),
            duration,
        });
        let mut connections = JoinSet::new();
        for open in opened {
            connections.spawn(Arc::clone(&run).go_round(target.clone(), open));
        }
        // Closed when the last answer is there: thousands that end in one moment would delay it.
        let waiting = connections.join_all();
        tokio::select! {
            _ = waiting => {}
            _ = tokio::signal::ctrl_c() => return Err(Failure::Interrupted),
        }
        let figures = run.figures.lock();
        let report = figures.report(self.connections, self.rate, run.began.elapsed());
        if context.out.is_json() {
            context.out.json(&report)?;
        } else {
            context.out.text(&report.to_string())?;
        }
        if let Some(file) = &self.report {
            let text = serde_json::to_string_pretty(&report).unwrap_or_default();
            write(file, text.as_bytes())?;
        }
        if let (Some(file), Some(format)) = (&self.plot, format) {
            let picture = plot_over_time(&report.chart(), format)
                .map_err(|error| Failure::Refused(error.to_string()))?;
            write(file, &picture)?;
            remark(&format!("The picture is in {}.", file.display()));
        }
        match figures.first_failure() {
            Some(failure) if report.failed > 0 => Err(Failure::Refused(format!(
                "{} calls failed, the first with: {failure}",
                report.failed
            ))),
            _ => Ok(()),
        }
    }

    async fn make_population(&self, context: &Context) -> Result<(), Failure> {
        let api = context.api()?;
        let began = Instant::now();
        let parts = (0..self.population).step_by(PART as usize).map(|first| {
            let api = &api;
            async move {
                let end = (first + PART).min(self.population);
                let mut text = String::with_capacity((end - first) as usize * 40);
                for number in first..end {
                    let (serial, ports) = World::member(&self.prefix, number);
                    text.push_str(&serial);
                    text.push_str(",part,");
                    text.push_str(ports);
                    text.push('\n');
                }
                let name = format!("widgets {first} to {}", end - 1);
                let path = "/api/v1/inventory/import?format=csv";
                import::post(api, path, Bytes::from(text), &name).await
            }
        });
        let mut sent = stream::iter(parts).buffer_unordered(TOGETHER);
        let (mut refused, mut why) = (0, None);
        while let Some(answer) = sent.next().await {
            let part = answer?;
            refused += part.refused;
            why = why.or_else(|| part.refusals.into_iter().next());
        }
        if let Some(why) = why {
            return Err(Failure::Refused(format!(
                "{refused} of the {} widgets cannot be made: {}: choose another --prefix than {}",
                self.population, why.error, self.prefix
            )));
        }
        let rate = f64::from(self.population) / began.elapsed().as_secs_f64().max(0.001);
        remark(&format!(
            "{} widgets are there ({rate:.0} a second).",
            self.population
        ));
        Ok(())
    }
}

/// Opens the connections before the time begins: to connect is no call, and thousands of clients do not come in one moment.
async fn open_all(target: &connection::Target, count: u32) -> Result<Vec<Connection>, Failure> {
    let opening = stream::iter((0..count).map(|_| Connection::open(target)));
    let mut opening = opening.buffer_unordered(OPENING);
    let mut opened = Vec::with_capacity(count as usize);
    while let Some(open) = opening.next().await {
        let refused = |error| {
            Failure::Refused(format!(
                "cannot open {count} connections: {error}: is the server there, and may both sides have so many?"
            ))
        };
        opened.push(open.map_err(refused)?);
    }
    Ok(opened)
}

fn write(file: &std::path::Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(file, bytes)
        .map_err(|error| Failure::Refused(format!("cannot write {}: {error}", file.display())))
}

impl Run {
    /// One connection's life. Returns it, if it is still open.
    async fn go_round(
        self: Arc<Self>,
        target: connection::Target,
        open: Connection,
    ) -> Option<Connection> {
        let mut connection = Some(open);
        let mut body = Vec::with_capacity(256);
        while let Some(due) = self.next_due().await {
            let call = {
                let mut world = self.world.lock();
                let call = world.next();
                // Writing to a buffer that grows cannot fail.
                world.write_body(&call, &mut body).ok();
                call
            };
            let open = match connection.take() {
                Some(open) => Ok(open),
                None => Connection::open(&target).await,
            };
            let sent = Instant::now();
            let answered = match open {
                Ok(mut open) => {
                    let answer = open.call(&target, call.function(), &body).await;
                    connection = answer.is_ok().then_some(open);
                    answer
                }
                Err(error) => Err(error),
            };
            let outcome = Outcome::of(&answered);
            self.world.lock().done(&call, outcome == Outcome::Done);
            let (late, took) = (sent.saturating_duration_since(due), sent.elapsed());
            let since = self.began.elapsed();
            self.figures
                .lock()
                .note(since, late, took, outcome, answered);
            if outcome == Outcome::Failed && connection.is_none() {
                // A server that is gone is not asked in a tight loop.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        connection
    }

    /// Waits for the next call's time, and returns from when on it counts; nothing when the time is over.
    async fn next_due(&self) -> Option<Instant> {
        let due = match self.rate {
            None => Instant::now(),
            Some(rate) => {
                let number = self.begun.fetch_add(1, Ordering::Relaxed);
                let due = self.began + Duration::from_secs_f64(number as f64 / f64::from(rate));
                if due < self.began + self.duration {
                    tokio::time::sleep_until(due.into()).await;
                }
                due
            }
        };
        // Calls that could not begin before the end do not begin at all.
        let over = self.began.elapsed() >= self.duration || due >= self.began + self.duration;
        (!over).then_some(due)
    }
}
