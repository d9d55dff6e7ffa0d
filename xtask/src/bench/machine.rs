//! What the numbers were measured on.

use std::fs;
use std::process::Command;

/// Describes machine and programs in one line of Markdown each.
pub(super) fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let lines = [
        format!(
            "- processor: {}, {cores} cores to use",
            first(&read("/proc/cpuinfo"), "model name")
        ),
        format!("- memory: {}", first(&read("/proc/meminfo"), "MemTotal")),
        format!("- kernel: {}", read("/proc/sys/kernel/osrelease").trim()),
        format!("- compiler: {}", said("rustc", "--version")),
        format!("- proxy to compare with: {}", said("nginx", "-v")),
    ];
    lines.join("\n")
}

/// Returns the machine's load average of the last minute: what else it was doing, when read before the first window.
pub(super) fn load_average() -> f64 {
    let text = read("/proc/loadavg");
    text.split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or_default()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn first(text: &str, key: &str) -> String {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.split_once(':'));
    value.map_or_else(
        || "unknown".to_owned(),
        |(_, value)| value.trim().to_owned(),
    )
}

fn said(program: &str, argument: &str) -> String {
    let Ok(output) = Command::new(program).arg(argument).output() else {
        return "unknown".to_owned();
    };
    let text = if output.stdout.is_empty() {
        output.stderr
    } else {
        output.stdout
    };
    String::from_utf8_lossy(&text).trim().to_owned()
}
