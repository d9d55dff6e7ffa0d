//! Learns what stands behind a node's address.

pub(crate) mod check;
pub(crate) mod contact;
pub(crate) mod detect;
pub(crate) mod learned;
mod llama_server;
pub(crate) mod ollama;
mod openai;
mod pressure;
mod vllm;

use scheduling::ProbeFailure;

use self::contact::{Contact, ContactError};
use self::detect::{Found, detect};
use self::learned::Learned;
use self::ollama::ShownModels;
use self::vllm::KnownTask;
use crate::model::NodeKind;

/// Probes one node again and again, remembering between probes what does not change.
#[derive(Debug)]
pub(crate) struct Prober {
    pub(crate) contact: Contact,
    wanted: NodeKind,
    found: Option<Found>,
    shown: ShownModels,
    task: KnownTask,
}

impl Prober {
    /// Makes a prober; `wanted` is `Unknown` when the kind is to be detected.
    pub(crate) fn new(contact: Contact, wanted: NodeKind) -> Self {
        Self {
            contact,
            wanted,
            found: None,
            shown: ShownModels::default(),
            task: KnownTask::default(),
        }
    }

    /// Asks the node for everything that a snapshot shows.
    pub(crate) async fn probe(&mut self) -> Result<Learned, ContactError> {
        let found = match self.found {
            Some(found) => found,
            None => detect(&self.contact, self.wanted).await?,
        };
        let learned = match found.kind {
            NodeKind::Ollama => ollama::learn(&self.contact, found, &mut self.shown).await,
            _ => openai::learn(&self.contact, found, &mut self.task).await,
        };
        if learned.is_err() {
            // Whatever comes back may have been started otherwise.
            self.task = KnownTask::default();
        }
        // An answer that does not fit may come from another program that took over the address.
        self.found = match &learned {
            Ok(learned) => Some(learned.found),
            Err(error) if error.failure() == ProbeFailure::BadAnswer => None,
            Err(_) => Some(found),
        };
        learned
    }
}
