//! `cargo xtask bench inventory`: calls a second over millions of widgets, durable, beside what else could serve them.

mod peers;
mod populate;
mod service;
mod witness;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use super::machine;
use super::process::{family_cpu_time, resident_kib};
use super::programs::{Build, programs};
use crate::databases::Databases;
use crate::{interrupt, workspace};
use service::{Load, Service};

/// What `cargo xtask bench inventory` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Measure the release programs as they are
    #[arg(long)]
    no_build: bool,
    /// A million widgets and short windows
    #[arg(long)]
    quick: bool,
    /// Widgets that are there at the beginning; 10,000,000 unless given
    #[arg(long)]
    population: Option<u32>,
    /// Seconds of each window; 15 unless given
    #[arg(long)]
    seconds: Option<u32>,
    /// Seconds of the run that memory is watched in; 60 unless given
    #[arg(long)]
    endurance: Option<u32>,
    /// Leave `PostgREST` out, which npm brings
    #[arg(long)]
    without_postgrest: bool,
    /// Where the pictures of load and times go
    #[arg(long)]
    pictures: Option<PathBuf>,
}

/// What a window of load found, as `remuda inventory load` reports it.
#[derive(Clone, Debug, Default, Deserialize)]
struct Window {
    calls_per_second: f64,
    done: u64,
    refused: u64,
    shed: u64,
    failed: u64,
    p50_ms: f64,
    p99_ms: f64,
    /// How late calls were sent, and how long after that they were answered: the load's own part of a time and the server's.
    late_p99_ms: f64,
    answering_p99_ms: f64,
    /// Processor time of one call in microseconds: of the database, the service and the load.
    #[serde(skip)]
    cpu_us: [f64; 3],
}

impl Window {
    /// Returns the calls a second that were carried out: to refuse one is less work.
    fn done_per_second(&self) -> f64 {
        let answered = (self.done + self.refused).max(1) as f64;
        self.calls_per_second * self.done as f64 / answered
    }

    /// Notes the processor time that all calls have taken.
    fn took(&mut self, database: Duration, service: Duration, load: Duration) {
        let calls = (self.done + self.refused + self.shed).max(1) as f64;
        self.cpu_us = [database, service, load].map(|time| time.as_secs_f64() * 1e6 / calls);
    }
}

/// The rows of the report.
struct Table(String);

impl Table {
    fn row(&mut self, name: &str, window: &Window, verdict: &str) -> std::fmt::Result {
        let share = |count: u64| {
            let all = window.done + window.refused + window.shed + window.failed;
            count as f64 * 100.0 / all.max(1) as f64
        };
        let row = format!(
            "| {name} | {:.0} | {:.1} | {:.1} | {:.0} % | {:.0} % | {} | {:.0} + {:.0} + {:.0} | {verdict} |",
            window.calls_per_second,
            window.p50_ms,
            window.p99_ms,
            share(window.refused),
            share(window.shed),
            window.failed,
            window.cpu_us[0],
            window.cpu_us[1],
            window.cpu_us[2],
        );
        // Who ends a run early has what was measured until then.
        eprintln!("{row}");
        writeln!(self.0, "{row}")
    }
}

fn at_least(value: f64, limit: f64, what: &str) -> String {
    let kept = if value >= limit { "kept" } else { "**missed**" };
    format!("{value:.2}, at least {limit}{what}: {kept}")
}

fn at_most(value: f64, limit: f64, what: &str) -> String {
    let kept = if value <= limit { "kept" } else { "**missed**" };
    format!("{value:.1}, at most {limit}{what}: {kept}")
}

fn at_most_times(value: f64, limit: f64) -> String {
    let kept = if value <= limit { "kept" } else { "**missed**" };
    format!("{value:.2} x, at most {limit} x: {kept}")
}

/// Measures and prints Markdown.
pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    interrupt::catch()?;
    let load_before = machine::load_average();
    let program = programs(&["remuda"], Build::unless(options.no_build))?.join("remuda");
    let population =
        options
            .population
            .unwrap_or(if options.quick { 1_000_000 } else { 10_000_000 });
    let seconds = options
        .seconds
        .unwrap_or(if options.quick { 5 } else { 15 });
    let directory = tempfile::tempdir()?;
    let target = workspace::metadata()?.target_directory;
    let databases = Databases::start_durable(&target)?;
    let bench = Bench {
        options,
        program,
        directory: directory.path(),
        databases: &databases,
        population,
        seconds,
    };
    let mut table = Table(String::new());
    bench.measure(&mut table)?;
    writeln!(
        std::io::stdout().lock(),
        "### Machine\n\n{}\n- load average before the start: {load_before:.2} (numbers count only near 0)\n\n### Method\n\n\
         `cargo xtask bench inventory`. PostgreSQL (fsync, synchronous_commit and full_page_writes on), Remuda (release build) and the load\n\
         (`remuda inventory load`, the mix 40 % add, 30 % associate, 15 % remove association, 15 % remove) share the cores. {population} widgets are there.\n\
         Windows of {seconds} s, closed loop unless a rate is named, all in one run, after one that is not counted: after a checkpoint the log\n\
         takes each page in full once. Processor time for each call says more than calls a second\n\
         where others use the cores, too.\n\n### Results\n\n\
         | | calls/s | p50 ms | p99 ms | refused | shed | failed | processor µs each: database + service + load | aim |\n\
         |---|---|---|---|---|---|---|---|---|\n{}",
        machine::describe(),
        table.0,
    )?;
    Ok(ExitCode::SUCCESS)
}

