//! The benchmark's results as Markdown, with the budgets they are held against.

use std::fmt::Write as _;

use super::machine;
use super::scenario::Window;
use super::start::Starts;

/// Windows of direct, nginx and Remuda.
pub(super) type Rows = [Vec<Window>; 3];

/// Everything that was measured.
#[derive(Default)]
pub(super) struct Results {
    pub(super) windows: usize,
    pub(super) seconds: f64,
    /// The machine's load average before the start.
    pub(super) load_before: f64,
    pub(super) whole: Rows,
    pub(super) single: Rows,
    pub(super) stream: Rows,
    pub(super) single_stream: Rows,
    pub(super) leave: Rows,
    pub(super) starts: Starts,
    /// Of nginx and Remuda.
    pub(super) memory: [Memory; 2],
    /// Remuda's memory after all load.
    pub(super) settled_kib: u64,
    /// Lines of `/metrics`.
    pub(super) dropped_records: Vec<String>,
}

/// Memory of a process around many slow streams.
#[derive(Clone, Copy, Default)]
pub(super) struct Memory {
    pub(super) streams: usize,
    pub(super) idle_kib: u64,
    /// What of it is no page of the program file.
    pub(super) private_kib: u64,
    /// Private with all streams open.
    pub(super) open_kib: u64,
    /// Private some seconds later.
    pub(super) later_kib: u64,
    /// In all, at the same time.
    pub(super) later_resident_kib: u64,
    /// Seconds between the two readings with open streams.
    pub(super) apart_s: u64,
}

impl Memory {
    fn per_stream_kib(&self) -> f64 {
        (self.later_kib as f64 - self.private_kib as f64) / self.streams.max(1) as f64
    }
}

/// A budget and whether it is kept.
#[derive(Clone, Copy)]
enum Budget {
    AtLeast(f64),
    AtMost(f64),
    None,
}

impl Budget {
    fn verdict(self, value: f64) -> String {
        match self {
            Self::AtLeast(limit) => format!(
                "at least {limit}: {}",
                if value >= limit { "kept" } else { "**missed**" }
            ),
            Self::AtMost(limit) => format!(
                "at most {limit}: {}",
                if value <= limit { "kept" } else { "**missed**" }
            ),
            Self::None => String::new(),
        }
    }
}

/// Writes the report.
pub(super) fn markdown(results: &Results) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    write(&mut text, results).ok();
    text
}

fn write(text: &mut String, results: &Results) -> std::fmt::Result {
    let Results {
        windows,
        seconds,
        memory,
        ..
    } = results;
    writeln!(
        text,
        "## Machine\n\n{}\n- load average before the start: {:.2} (numbers count only near 0)\n\n## Method\n",
        machine::describe(),
        results.load_before
    )?;
    writeln!(
        text,
        "`cargo xtask bench gateway`. nginx (one worker, plain proxy with keep-alive, no log) and Remuda (release build, SQLite,\n\
         key required, request records and log lines on) are pinned to core 0, the upstream and the load generator to core 1.\n\
         The upstream answers a chat request with the same 1,024 bytes or the same stream of 64 chunks, each written by itself.\n\
         Each number is the median of {windows} windows of {seconds} s; the three targets take turns. Every answer had status 200 and\n\
         the same body as the upstream's own; anything else ends the benchmark. Closed loop, keep-alive connections.\n\
         Where core 1 is busier than core 0, req/s says more about the load generator than about the gateway: the\n\
         row with processor time per request is the comparison that holds on any machine. Streams on one connection pause for\n\
         a millisecond after their first token: an upstream that writes on keeps the load generator beside it from seeing that token.\n"
    )?;
    writeln!(
        text,
        "## Results\n\n| | direct | nginx | Remuda | Remuda / nginx | budget |\n|---|---|---|---|---|---|"
    )?;
    let rate = |window: &Window| window.responses_per_s;
    let events = |window: &Window| window.events_per_s;
    row(
        text,
        "1 KB answers, 64 connections, req/s",
        &results.whole,
        rate,
        Budget::AtLeast(0.35),
    )?;
    cpu_row(text, "the same, processor µs per request", &results.whole)?;
    added(
        text,
        "added latency, 1 connection, p50 µs",
        &results.single,
        |w| w.total_us.p50,
        1.3,
    )?;
    added(
        text,
        "added latency, 1 connection, p99 µs",
        &results.single,
        |w| w.total_us.p99,
        2.0,
    )?;
    row(
        text,
        "streams of 64 chunks, 16 connections, chunks/s",
        &results.stream,
        events,
        Budget::AtLeast(0.9),
    )?;
    cpu_row(text, "the same, processor µs per stream", &results.stream)?;
    row(
        text,
        "first token of a stream, 16 connections, p50 µs",
        &results.stream,
        |w| w.first_token_us.p50,
        Budget::AtMost(1.3),
    )?;
    row(
        text,
        "first token of a stream that pauses after it, 1 connection, p50 µs",
        &results.single_stream,
        |w| w.first_token_us.p50,
        Budget::AtMost(1.3),
    )?;
    row(
        text,
        "the same, p99 µs",
        &results.single_stream,
        |w| w.first_token_us.p99,
        Budget::None,
    )?;
    let [direct, nginx, remuda] = medians(&results.leave, |w| w.total_us.p99 / 1e3);
    writeln!(
        text,
        "| the client leaves a stream, 16 at once, until the upstream knows, p99 ms | {direct:.1} | {nginx:.1} | {remuda:.1} | | {} |",
        Budget::AtMost(100.0).verdict(remuda)
    )?;
    for (name, time) in [
        (
            "`remuda up` on a fresh data directory, until it has said where it listens, ms",
            results.starts.first,
        ),
        (
            "the same again, the longest of five, ms",
            results.starts.again,
        ),
    ] {
        let ms = time.as_secs_f64() * 1e3;
        writeln!(
            text,
            "| {name} | | | {ms:.0} | | {} |",
            Budget::AtMost(1_000.0).verdict(ms)
        )?;
    }
    memory_rows(text, memory, results.settled_kib)?;
    writeln!(
        text,
        "\nRequest records dropped, as `/metrics` tells after the load:\n\n```"
    )?;
    for line in &results.dropped_records {
        writeln!(text, "{line}")?;
    }
    writeln!(text, "```")
}

