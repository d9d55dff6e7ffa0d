//! Says on the local network that this machine belongs to no control plane yet, so that people find it there. Nobody is let in by it.

use std::path::Path;
use std::time::Duration;

use agent_proto::{ANNOUNCED, Announcement};
use mdns_sd::{IfKind, ServiceDaemon, ServiceInfo};
use sysinfo::System;
use tokio::time::{sleep, timeout};

use crate::error::AgentError;
use crate::membership::Membership;

/// The time between two looks whether this machine has joined.
const LOOK: Duration = Duration::from_secs(2);

/// The time within which what is over is said once more: the library says it twice, 120 ms apart, for whom a packet was lost.
const SAID_AGAIN: Duration = Duration::from_millis(200);

/// The time that an end may take.
const END: Duration = Duration::from_secs(2);

/// An announcement that lasts until it is ended or dropped.
pub struct Announcing {
    daemon: ServiceDaemon,
    name: String,
    code: String,
}

impl Announcing {
    /// Announces this machine by multicast DNS (RFC 6762), on these interfaces, or on all where none is named.
    ///
    /// # Errors
    /// When the system has no thread or file left for it.
    pub fn start(interfaces: &[String]) -> Result<Self, AgentError> {
        let said = Announcement::new(rand::random(), &System::host_name().unwrap_or_default());
        let failed = |error: mdns_sd::Error| AgentError::Announce(error.to_string());
        let instance = said.instance();
        // Nothing listens: a service that is only there has port 0.
        let service = ServiceInfo::new(
            ANNOUNCED,
            &instance,
            &format!("{instance}.local."),
            (),
            0,
            &said.texts()[..],
        )
        .map_err(failed)?
        .enable_addr_auto();
        let name = service.get_fullname().to_owned();
        let announcing = Self {
            daemon: ServiceDaemon::new().map_err(failed)?,
            name,
            code: said.code,
        };
        if !interfaces.is_empty() {
            let named: Vec<IfKind> = interfaces.iter().map(IfKind::from).collect();
            announcing
                .daemon
                .disable_interface(IfKind::All)
                .map_err(failed)?;
            announcing.daemon.enable_interface(named).map_err(failed)?;
        }
        announcing.daemon.register(service).map_err(failed)?;
        Ok(announcing)
    }

    /// Returns what people tell this machine by.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Ends it, and waits until that was said to who has heard of it, two seconds at most.
    pub async fn end(self) {
        let ended = async {
            let told = self.daemon.unregister(&self.name)?;
            // What the thread answers tells nothing more, nor does that it ended by itself.
            drop(told.recv_async().await);
            sleep(SAID_AGAIN).await;
            let told = self.daemon.shutdown()?;
            drop(told.recv_async().await);
            Ok::<_, mdns_sd::Error>(())
        };
        match timeout(END, ended).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "an announcement does not end in order"),
            Err(_) => tracing::debug!("an announcement takes too long to end"),
        }
    }
}

impl Drop for Announcing {
    fn drop(&mut self) {
        // The thread says that it is over, if the process lasts as long as that.
        if let Err(error) = self.daemon.shutdown() {
            tracing::debug!(%error, "an announcement has ended already");
        }
    }
}

/// Waits until a membership is in the data directory.
///
/// # Errors
/// When the file is there and cannot be used.
pub async fn until_joined(data_dir: &Path) -> Result<Membership, AgentError> {
    loop {
        if let Some(membership) = Membership::load(data_dir)? {
            return Ok(membership);
        }
        sleep(LOOK).await;
    }
}
