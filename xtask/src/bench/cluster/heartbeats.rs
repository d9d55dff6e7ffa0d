//! Many light agents: the control plane's processor time, and what it writes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Deserialize;

use super::{Options, Part, expecting_agents, invite, until_ready};
use crate::bench::process::{LOAD_CORE, Running, cpu_time, pinned, private_kib};
use crate::bench::remuda::Remuda;
use crate::bench::upstream::scripted_upstream;
use crate::databases::Databases;

/// The most that agents may cost, as a share of one core.
const SHARE: f64 = 0.05;
/// The time between two states of an agent.
const HEARTBEAT_MS: u32 = 5_000;
/// Where the history of nodes is: a row of each for each minute.
const ROLL_UP: &str = "node_history";
/// Time until what a start or 200 new nodes cause has ended, and the database's statistics are complete.
const SETTLE: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
struct Done {
    heartbeats: u64,
    tunnels: u64,
}

/// What a window found.
struct Window {
    share: f64,
    /// Rows that were inserted, changed or deleted, by table.
    rows: BTreeMap<String, u64>,
}

/// Measures a quiet control plane, and the same with agents.
pub(super) fn measure(programs: &Path, target: &Path, options: &Options) -> anyhow::Result<Part> {
    let directory = tempfile::tempdir()?;
    let databases = Databases::start(target)?;
    let database = databases.make("bench_cluster")?;
    let (_upstream, server) = scripted_upstream(programs, &["ollama", "--chat", "bench-model"])?;
    let (agents, door) = expecting_agents()?;
    let (_other, configured) = scripted_upstream(programs, &["vllm", "--chat", "bench-model"])?;
    let remuda = Remuda::start_with(
        &programs.join("remuda"),
        directory.path(),
        configured,
        &format!("[store]\nurl = \"{database}\"\n{agents}"),
    )?;
    std::thread::sleep(SETTLE);
    let quiet = window(&remuda, &database, options.seconds)?;
    let quiet_kib = private_kib(remuda.pid())?;

    let tokens = directory.path().join("tokens");
    let invited: Vec<String> = (0..options.agents)
        .map(|number| invite(&remuda, &format!("light-{number}")))
        .collect::<anyhow::Result<_>>()?;
    std::fs::write(&tokens, invited.join("\n"))?;
    let mut command = pinned(LOAD_CORE, &programs.join("bench_agents"));
    command
        .stdin(Stdio::piped())
        .args(["--door", &door, "--server", &server.to_string()])
        .args(["--heartbeat-ms", &HEARTBEAT_MS.to_string()])
        .arg("--tokens")
        .arg(&tokens);
    let begun = Instant::now();
    let mut light = Running::start(&mut command)?;
    let line = light.line()?;
    anyhow::ensure!(line == "linked", "the agents said {line:?}");
    let joined_in = begun.elapsed();
    let log = directory.path().join("remuda/output.log");
    until_ready(&remuda, options.agents, &log)?;
    std::thread::sleep(SETTLE);
    let linked = window(&remuda, &database, options.seconds)?;
    let linked_kib = private_kib(remuda.pid())?;
    until_ready(&remuda, options.agents, &log)?;
    light.close_input();
    // The agents fail when a link was lost: what they print stands for all of them.
    let done: Done = serde_json::from_str(&light.line()?).context("what the agents did")?;
    Ok(part(
        options,
        &[(quiet, quiet_kib), (linked, linked_kib)],
        joined_in,
        &done,
    ))
}