fn memory_rows(text: &mut String, memory: &[Memory; 2], settled_kib: u64) -> std::fmt::Result {
    let [nginx, remuda] = memory;
    let mib = |kib: u64| kib as f64 / 1024.0;
    let idle = mib(remuda.idle_kib);
    writeln!(
        text,
        "| memory idle, MiB | | {:.1} | {idle:.1} | | {} |",
        mib(nginx.idle_kib),
        Budget::AtMost(20.0).verdict(idle)
    )?;
    writeln!(
        text,
        "| of it private (the rest are pages of the program file) | | {:.1} | {:.1} | | |",
        mib(nginx.private_kib),
        mib(remuda.private_kib)
    )?;
    writeln!(
        text,
        "| private memory per open slow stream ({} streams), KiB | | {:.1} | {:.1} | | {} |",
        remuda.streams,
        nginx.per_stream_kib(),
        remuda.per_stream_kib(),
        Budget::AtMost(16.0).verdict(remuda.per_stream_kib())
    )?;
    writeln!(
        text,
        "| the same, growth in {} s, KiB in all | | {} | {} | | flat |",
        remuda.apart_s,
        i128::from(nginx.later_kib) - i128::from(nginx.open_kib),
        i128::from(remuda.later_kib) - i128::from(remuda.open_kib)
    )?;
    writeln!(
        text,
        "| resident with all of them open, MiB | | {:.1} | {:.1} | | |",
        mib(nginx.later_resident_kib),
        mib(remuda.later_resident_kib)
    )?;
    writeln!(
        text,
        "| memory idle after all load, MiB | | | {:.1} | | |",
        mib(settled_kib)
    )
}

fn row(
    text: &mut String,
    name: &str,
    rows: &Rows,
    value: impl Fn(&Window) -> f64,
    budget: Budget,
) -> std::fmt::Result {
    let [direct, nginx, remuda] = medians(rows, value);
    let ratio = remuda / nginx;
    let verdict = budget.verdict(ratio);
    writeln!(
        text,
        "| {name} | {direct:.0} | {nginx:.0} | {remuda:.0} | {ratio:.2} | {verdict} |"
    )
}

fn cpu_row(text: &mut String, name: &str, rows: &Rows) -> std::fmt::Result {
    let [_, nginx, remuda] = medians(rows, |window| {
        window.cpu_us_per_response.unwrap_or_default()
    });
    // The other way round than the ratio of costs: how much work a core does.
    writeln!(
        text,
        "| {name} | | {nginx:.1} | {remuda:.1} | {:.2} of the work per core | |",
        nginx / remuda
    )
}

fn added(
    text: &mut String,
    name: &str,
    rows: &Rows,
    value: impl Fn(&Window) -> f64,
    most: f64,
) -> std::fmt::Result {
    let [direct, nginx, remuda] = medians(rows, value);
    let (nginx, remuda) = (nginx - direct, remuda - direct);
    let ratio = remuda / nginx;
    let verdict = Budget::AtMost(most).verdict(ratio);
    writeln!(
        text,
        "| {name} | ({direct:.0} in all) | +{nginx:.0} | +{remuda:.0} | {ratio:.2} | {verdict} |"
    )
}

fn medians(rows: &Rows, value: impl Fn(&Window) -> f64) -> [f64; 3] {
    rows.each_ref().map(|windows| {
        let mut values: Vec<f64> = windows.iter().map(&value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::scenario::Quantiles;

    fn window(rate: f64) -> Window {
        let quantiles = Quantiles {
            p50: 1000.0 / rate,
            p99: 2000.0 / rate,
        };
        Window {
            responses_per_s: rate,
            events_per_s: rate * 64.0,
            first_token_us: quantiles,
            total_us: quantiles,
            cpu_us_per_response: Some(10.0),
        }
    }

    #[test]
    fn table_compares_medians_and_names_missed_budgets() {
        let rows = |remuda: [f64; 3]| -> Rows {
            [
                vec![window(9.0)],
                vec![window(4.0)],
                remuda.into_iter().map(window).collect(),
            ]
        };
        let results = Results {
            whole: rows([1.0, 2.0, 900.0]),
            single: rows([4.0, 4.0, 4.0]),
            stream: rows([1.0, 1.0, 1.0]),
            single_stream: rows([4.0, 4.0, 4.0]),
            ..Results::default()
        };
        let text = markdown(&results);
        assert!(
            text.contains("req/s | 9 | 4 | 2 | 0.50 | at least 0.35: kept |"),
            "{text}"
        );
        assert!(
            text.contains("chunks/s | 576 | 256 | 64 | 0.25 | at least 0.9: **missed** |"),
            "{text}"
        );
    }
}
