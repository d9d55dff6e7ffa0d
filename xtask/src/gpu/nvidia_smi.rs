//! `nvidia-smi`, printing again and again.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context as _;

/// The fields that are asked for, in the order of [`Line::fields`].
pub(super) const FIELDS: [&str; 10] = [
    "index",
    "name",
    "uuid",
    "driver_version",
    "memory.total",
    "memory.used",
    "utilization.gpu",
    "temperature.gpu",
    "power.draw",
    "enforced.power.limit",
];
/// How often it prints.
const EVERY_MS: &str = "100";
/// Some minutes of eight GPUs.
const MOST_LINES: usize = 65_536;

/// A line that it has printed: a GPU at one moment.
#[derive(Clone, Debug)]
pub(super) struct Line {
    at: Instant,
    pub(super) fields: Vec<String>,
}

impl Line {
    /// Reads a line that was printed at a moment.
    pub(super) fn new(at: Instant, text: &str) -> Self {
        let fields = text.split(',').map(|field| field.trim().to_owned());
        Self {
            at,
            fields: fields.collect(),
        }
    }
}

/// The program while it runs.
pub(super) struct NvidiaSmi {
    child: Child,
    lines: Arc<Mutex<VecDeque<Line>>>,
}

impl NvidiaSmi {
    pub(super) fn start() -> anyhow::Result<Self> {
        let mut child = Command::new("nvidia-smi")
            .arg(format!("--query-gpu={}", FIELDS.join(",")))
            .args(["--format=csv,noheader,nounits", "-lms", EVERY_MS])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("nvidia-smi does not start: this wants a machine with an NVIDIA GPU")?;
        let output = child.stdout.take().context("no output")?;
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let line = Line::new(Instant::now(), &line);
                let mut lines = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if lines.len() == MOST_LINES {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
        });
        Ok(Self { child, lines })
    }

    /// Returns what it has printed since a moment.
    pub(super) fn printed_since(&self, moment: Instant) -> anyhow::Result<Vec<Line>> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let since: Vec<Line> = lines
            .iter()
            .filter(|line| line.at >= moment)
            .cloned()
            .collect();
        anyhow::ensure!(!since.is_empty(), "nvidia-smi prints nothing");
        Ok(since)
    }
}

impl Drop for NvidiaSmi {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("xtask: nvidia-smi could not be stopped: {error}");
        }
    }
}
