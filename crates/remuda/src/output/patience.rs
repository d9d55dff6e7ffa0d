//! A sign of life while a person waits.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::Output;

/// Waits that are shorter need no words.
const GRACE: Duration = Duration::from_secs(1);

/// Awaits `work`. When it takes long, a person at a terminal sees `meanwhile` and the seconds go by.
pub(crate) async fn patiently<T>(
    out: Output,
    meanwhile: &str,
    work: impl Future<Output = T> + Unpin,
) -> T {
    let mut work = work;
    if let Ok(result) = tokio::time::timeout(GRACE, &mut work).await {
        return result;
    }
    let _sign = (!out.is_json() && io::stdout().is_terminal()).then(|| Sign::show(meanwhile));
    work.await
}

/// A line that goes away when the wait is over, or given up.
struct Sign(ProgressBar);

impl Sign {
    fn show(meanwhile: &str) -> Self {
        let bar = ProgressBar::new_spinner()
            .with_style(style())
            .with_elapsed(GRACE)
            .with_message(meanwhile.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }
}

impl Drop for Sign {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg} {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}
