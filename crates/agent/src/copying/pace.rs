//! How fast a copy goes at most.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// Spreads bytes over time, whichever of the connections of a copy they come by.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: u64,
    /// When what was taken so far has had its time.
    free_at: Mutex<Option<Instant>>,
}

impl Pace {
    /// Lets so many bytes pass in a second; all of them where it is 0.
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second,
            free_at: Mutex::default(),
        }
    }

    /// Returns when these bytes have had their time.
    pub(super) async fn take(&self, bytes: usize) {
        if self.bytes_per_second == 0 {
            return;
        }
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let until = {
            let now = Instant::now();
            let mut free_at = self.free_at.lock();
            let until = free_at.map_or(now, |at| at.max(now)) + takes;
            *free_at = Some(until);
            until
        };
        sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn connections_share_one_pace() {
        let (pace, begun) = (Pace::new(1_000), Instant::now());
        tokio::join!(pace.take(500), pace.take(500), pace.take(1_000));
        assert_eq!(begun.elapsed().as_millis(), 2_000);
        tokio::time::advance(Duration::from_secs(10)).await;
        let idle = Instant::now();
        pace.take(1_000).await;
        assert_eq!(
            idle.elapsed().as_millis(),
            1_000,
            "what was not used is gone"
        );
        let free = Instant::now();
        Pace::new(0).take(1 << 40).await;
        assert_eq!(free.elapsed(), Duration::ZERO);
    }
}
