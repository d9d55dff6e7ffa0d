//! `[queue]`: how many requests may wait for a node.

use scheduling::queue::QueueLimits;

use super::error::ConfigError;
use super::origin::Origins;

/// Checks the bounds of the queue.
pub(super) fn check(limits: &QueueLimits, at: &Origins) -> Result<(), ConfigError> {
    for (key, places) in [
        ("system", limits.system),
        ("interactive", limits.interactive),
        ("default", limits.default),
        ("batch", limits.batch),
    ] {
        if !(1..=1_000_000).contains(&places) {
            return Err(at.bad(["queue", key], "must be 1 to 1000000 requests"));
        }
    }
    if !(1..=100).contains(&limits.organisation_percent) {
        return Err(at.bad(["queue", "organisation_percent"], "must be 1 to 100"));
    }
    Ok(())
}
