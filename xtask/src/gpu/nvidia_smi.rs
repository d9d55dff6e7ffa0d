//! `nvidia-smi`, printing again and again.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

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
/// The position of `utilization.gpu`.
const UTILIZATION: usize = 6;
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

    /// Tells whether it is about a GPU, and not what the program has to say otherwise.
    pub(super) fn is_gpu(&self) -> bool {
        self.fields.len() == FIELDS.len()
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
        let other = lines.iter().rev().find(|line| !line.is_gpu());
        anyhow::ensure!(
            since.iter().any(Line::is_gpu),
            "nvidia-smi tells of no GPU: {}",
            other.map_or_else(
                || "it prints nothing".to_owned(),
                |line| line.fields.join(",")
            )
        );
        Ok(since)
    }

    /// Fails unless a GPU has had something to do in the last second.
    pub(super) fn ensure_busy(&self) -> anyhow::Result<()> {
        let now = Instant::now();
        let since = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
        let printed = self.printed_since(since)?;
        let busy = |line: &Line| {
            let used = line
                .fields
                .get(UTILIZATION)
                .and_then(|text| text.parse::<f64>().ok());
            used.is_some_and(|percent| percent > 0.0)
        };
        anyhow::ensure!(
            printed.iter().any(busy),
            "the load does not keep a GPU busy"
        );
        Ok(())
    }
}

impl Drop for NvidiaSmi {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("xtask: nvidia-smi could not be stopped: {error}");
        }
    }
}
