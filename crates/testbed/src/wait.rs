//! Waiting for a condition without guessing how long it takes.

use std::time::{Duration, Instant};

/// Waits until `condition` holds, looking every 2 ms.
///
/// # Errors
/// Names `what` when the condition does not hold within `limit`.
pub async fn wait_until(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> bool,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + limit;
    while !condition() {
        anyhow::ensure!(
            Instant::now() < deadline,
            "waited {limit:?} in vain until {what}"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}
