//! Requests to one node by two ways: by its address, and through the agent beside it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use super::{Options, Part, expecting_agents, invite, until_ready};
use crate::bench::http;
use crate::bench::process::{LOAD_CORE, Running, cpu_time, pinned, resident_kib};
use crate::bench::remuda::Remuda;
use crate::bench::scenario::{Load, Scenario, Target, Window};
use crate::interrupt;

/// The least part of the direct way's rate.
const PART: f64 = 0.8;
/// An agent that has had nothing to do for five seconds rests.
const REST: Duration = Duration::from_secs(12);
/// Seconds of one window.
const SECONDS: f64 = 4.0;

/// One kilobyte in one piece.
const WHOLE: Scenario = Scenario {
    kind: "whole",
    connections: 64,
};
/// Streams of 64 chunks, each written by itself.
const STREAM: Scenario = Scenario {
    kind: "stream",
    connections: 16,
};

/// Measures both ways in turn.
pub(super) fn measure(programs: &Path, options: &Options) -> anyhow::Result<Part> {
    let directory = tempfile::tempdir()?;
    let mut upstream = Running::start(&mut pinned(LOAD_CORE, &programs.join("bench_upstream")))?;
    let server: SocketAddr = upstream
        .line()?
        .rsplit(' ')
        .next()
        .unwrap_or_default()
        .parse()
        .context("the upstream's address")?;
    let program = programs.join("remuda");
    let direct = Remuda::start(&program, &directory.path().join("direct"), server)?;
    let home = directory.path().join("relayed");
    let (section, door) = expecting_agents()?;
    let relayed = Remuda::start_with(&program, &home, server, &section)?;
    let token = invite(&relayed, "beside")?;
    let mut command = pinned(LOAD_CORE, &program);
    command
        .args(["agent", "--join", &format!("https://{door}")])
        .args(["--model-server", &format!("http://{server}")])
        .args(["--listen", "127.0.0.1:0", "--data"])
        .arg(home.join("agent"))
        .env("REMUDA_AGENT_TOKEN", token);
    let log = home.join("agent.log");
    let agent = Running::start_logged(&mut command, &log)?;
    until_ready(&relayed, 1, &log)?;
    std::thread::sleep(REST);
    let resting_kib = resident_kib(agent.pid())?;
    // From now on the agent is the only way.
    let drain = http::send(
        relayed.address,
        "POST",
        "/api/v1/nodes/bench/drain",
        Some(&relayed.key),
        Some(&json!({})),
    )?;
    anyhow::ensure!(drain.status == 200, "draining: {}", drain.body);
    let targets = [
        target("direct", &direct),
        target("through the agent", &relayed),
    ];
    let load = Load {
        program: programs.join("bench_load"),
        directory: directory.path().to_owned(),
        upstream: server,
        seconds: SECONDS,
    };
    let mut rows = String::new();
    let mut all_kept = true;
    for scenario in [WHOLE, STREAM] {
        let before = cpu_time(agent.pid())?;
        let [by_address, through] = windows(&load, &targets, scenario, options.windows)?;
        let agent_time = cpu_time(agent.pid())?.saturating_sub(before);
        let rate = |windows: &[Window]| match scenario.kind {
            "whole" => median(windows, |window| window.responses_per_s),
            _ => median(windows, |window| window.events_per_s),
        };
        let (rate_direct, rate_through) = (rate(&by_address), rate(&through));
        let part = rate_through / rate_direct;
        let kept = part >= PART;
        all_kept &= kept;
        // The warm-up's half second worked at the same rate.
        let answered: f64 = through
            .iter()
            .map(|window| window.responses_per_s * (SECONDS + 0.5))
            .sum();
        writeln!(
            rows,
            "| {} | {rate_direct:.0} | {rate_through:.0} | {part:.2} | {:.0} / {:.0} | {:.0} | at least {PART}: {} |",
            match scenario.kind {
                "whole" => "requests/s, 1 KiB in one piece, 64 connections",
                _ => "chunks/s, streams of 64, 16 connections",
            },
            cost(&by_address),
            cost(&through),
            agent_time.as_secs_f64() * 1e6 / answered,
            if kept { "kept" } else { "**missed**" },
        )?;
    }
    Ok(Part {
        method: format!(
            "**Relay.** Two Remudas (release build, SQLite) on core 0, of which one works at a time: one addresses the node directly, the other through\n\
             `remuda agent` beside it. Node, agent and load share core 1, so that the agent takes from the load what it would take from nobody on\n\
             a machine of its own. {} windows of {SECONDS} s by each way in turn, medians; every answer is compared byte by byte.",
            options.windows
        ),
        results: format!(
            "| | direct | through the agent | part | processor µs of Remuda for an answer, direct / through | of the agent | budget |\n\
             |---|---|---|---|---|---|---|\n{rows}\nThe agent holds {:.1} MiB at rest.",
            resting_kib as f64 / 1024.0
        ),
        kept: all_kept,
    })
}

fn target(name: &'static str, remuda: &Remuda) -> Target {
    Target {
        name,
        address: remuda.address,
        pid: Some(remuda.pid()),
        key: Some(remuda.key.clone()),
    }
}

fn windows(
    load: &Load,
    targets: &[Target; 2],
    scenario: Scenario,
    count: usize,
) -> anyhow::Result<[Vec<Window>; 2]> {
    let mut rows = [Vec::new(), Vec::new()];
    for window in 1..=count {
        for (target, row) in targets.iter().zip(&mut rows) {
            interrupt::check()?;
            eprintln!(
                "xtask: {}, {}, window {window} of {count}",
                scenario.kind, target.name
            );
            row.push(load.measure(target, scenario)?);
        }
    }
    Ok(rows)
}

fn cost(windows: &[Window]) -> f64 {
    median(windows, |window| {
        window.cpu_us_per_response.unwrap_or_default()
    })
}

fn median(windows: &[Window], of: impl Fn(&Window) -> f64) -> f64 {
    let mut values: Vec<f64> = windows.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
