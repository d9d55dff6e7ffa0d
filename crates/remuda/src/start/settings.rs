//! What the configuration file says of settings that can be changed while the program runs, and who applies them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gateway::Gateway;
use identity::{AuthConfig, Identity, Policies, Registration};
use scheduling::queue::QueueLimits;
use system::{SettingValue, Settings};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

const DAY: Duration = Duration::from_hours(24);

/// How often expired rows are removed while nobody sets it.
const CLEAN_EVERY_HOURS: i64 = 24;

/// Returns what holds while nobody sets anything.
pub(super) fn defaults(config: &Config) -> BTreeMap<&'static str, SettingValue> {
    let kept = config.auth.audit_retention.as_ref();
    let kept = kept.map_or(AuthConfig::REQUIRED.audit_retention, |kept| kept.0);
    let days = i64::try_from(kept.as_secs().div_ceil(DAY.as_secs())).unwrap_or(i64::MAX);
    let queue = &config.queue;
    BTreeMap::from([
        ("audit.retention_days", days.into()),
        (
            "auth.registration",
            config.auth.registration.as_str().into(),
        ),
        ("database.clean_every_hours", CLEAN_EVERY_HOURS.into()),
        ("queue.system", i64::from(queue.system).into()),
        ("queue.interactive", i64::from(queue.interactive).into()),
        ("queue.default", i64::from(queue.default).into()),
        ("queue.batch", i64::from(queue.batch).into()),
        (
            "queue.organisation_percent",
            i64::from(queue.organisation_percent).into(),
        ),
    ])
}

/// Applies the settings whenever they change, until `stop`.
pub(super) async fn follow(
    mut settings: watch::Receiver<Settings>,
    identity: Identity,
    gateway: Arc<Gateway>,
    stop: CancellationToken,
) {
    while let Some(Ok(())) = stop.run_until_cancelled(settings.changed()).await {
        let now = settings.borrow_and_update().clone();
        apply(&now, &identity, &gateway);
    }
}

/// Applies the settings.
pub(super) fn apply(settings: &Settings, identity: &Identity, gateway: &Gateway) {
    let days = u64::try_from(settings.integer("audit.retention_days")).unwrap_or(0);
    identity.set_policies(Policies {
        registration: Registration::from_name(settings.text("auth.registration"))
            .unwrap_or(Registration::Closed),
        audit_retention: DAY * u32::try_from(days.max(1)).unwrap_or(u32::MAX),
    });
    let places = |key: &str| u32::try_from(settings.integer(key)).unwrap_or(1);
    gateway.set_queue_limits(QueueLimits {
        system: places("queue.system"),
        interactive: places("queue.interactive"),
        default: places("queue.default"),
        batch: places("queue.batch"),
        organisation_percent: places("queue.organisation_percent"),
    });
}
