//! TLS towards clients: read at start, followed while the program runs, shown in metrics and health.

use std::sync::Arc;
use std::time::Duration;

use primitives::{Classify as _, Clock, Timestamp};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use web::tls::ServerTls;

use super::control::END;
use super::error::{StartError, one_line};
use crate::config::ServerSection;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often a certificate that ends soon is spoken of.
const SPEAK_EVERY: Duration = Duration::from_hours(24);
/// A certificate that ends sooner should have been renewed: those of 90 days usually are 30 days before.
pub(crate) const SOON: Duration = Duration::from_hours(14 * 24);

/// Reads the files that the configuration names, if it names any.
pub(super) fn open(
    config: &ServerSection,
    clock: &dyn Clock,
) -> Result<Option<Arc<ServerTls>>, StartError> {
    let Some((certificate, key)) = config.tls_files() else {
        return Ok(None);
    };
    let tls = ServerTls::open(certificate, key, clock.now()).map_err(|error| StartError::Tls {
        reason: one_line(&error.public_message()),
    })?;
    Ok(Some(Arc::new(tls)))
}

/// Reads the files anew when they change, and whenever `asked`.
pub(super) async fn follow(
    tls: Arc<ServerTls>,
    clock: Arc<dyn Clock>,
    asked: Arc<Notify>,
    stop: CancellationToken,
) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut spoken: Option<Timestamp> = None;
    loop {
        let at_once = tokio::select! {
            _ = look.tick() => false,
            () = asked.notified() => true,
            () = stop.cancelled() => return,
        };
        let (files, now) = (Arc::clone(&tls), clock.now());
        let read = tokio::task::spawn_blocking(move || {
            (at_once || files.has_changed()).then(|| files.reload(now))
        })
        .await;
        match read {
            Ok(None) => {}
            Ok(Some(Ok(certificate))) => {
                tracing::info!(names = ?certificate.names(), ends = %certificate.ends(), "the certificate was read anew");
                spoken = None;
            }
            Ok(Some(Err(error))) => {
                tracing::warn!(
                    "the certificate stays the one before: {}",
                    error.public_message()
                );
            }
            Err(error) => tracing::error!(%error, "reading the certificate ended abnormally"),
        }
        let certificate = tls.certificate();
        if certificate.remaining(now) < SOON
            && spoken.is_none_or(|spoken| now.since(spoken) >= SPEAK_EVERY)
        {
            spoken = Some(now);
            tracing::warn!(ends = %certificate.ends(), "the certificate ends soon, or has ended: renew it");
        }
    }
}

/// Returns whole days.
pub(crate) fn days(duration: Duration) -> u64 {
    duration.as_secs() / 86_400
}

/// Writes how long the certificate is valid, how often it was read anew, and how handshakes ended.
pub(super) fn metrics(tls: &ServerTls, now: Timestamp) -> String {
    let mut text = format!(
        "# HELP remuda_tls_certificate_remaining_days Days until the certificate ends.\n\
         # TYPE remuda_tls_certificate_remaining_days gauge\n\
         remuda_tls_certificate_remaining_days {:.3}\n",
        tls.certificate().remaining(now).as_secs_f64() / 86_400.0
    );
    let reloads = tls.reloads();
    let mut counter = |name: &str, help: &str, counts: &mut dyn Iterator<Item = (&str, u64)>| {
        text.extend(["# HELP ", name, " ", help, "\n# TYPE ", name, " counter\n"]);
        for (outcome, count) in counts {
            let count = count.to_string();
            text.extend([name, "_total{outcome=\"", outcome, "\"} ", &count, "\n"]);
        }
    };
    counter(
        "remuda_tls_reloads",
        "Times that the certificate was read anew.",
        &mut [("done", reloads.done), ("failed", reloads.failed)].into_iter(),
    );
    counter(
        "remuda_tls_handshakes",
        "TLS handshakes with clients.",
        &mut tls.handshakes().ended(),
    );
    text + END
}
