//! Replacing the key that seals stored secrets, while everything goes on.

use ::store::{SealError, StoreError};
use identity::journal::{self, Action, Actor, Change};
use identity::{Resealed, Work};
use primitives::{Classify, ErrorKind};
use serde_json::json;

use crate::surface::System;

/// What replacing the key came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rotation {
    pub(crate) key_id: String,
    pub(crate) previous_key_id: String,
    pub(crate) resealed: u64,
    pub(crate) unreadable: u64,
}

/// Why the key was not replaced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RotateError {
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for RotateError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Seal(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Seal(error) => error.public_message(),
            Self::Store(error) => error.public_message(),
        }
    }
}

/// A domain that seals much: in steps of its own, between which others write.
pub trait Reseals: Send + Sync {
    /// Seals everything that another key sealed with the present one.
    fn reseal(&self) -> Work<'_, Result<Resealed, StoreError>>;
}

impl System {
    /// Seals all stored secrets anew: with a fresh key where the key stands in a file of ours, else with the configured one. What is
    /// interrupted is finished by the next time.
    pub(crate) async fn rotate_secrets(&self, by: &Actor) -> Result<Rotation, RotateError> {
        let _turn = self.inner.rotating.lock().await;
        let sealer = &self.inner.sealer;
        let previous_key_id = sealer.key_id();
        sealer.renew_file()?;
        let others = match self.inner.sealed.get() {
            Some(domain) => domain.reseal().await?,
            None => Resealed::default(),
        };
        let now = self.inner.clock.now();
        let mut tx = self.inner.db.write_ordered().await?;
        journal::begin(&mut tx).await?;
        let people = self.inner.identity.reseal(&mut tx).await?;
        let total = others.and(people);
        let total = total.and(self.inner.registry.reseal(&mut tx).await?);
        let rotation = Rotation {
            key_id: sealer.key_id(),
            previous_key_id,
            resealed: total.resealed,
            unreadable: total.unreadable,
        };
        let change = Change {
            action: Action::SecretsRotate,
            org: None,
            subject: ("sealing_key", Some(rotation.key_id.clone())),
            old: Some(json!({"key": rotation.previous_key_id})),
            new: Some(
                json!({"key": rotation.key_id, "resealed": rotation.resealed, "unreadable": rotation.unreadable}),
            ),
        };
        journal::record(&mut tx, now, by, change).await?;
        tx.commit().await?;
        sealer.forget_older()?;
        Ok(rotation)
    }
}