struct Bench<'a> {
    options: &'a Options,
    program: PathBuf,
    directory: &'a Path,
    databases: &'a Databases,
    population: u32,
    seconds: u32,
}

impl Bench<'_> {
    fn service(&self, name: &str, url: Option<&str>) -> anyhow::Result<Service> {
        let database = url.and_then(|_| self.databases.postgres_pid());
        Service::start(&self.program, &self.directory.join(name), url, database)
    }

    fn load(&self, connections: u32, seed: u32) -> Load {
        Load {
            connections,
            seconds: self.seconds,
            population: self.population,
            seed,
            ..Load::default()
        }
    }

    fn database_time(&self) -> anyhow::Result<Duration> {
        self.databases
            .postgres_pid()
            .map_or(Ok(Duration::ZERO), family_cpu_time)
    }

    fn picture(&self, name: &str) -> Option<PathBuf> {
        let folder = self.options.pictures.as_ref()?;
        Some(folder.join(name))
    }

    fn measure(&self, table: &mut Table) -> anyhow::Result<()> {
        let big = self.databases.make("inventory")?;
        let small = self.databases.make("inventory_small")?;
        // The service brings the schema.
        drop(self.service("schema", Some(&big))?);
        drop(self.service("schema_small", Some(&small))?);
        populate::fill(&big, self.population)?;
        populate::fill(&small, self.population / 100)?;
        self.import(table)?;
        let service = self.service("big", Some(&big))?;
        // After a checkpoint the log takes each page in full once. What is measured is what comes after that.
        service.load(&self.load(256, 100))?;
        let many = service.load(&self.load(512, 2))?;
        let few = self.beside_peers(table, &big, &service)?;
        let best = many.calls_per_second.max(few);
        table.row(
            "PostgreSQL, 512 connections",
            &many,
            &format!(
                "{}; 64 connections in the mean {}",
                at_least(many.calls_per_second, 10_000.0, "/s"),
                at_least(few, 10_000.0, "/s")
            ),
        )?;
        let calm = service.load(&Load {
            rate: Some(5_000),
            plot: self.picture("inventory-5000.svg"),
            ..self.load(128, 4)
        })?;
        table.row(
            "PostgreSQL, 5,000/s wanted, 128 connections",
            &calm,
            &at_most(calm.p99_ms, 50.0, " ms p99"),
        )?;
        let twice = (best * 2.0) as u32;
        let overload = Load {
            rate: Some(twice),
            plot: self.picture("inventory-overload.svg"),
            ..self.load(4_000, 5)
        };
        let (over, testimony) = witness::during(service.address(), || service.load(&overload))?;
        table.row(
            &format!("PostgreSQL, {twice}/s wanted, 4,000 connections"),
            &over,
            &format!(
                "{} (99 % sent within {:.1} ms of their time, answered within {:.1} ms of that)",
                at_most(over.p99_ms, 100.0, " ms p99 of what was taken on"),
                over.late_p99_ms,
                over.answering_p99_ms
            ),
        )?;
        let (counts, verdict) = testimony.verify(&big)?;
        table.row(
            "64 more callers in that overload, whose answers are looked up afterwards",
            &counts,
            &verdict,
        )?;
        let seed = 6;
        let added = service.load(&Load {
            mix: Some("add=100"),
            seed,
            plot: None,
            ..overload
        })?;
        table.row(
            "The same overload by widgets that are added, which are counted afterwards",
            &added,
            &witness::verify_added(&big, &added, seed)?,
        )?;
        self.endure(table, &service)?;
        service.check()?;
        drop(service);
        self.beside_small(table, &big, &small)?;
        let pooled = self.databases.pooled("inventory");
        let service = self.service("pooled", Some(&pooled))?;
        let window = service.load(&self.load(64, 7))?;
        table.row(
            "PostgreSQL through PgBouncer, 64 connections",
            &window,
            &at_least(window.calls_per_second / few, 0.8, " of it without"),
        )?;
        service.check()?;
        drop(service);
        self.sqlite(table)
    }

    /// Measures 64 connections before, between and after what else could serve the calls, so that a disk that changes its mind does not
    /// decide the ratios. Returns the calls a second, on average.
    fn beside_peers(&self, table: &mut Table, url: &str, service: &Service) -> anyhow::Result<f64> {
        let mut before = service.load(&self.load(64, 1))?;
        table.row("PostgreSQL, 64 connections", &before, "")?;
        let mut rates = vec![before.calls_per_second];
        let mut ratio = |table: &mut Table, peer: f64, seed| -> anyhow::Result<f64> {
            let after = service.load(&self.load(64, seed))?;
            table.row("PostgreSQL, 64 connections, again", &after, "")?;
            let mean = f64::midpoint(before.calls_per_second, after.calls_per_second);
            rates.push(after.calls_per_second);
            before = after;
            Ok(mean / peer)
        };
        let spent = self.database_time()?;
        let singles = peers::pgbench(url, self.population, self.seconds)?;
        let spent = self.database_time()?.saturating_sub(spent).as_secs_f64() * 1e6;
        let window = Window {
            calls_per_second: singles,
            cpu_us: [spent / (singles * f64::from(self.seconds)), 0.0, 0.0],
            ..Window::default()
        };
        let times = ratio(table, singles, 11)?;
        table.row(
            "pgbench, 64 clients, one prepared function call per transaction, between the two",
            &window,
            &at_least(times, 2.0, " x"),
        )?;
        if !self.options.without_postgrest {
            let peer = peers::Postgrest::start(self.directory, url)?;
            let window = peer.load(&self.program, &self.load(64, 3))?;
            drop(peer);
            let times = ratio(table, window.calls_per_second, 12)?;
            table.row(
                "PostgREST, 64 connections, between the two",
                &window,
                &at_least(times, 5.0, " x"),
            )?;
        }
        Ok(rates.iter().sum::<f64>() / rates.len() as f64)
    }

    /// Compares with a hundredth of the widgets: one after the other, twice. What counts are calls that were carried out: more of those
    /// about few widgets find their widget taken or gone, and are refused for less.
    fn beside_small(&self, table: &mut Table, big: &str, small: &str) -> anyhow::Result<()> {
        let few = self.population / 100;
        for connections in [64, 512] {
            let (mut rates, mut done, mut medians) = ([0.0; 2], [0.0; 2], [0.0; 2]);
            for round in 0..2 {
                for (place, (url, population)) in [(small, few), (big, self.population)]
                    .into_iter()
                    .enumerate()
                {
                    let name = format!("beside-{connections}-{round}-{place}");
                    let service = self.service(&name, Some(url))?;
                    let load = Load {
                        population,
                        ..self.load(connections, 20 + connections + round)
                    };
                    // A service that has just started makes its connections first.
                    service.load(&Load {
                        seconds: 2,
                        seed: 50 + connections + round,
                        ..load.clone()
                    })?;
                    let window = service.load(&load)?;
                    rates[place] += window.calls_per_second;
                    done[place] += window.done_per_second();
                    medians[place] += window.p50_ms;
                    let verdict = if (round, place) == (1, 1) {
                        format!(
                            "{}; {:.2} of all that were answered; p50 beside that with a hundredth {}",
                            at_least(
                                done[1] / done[0],
                                0.85,
                                " of what is carried out of it with a hundredth"
                            ),
                            rates[1] / rates[0],
                            at_most_times(medians[1] / medians[0], 1.15)
                        )
                    } else {
                        String::new()
                    };
                    table.row(
                        &format!("PostgreSQL, {connections} connections, {population} widgets"),
                        &window,
                        &verdict,
                    )?;
                }
            }
        }
        Ok(())
    }

    /// Has widgets imported through the interface, into a database of their own.
    fn import(&self, table: &mut Table) -> anyhow::Result<()> {
        let url = self.databases.make("inventory_import")?;
        let service = self.service("import", Some(&url))?;
        let widgets = self.population.min(2_000_000);
        let file = self.directory.join("widgets.csv");
        populate::write_csv(&file, widgets)?;
        let (window, rate) = service.import(&file, widgets)?;
        table
            .row(
                &format!("Import of {widgets} widgets, `remuda inventory import`"),
                &window,
                &at_least(rate, 100_000.0, " widgets/s"),
            )
            .map_err(Into::into)
    }

    /// Watches memory during a longer run.
    fn endure(&self, table: &mut Table, service: &Service) -> anyhow::Result<()> {
        let seconds = self
            .options
            .endurance
            .unwrap_or(if self.options.quick { 20 } else { 60 });
        let load = Load {
            seconds: seconds / 2,
            ..self.load(256, 8)
        };
        service.load(&load)?;
        let before = resident_kib(service.pid())?;
        let window = service.load(&Load { seed: 9, ..load })?;
        let after = resident_kib(service.pid())?;
        let growth = (after as f64 / before as f64 - 1.0) * 100.0;
        let verdict = format!(
            "resident {} MiB after {} s, {} MiB after {seconds} s: {}",
            before / 1024,
            seconds / 2,
            after / 1024,
            at_most(growth, 5.0, " % more")
        );
        table.row("PostgreSQL, 256 connections, for long", &window, &verdict)?;
        Ok(())
    }

    fn sqlite(&self, table: &mut Table) -> anyhow::Result<()> {
        let population = self.population.min(1_000_000);
        let service = self.service("sqlite", None)?;
        let load = Load {
            population,
            prepare: true,
            ..self.load(64, 10)
        };
        let window = service.load(&load)?;
        table.row(
            &format!("SQLite (synchronous=FULL), 64 connections, {population} widgets"),
            &window,
            &at_least(window.calls_per_second, 5_000.0, "/s"),
        )?;
        service.check()?;
        Ok(())
    }
}
