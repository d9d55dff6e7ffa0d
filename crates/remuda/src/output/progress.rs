//! Progress of a pull: a bar for each layer on a terminal, one line for each step elsewhere.

use std::collections::HashMap;
use std::io::{self, IsTerminal as _};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::remark;

/// The most bars on one screen; further layers are counted in none.
const MOST_BARS: usize = 32;

/// Shows how far transfers are.
pub(crate) struct TransferProgress {
    screen: Option<MultiProgress>,
    bars: HashMap<String, ProgressBar>,
    last_step: String,
}

/// One piece of news about a transfer.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    /// What is being done, as in `pulling manifest`.
    pub(crate) status: &'a str,
    /// The node that does it, when several do.
    pub(crate) node: Option<&'a str>,
    /// Bytes done and bytes in all, when it is a layer.
    pub(crate) bytes: Option<(u64, u64)>,
}

impl TransferProgress {
    /// Makes a display on standard error.
    pub(crate) fn new() -> Self {
        Self {
            screen: io::stderr().is_terminal().then(MultiProgress::new),
            bars: HashMap::new(),
            last_step: String::new(),
        }
    }

    /// Shows a step.
    pub(crate) fn show(&mut self, step: &Step<'_>) {
        let label = match step.node {
            Some(node) => format!("{node}: {}", step.status),
            None => step.status.to_owned(),
        };
        match (&self.screen, step.bytes) {
            (Some(screen), Some((done, total))) => {
                if !self.bars.contains_key(&label) {
                    if self.bars.len() >= MOST_BARS {
                        return;
                    }
                    let bar = screen.add(ProgressBar::new(total).with_style(style()));
                    bar.set_message(label.clone());
                    self.bars.insert(label.clone(), bar);
                }
                if let Some(bar) = self.bars.get(&label) {
                    bar.set_length(total);
                    bar.set_position(done);
                    if done >= total {
                        bar.finish();
                    }
                }
            }
            _ if label != self.last_step => {
                match &self.screen {
                    // A bar display that lost its terminal has nothing to print to.
                    Some(screen) => drop(screen.println(&label)),
                    None => remark(&label),
                }
                self.last_step = label;
            }
            _ => {}
        }
    }

    /// Leaves the bars as they are.
    pub(crate) fn finish(&self) {
        for bar in self.bars.values() {
            bar.abandon();
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template(
        "{msg:32!} {wide_bar} {decimal_bytes:>10} / {decimal_total_bytes:<10} {decimal_bytes_per_sec:>12} {eta:>5}",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar())
}
