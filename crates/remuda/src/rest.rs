//! Gives memory back whenever the program has come to rest.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio_util::sync::CancellationToken;

/// How often the program looks whether it rests.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Processor time in [`LOOK_EVERY`] below which it rests: probes, links and timers alone take less.
const REST: Duration = Duration::from_millis(100);
/// Processor time since memory was last given back, after which it is worth while again.
const WORK: Duration = Duration::from_millis(250);

/// Has the kernel map the program in small pieces from now on. It maps whole huge pages otherwise where the page cache holds them, 2 MiB
/// for each function that is called, so that a program that does little looks as large as its file. It costs a busy program speed.
pub(crate) fn stay_small() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "the program may be mapped in huge pages");
    }
}

/// Looks until `stop`. The start counts as work.
pub(crate) async fn give_memory_back_at_rest(stop: CancellationToken) {
    let mut last = processor_time();
    // The start alone has touched most of what is ever touched.
    let mut given_at: Option<Duration> = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.cancelled() => return,
        }
        let used = processor_time();
        let rests = used.saturating_sub(last) < REST;
        last = used;
        if rests && given_at.is_none_or(|at| used.saturating_sub(at) >= WORK) {
            // Thousands of pages: not on a thread that serves others.
            if let Err(error) = tokio::task::spawn_blocking(engine::give_memory_back).await {
                tracing::debug!(%error, "memory was not given back");
            }
            given_at = Some(processor_time());
        }
    }
}

/// Returns the processor time of all threads of this process since its start.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
