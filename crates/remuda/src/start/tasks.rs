//! The tasks beside the data plane, by the part that they belong to, and the wait for their end.

use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// How long a part may take to end once it has been told to: longer than a call of the database or of Redis takes to fail.
pub(super) const ENDING: Duration = Duration::from_secs(15);

/// The tasks of each part.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    parts: Mutex<Vec<(&'static str, TaskTracker)>>,
}

impl Tasks {
    /// Returns where the tasks of a part are spawned; its name is for the log.
    pub(super) fn of(&self, part: &'static str) -> TaskTracker {
        let mut parts = self.parts.lock();
        if let Some((_, tasks)) = parts.iter().find(|(name, _)| *name == part) {
            return tasks.clone();
        }
        let tasks = TaskTracker::new();
        parts.push((part, tasks.clone()));
        tasks
    }

    /// Starts a task of a part.
    pub(super) fn spawn(
        &self,
        part: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.of(part).spawn(task);
    }

    /// Waits for the end of all of them, each part for [`ENDING`] at most. The log tells which did not end.
    pub(super) async fn ended(self) {
        let ends = self.parts.into_inner().into_iter();
        let ends = ends.map(|(part, tasks)| async move {
            tasks.close();
            ended(part, ENDING, tasks.wait()).await;
        });
        join_all(ends).await;
    }
}

/// Waits for the end of a part, no longer than `limit`: a fault in one part must not hold the process. `None`: it did not end, which the
/// log tells.
pub(super) async fn ended<T>(
    part: &str,
    limit: Duration,
    end: impl Future<Output = T>,
) -> Option<T> {
    let ended = timeout(limit, end).await.ok();
    if ended.is_none() {
        tracing::error!(
            part,
            limit_s = limit.as_secs(),
            "a part did not end when it was told to: it is cut off"
        );
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_does_not_end_holds_nothing_up_for_long() {
        let tasks = Tasks::default();
        tasks.spawn("good", async {});
        tasks.spawn("hanging", std::future::pending());
        tasks.of("other").spawn(std::future::pending::<()>());
        let begun = tokio::time::Instant::now();
        tasks.ended().await;
        assert_eq!(begun.elapsed(), ENDING);
        assert_eq!(ended("quick", ENDING, async { 7 }).await, Some(7));
    }
}
