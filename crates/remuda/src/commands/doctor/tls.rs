//! The certificate that clients are shown, as its files are now.

use primitives::{Classify as _, Timestamp};
use web::tls::Certificate;

use super::Finding;
use crate::config::Config;
use crate::start::tls::{SOON, days};

/// Looks at the certificate, if there should be one, and returns it.
pub(super) fn check(
    config: &Config,
    now: Timestamp,
    findings: &mut Vec<Finding>,
) -> Option<Certificate> {
    let (certificate, key) = config.server.tls_files()?;
    match Certificate::load(certificate, key, now) {
        Ok(certificate) => {
            let remaining = certificate.remaining(now);
            let message = format!(
                "{} days until the certificate ends ({}{})",
                days(remaining),
                certificate.ends(),
                match certificate.names() {
                    [] => String::new(),
                    names => format!(", for {}", names.join(", ")),
                }
            );
            findings.push(if remaining < SOON {
                Finding::warning(
                    "certificate",
                    message,
                    "renew it: the running server takes the new files by itself",
                )
            } else {
                Finding::good("certificate", message)
            });
            Some(certificate)
        }
        Err(error) => {
            findings.push(Finding::broken(
                "certificate",
                error.to_string(),
                error
                    .public_message()
                    .strip_prefix(&format!("{error}: "))
                    .unwrap_or("correct it")
                    .to_owned(),
            ));
            None
        }
    }
}
