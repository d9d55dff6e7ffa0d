//! A gate in the middle of an answer: streams wait at it until a test lets them pass.

use std::sync::Arc;

use tokio::sync::watch;

/// Holds streams up without a guess at how long something else takes. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    /// Makes a closed gate.
    pub fn closed() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Lets all that wait, and all that come later, pass.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Returns how many wait at it: whoever is cut off waits no more.
    pub fn waiting(&self) -> usize {
        self.0.receiver_count()
    }

    /// Returns once the gate is open.
    pub(super) async fn pass(&self) {
        // The sender lives as long as this gate, so that there is always an answer.
        drop(self.0.subscribe().wait_for(|open| *open).await);
    }
}
