//! Giving out everything that is known of a person.

use std::sync::Arc;

use ::store::StoreError;
use bytes::Bytes;
use http_body_util::channel::Channel;
use primitives::{Classify, ErrorKind, UserId};
use tokio::sync::OwnedSemaphorePermit;

use super::writer::ExportWriter;
use super::{DataSubject, PartError, Reader};
use crate::audit::{Action, Actor, Change, record};
use crate::extract::{Caller, OrgAdmin};
use crate::identity::Identity;
use crate::model::PrincipalKind;
use crate::organisations::OrgScope;
use crate::roles::rights_of;
use crate::store;
use crate::users::{User, UserError};

/// The most exports at a time.
pub(crate) const MOST_EXPORTS: usize = 2;

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// There is no such person, or they may more than the caller.
    #[error(transparent)]
    User(#[from] UserError),
    /// Others are being made.
    #[error("{MOST_EXPORTS} exports are being made already")]
    TooMany,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for ExportError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::User(error) => error.kind(),
            Self::TooMany => ErrorKind::TooMany,
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::User(error) => error.public_message(),
            Self::TooMany => format!("{self}: try again when they are through"),
            Self::Store(error) => error.public_message(),
        }
    }
}

/// The body of an export, which is made while it is read.
pub type Exporting = Channel<Bytes, std::io::Error>;

impl Identity {
    /// Exports what is known of the caller.
    ///
    /// # Errors
    /// When the caller is no person.
    pub async fn export_own(&self, caller: &Caller) -> Result<Exporting, ExportError> {
        let principal = caller.principal();
        let (PrincipalKind::User(id), Some(_)) = (principal.kind, principal.user) else {
            return Err(UserError::NoPerson.into());
        };
        let scope = OrgScope::One(principal.org);
        self.export(scope, id, Reader::Themself, &caller.actor(), None)
            .await
    }

    /// Exports what is known of a person, but not what they write.
    ///
    /// # Errors
    /// When there is no such person within the caller's organisation, or they may more than the caller.
    pub async fn export_user(
        &self,
        admin: &OrgAdmin,
        id: UserId,
    ) -> Result<Exporting, ExportError> {
        let (scope, actor) = (admin.scope(), admin.actor());
        self.export(scope, id, Reader::Administrator, &actor, Some(admin))
            .await
    }

    async fn export(
        &self,
        scope: OrgScope,
        id: UserId,
        reader: Reader,
        by: &Actor,
        admin: Option<&OrgAdmin>,
    ) -> Result<Exporting, ExportError> {
        let permit = Arc::clone(&self.inner.exports).try_acquire_owned();
        let permit = permit.map_err(|_| ExportError::TooMany)?;
        let now = self.inner.clock.now();
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation_only(&mut tx).await?;
        let user = store::find_user_by_id(&mut tx, scope, id)
            .await?
            .ok_or(UserError::Unknown(id))?;
        if let Some(admin) = admin {
            let rights = rights_of(&mut tx, &user).await.map_err(UserError::from)?;
            admin.rights().cover(rights).map_err(UserError::from)?;
        }
        let of = DataSubject {
            id,
            org: user.org_id,
            username: user.username.clone(),
            keys: store::keys_of_user(&mut tx, id).await?,
        };
        let change = Change {
            action: Action::UserExport,
            org: Some(user.org_id),
            subject: ("user", Some(id.to_string())),
            old: None,
            new: None,
        };
        record(&mut tx, now, by, change).await?;
        tx.commit().await?;
        let (sender, body) = Channel::new(4);
        let identity = self.clone();
        tokio::spawn(async move {
            identity
                .write_export(user, of, reader, ExportWriter::new(sender), permit)
                .await;
        });
        Ok(body)
    }

    async fn write_export(
        &self,
        user: User,
        of: DataSubject,
        reader: Reader,
        mut to: ExportWriter,
        _permit: OwnedSemaphorePermit,
    ) {
        let written = async {
            to.value("exported_at", &self.inner.clock.now()).await?;
            self.export_identity(&user, &of, &mut to).await?;
            for part in self.inner.personal_data.load().iter() {
                part.export(&of, reader, &mut to).await?;
            }
            Ok::<_, PartError>(())
        }
        .await;
        match written {
            Ok(()) => drop(to.finish().await),
            Err(PartError::Gone(_)) => {}
            Err(PartError::Store(error)) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "an export of a person's data broke off"
                );
                to.break_off();
            }
        }
    }
}