fn part(
    options: &Options,
    [(quiet, quiet_kib), (linked, linked_kib)]: &[(Window, u64); 2],
    joined_in: Duration,
    done: &Done,
) -> Part {
    let cost = (linked.share - quiet.share).max(0.0);
    let agents = options.agents as f64;
    let beats = agents * options.seconds * 1e3 / f64::from(HEARTBEAT_MS);
    // What has to do with nodes, and whatever else agents cause; but for the roll-up of each node's minute.
    let caused: u64 = linked
        .rows
        .iter()
        .filter(|(table, _)| *table != ROLL_UP)
        .map(|(table, rows)| rows.saturating_sub(quiet.rows.get(table).copied().unwrap_or(0)))
        .sum();
    let nodes: u64 = ["nodes", "agent_invitations", "agent_authority"]
        .iter()
        .filter_map(|table| linked.rows.get(*table))
        .sum();
    // A hundredth: what happens now and then anyway falls into one window or the other.
    let rolled_up = linked.rows.get(ROLL_UP).copied().unwrap_or(0) as f64;
    let minutes = (options.seconds / 60.0).ceil() + 1.0;
    let none_written =
        nodes == 0 && (caused as f64) < beats / 100.0 && rolled_up <= (agents + 10.0) * minutes;
    let limit = SHARE * (agents / 200.0).max(1.0);
    let per_agent = linked_kib.saturating_sub(*quiet_kib) as f64 / agents;
    let mut rows = String::new();
    for (table, count) in &linked.rows {
        let before = quiet.rows.get(table).copied().unwrap_or(0);
        let _infallible = write!(rows, "{table} {count} (without agents {before}), ");
    }
    let rows = rows.trim_end_matches(", ");
    let method = format!(
        "**Agents.** Remuda (release build, PostgreSQL) on core 0, {} light agents in one process on core 1: each has joined with an invitation of\n\
         its own and holds a link over TLS with a certificate; each tells a whole state every {:.0} s (two GPUs, 16 models) that differs from the\n\
         one before. The control plane also probes every node through its link as always. Processor time and rows written of {:.0} s,\n\
         beside as long a time without agents. A lost link fails the benchmark.",
        options.agents,
        f64::from(HEARTBEAT_MS) / 1e3,
        options.seconds,
    );
    let results = format!(
        "| {} agents | |\n|---|---|\n\
         | share of a core without agents | {:.2} % |\n\
         | with them | {:.2} % |\n\
         | what they cost | {:.2} % (at most {:.1} %: {}) |\n\
         | states told in the window | {beats:.0} ({} in all, {} tunnels) |\n\
         | rows written more than without agents, but for the history of nodes by the minute | {caused}: {} |\n\
         | rows written by table | {} |\n\
         | private memory of the control plane for each | {per_agent:.0} KiB |\n\
         | joined and linked within | {:.1} s |",
        options.agents,
        quiet.share * 100.0,
        linked.share * 100.0,
        cost * 100.0,
        limit * 100.0,
        kept(cost <= limit),
        done.heartbeats,
        done.tunnels,
        kept(none_written),
        if rows.is_empty() { "none" } else { rows },
        joined_in.as_secs_f64(),
    );
    Part {
        method,
        results,
        kept: cost <= limit && none_written,
    }
}

fn kept(is: bool) -> &'static str {
    if is { "kept" } else { "**missed**" }
}

fn window(remuda: &Remuda, database: &str, seconds: f64) -> anyhow::Result<Window> {
    let rows = rows_written(database)?;
    let (begun, before) = (Instant::now(), cpu_time(remuda.pid())?);
    std::thread::sleep(Duration::from_secs_f64(seconds));
    let (used, took) = (cpu_time(remuda.pid())?, begun.elapsed());
    // Connections tell of what they did when they have been idle for a while.
    std::thread::sleep(Duration::from_secs(2));
    let mut written = rows_written(database)?;
    for (table, count) in &mut written {
        *count = count.saturating_sub(rows.get(table).copied().unwrap_or(0));
    }
    written.retain(|_, count| *count > 0);
    Ok(Window {
        share: used.saturating_sub(before).as_secs_f64() / took.as_secs_f64(),
        rows: written,
    })
}

fn rows_written(database: &str) -> anyhow::Result<BTreeMap<String, u64>> {
    let query =
        "SELECT relname || ' ' || (n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables";
    let told = Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
        .args(["--command", query, database])
        .output()
        .context("running psql")?;
    anyhow::ensure!(
        told.status.success(),
        "psql: {}",
        String::from_utf8_lossy(&told.stderr)
    );
    String::from_utf8_lossy(&told.stdout)
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(table, count)| Ok((table.to_owned(), count.parse()?)))
        .collect()
}
