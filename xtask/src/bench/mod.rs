//! `cargo xtask bench`: measurements of the release build.

mod api;
mod batches;
mod calibration;
mod cluster;
mod dashboards;
mod embeddings;
mod gateway;
pub(crate) mod http;
mod inventory;
mod jobs;
mod machine;
mod nginx;
mod postgres;
pub(crate) mod process;
mod programs;
mod realtime;
mod remuda;
mod report;
mod scenario;
mod start;
mod upstream;

use std::process::ExitCode;

use clap::Subcommand;

/// What can be measured.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// The gateway against its upstream hit directly and against nginx as a plain proxy; prints Markdown
    Gateway(gateway::Options),
    /// Reads and writes of the control plane with a million rows behind them; prints Markdown, fails when a budget is missed
    Api(api::Options),
    /// One large batch and the memory that it takes; prints Markdown, fails when a budget is missed
    Batches(batches::Options),
    /// The same workload live and simulated; prints Markdown, fails when they differ by more than 15 %
    Calibration(calibration::Options),
    /// What linked agents cost, and the way through an agent beside the direct one; prints Markdown, fails when a budget is missed
    Cluster(cluster::Options),
    /// What open dashboards cost; prints Markdown, fails above a twentieth of a core for 200
    Dashboards(dashboards::Options),
    /// Embeddings of 32 clients with and without joined calls; prints Markdown, fails when joining gains too little
    Embeddings(embeddings::Options),
    /// The inventory over millions of widgets, beside pgbench and others; prints Markdown
    Inventory(inventory::Options),
    /// Jobs that do nothing, enqueued and completed with a million waiting; prints Markdown, fails when a budget is missed
    Jobs(jobs::Options),
    /// Memory of WebSocket connections and the time of a message to all of them; prints Markdown, fails when one gets nothing
    Realtime(realtime::Options),
}

/// Runs a benchmark.
pub(crate) fn run(bench: &Bench) -> anyhow::Result<ExitCode> {
    match bench {
        Bench::Gateway(options) => gateway::run(options),
        Bench::Api(options) => api::run(options),
        Bench::Batches(options) => batches::run(options),
        Bench::Calibration(options) => calibration::run(options),
        Bench::Cluster(options) => cluster::run(options),
        Bench::Dashboards(options) => dashboards::run(options),
        Bench::Embeddings(options) => embeddings::run(options),
        Bench::Inventory(options) => inventory::run(options),
        Bench::Jobs(options) => jobs::run(options),
        Bench::Realtime(options) => realtime::run(options),
    }
}
