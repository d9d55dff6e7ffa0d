//! A sign of life while a person waits.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use super::Output;
use super::wrap::terminal_width;

/// Waits that are shorter need no words; longer ones are counted in these.
const TICK: Duration = Duration::from_secs(1);

/// Back to the begin of the line, which is then empty.
const EMPTY_LINE: &str = "\r\u{1b}[2K";

/// Awaits `work`. When it takes long, a person at a terminal sees `meanwhile` and the seconds go by.
pub(crate) async fn patiently<T>(
    out: Output,
    meanwhile: &str,
    work: impl Future<Output = T> + Unpin,
) -> T {
    let mut work = work;
    let mut sign = Sign {
        meanwhile,
        seconds: 0,
        may_show: !out.is_json() && io::stdout().is_terminal() && io::stderr().is_terminal(),
    };
    loop {
        match tokio::time::timeout(TICK, &mut work).await {
            Ok(result) => return result,
            Err(_) => sign.tick(),
        }
    }
}

/// A line that goes away when the wait is over, or given up.
struct Sign<'a> {
    meanwhile: &'a str,
    seconds: u64,
    may_show: bool,
}

impl Sign<'_> {
    fn tick(&mut self) {
        self.seconds += 1;
        if self.may_show {
            let text = format!("{}: {} s", self.meanwhile, self.seconds);
            // A line that wrapped could not be taken away again; what Ctrl-C echoes needs room too.
            let room = terminal_width().saturating_sub(4);
            let text: String = text.chars().take(room).collect();
            write(&format!("{EMPTY_LINE}{text}"));
        }
    }
}

impl Drop for Sign<'_> {
    fn drop(&mut self) {
        if self.may_show && self.seconds > 0 {
            write(EMPTY_LINE);
        }
    }
}

fn write(text: &str) {
    // A sign that cannot be seen is no reason to fail.
    let mut stderr = io::stderr().lock();
    drop(
        stderr
            .write_all(text.as_bytes())
            .and_then(|()| stderr.flush()),
    );
}
