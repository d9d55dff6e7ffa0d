//! Learns what stands behind a node's address.

pub(crate) mod check;
pub(crate) mod contact;
pub(crate) mod detect;
pub(crate) mod learned;
pub(crate) mod ollama;
mod openai;
mod pressure;

use scheduling::ProbeFailure;

use self::contact::{Contact, ContactError};
use self::detect::{Found, detect};
use self::learned::Learned;
use self::ollama::ShownModels;
use crate::model::NodeKind;

/// Probes one node again and again, remembering between probes what does not change.
#[derive(Debug)]
pub(crate) struct Prober {
    pub(crate) contact: Contact,
    wanted: NodeKind,
    found: Option<Found>,
    shown: ShownModels,
}

impl Prober {
    /// Makes a prober; `wanted` is `Unknown` when the kind is to be detected.
    pub(crate) fn new(contact: Contact, wanted: NodeKind) -> Self {
        Self {
            contact,
            wanted,
            found: None,
            shown: ShownModels::default(),
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
            _ => openai::learn(&self.contact, found).await,
        };
        // An answer that does not fit may come from another program that took over the address.
        self.found = match &learned {
            Ok(learned) => Some(learned.found),
            Err(error) if error.failure() == ProbeFailure::BadAnswer => None,
            Err(_) => Some(found),
        };
        learned
    }
}
