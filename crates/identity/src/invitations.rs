//! Invitations: an administrator hands out a token, and whoever has it makes their own account with the role that it carries.

use std::time::Duration;

use ::store::StoreError;
use primitives::{
    Classify, Cursor, ErrorKind, InvalidCursor, InvitationId, OrgId, Page, PageRequest, Secret,
    Timestamp,
};

use crate::audit::{Action, Change, Seen as _, record};
use crate::credential::{CredentialKind, SecretHash, generate};
use crate::extract::OrgAdmin;
use crate::identity::Identity;
use crate::model::Role;
use crate::organisations::UnknownOrganisation;
use crate::permission::{Beyond, Rights};
use crate::registration::Registration;
use crate::store;

/// How long an invitation stands unless it says otherwise.
const LIFE: Duration = Duration::from_hours(7 * 24);
/// The longest that one stands.
const LONGEST_LIFE: Duration = Duration::from_hours(90 * 24);
/// The most characters of a note.
const LONGEST_NOTE: usize = 200;
/// The most invitations of one organisation that stand.
const MOST_OF_ONE: u64 = 1_000;
/// The most invitations of all organisations that stand.
const MOST: u64 = 10_000;

/// An invitation without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// Its id.
    pub id: InvitationId,
    /// The organisation to join.
    pub org_id: OrgId,
    /// What who joins may do.
    pub role: Role,
    /// Whom it is for, for administrators to know.
    pub note: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Whom to invite.
#[derive(Clone, Debug)]
pub struct InvitationRequest {
    /// What who joins may do.
    pub role: Role,
    /// The organisation to join; the caller's when absent.
    pub org_id: Option<OrgId>,
    /// Whom it is for: at most 200 characters.
    pub note: Option<String>,
    /// When it ends: at most 90 days from now; 7 days when absent.
    pub expires_at: Option<Timestamp>,
}

/// Why an invitation was not made, listed or withdrawn.
#[derive(Debug, thiserror::Error)]
pub enum InvitationError {
    /// Nobody can register, invited or not.
    #[error("registration is closed")]
    Closed,
    /// The note is too long or has control characters.
    #[error("a note has at most {LONGEST_NOTE} printable characters")]
    Note,
    /// The end lies in the past or too far away.
    #[error("an invitation ends within 90 days from now")]
    Expiry,
    /// There are too many.
    #[error("there are too many invitations")]
    TooMany,
    /// There is none with this id, as far as the caller may know.
    #[error("there is no invitation {0}")]
    Unknown(InvitationId),
    /// It would give more than the caller has.
    #[error(transparent)]
    Beyond(#[from] Beyond),
    /// The organisation is not one of the caller's.
    #[error(transparent)]
    Organisation(#[from] UnknownOrganisation),
    /// The cursor is not ours.
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for InvitationError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Note | Self::Expiry | Self::Cursor(_) => ErrorKind::Invalid,
            Self::Closed | Self::TooMany => ErrorKind::Conflict,
            Self::Unknown(_) => ErrorKind::NotFound,
            Self::Beyond(error) => error.kind(),
            Self::Organisation(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Closed => {
                format!("{self}: set [auth] registration to \"invite\", or make the user yourself")
            }
            Self::Note | Self::Expiry => self.to_string(),
            Self::TooMany => format!("{self}: withdraw some, or wait until they end"),
            Self::Unknown(_) => format!("{self}: `GET /api/v1/invitations` shows those that stand"),
            Self::Beyond(error) => error.public_message(),
            Self::Organisation(error) => error.public_message(),
            Self::Cursor(error) => error.to_string(),
            Self::Store(error) => error.public_message(),
        }
    }
}

impl Identity {
    /// Makes an invitation. Its secret is told only now.
    pub async fn create_invitation(
        &self,
        admin: &OrgAdmin,
        request: InvitationRequest,
    ) -> Result<(Invitation, Secret<String>), InvitationError> {
        if self.inner.policies.load().registration == Registration::Closed {
            return Err(InvitationError::Closed);
        }
        admin.rights().cover(Rights::of_role(request.role))?;
        let now = self.inner.clock.now();
        let note = request
            .note
            .map(|note| note.trim().to_owned())
            .filter(|note| !note.is_empty());
        let fits = |note: &String| {
            note.chars().count() <= LONGEST_NOTE && !note.chars().any(char::is_control)
        };
        if !note.as_ref().is_none_or(fits) {
            return Err(InvitationError::Note);
        }
        let expires_at = request.expires_at.unwrap_or_else(|| now.after(LIFE));
        if expires_at <= now || expires_at > now.after(LONGEST_LIFE) {
            return Err(InvitationError::Expiry);
        }
        let secret = generate(CredentialKind::Invitation);
        let invitation = Invitation {
            id: InvitationId::generate(now),
            org_id: admin.one_org(request.org_id)?,
            role: request.role,
            note,
            created_at: now,
            expires_at,
        };
        let org = invitation.org_id;
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        if !store::has_organisation(&mut tx, org).await? {
            return Err(UnknownOrganisation(org).into());
        }
        let standing = store::count_invitations(&mut tx, org, now).await?;
        if standing.own >= MOST_OF_ONE || standing.all >= MOST {
            return Err(InvitationError::TooMany);
        }
        let hash = SecretHash::of(secret.expose());
        let by = admin.principal().user;
        store::insert_invitation(&mut tx, &invitation, &hash, by).await?;
        let change = Change {
            action: Action::InvitationCreate,
            org: Some(org),
            subject: ("invitation", Some(invitation.id.to_string())),
            old: None,
            new: Some(invitation.seen()),
        };
        record(&mut tx, now, &admin.actor(), change).await?;
        tx.commit().await?;
        Ok((invitation, secret))
    }

    /// Lists the invitations that stand, of one organisation or of all that the caller may see, in the order in which they were made.
    pub async fn list_invitations(
        &self,
        admin: &OrgAdmin,
        org_id: Option<OrgId>,
        page: &PageRequest,
    ) -> Result<Page<Invitation>, InvitationError> {
        let scope = admin.scope().narrow(org_id)?;
        let after = page.cursor.as_deref().map(Cursor::key).transpose()?;
        let after = after.as_deref().unwrap_or_default();
        let now = self.inner.clock.now();
        let mut tx = self.inner.db.read().await?;
        store::known_organisation(&mut tx, org_id).await??;
        let (found, total) = store::list_invitations(&mut tx, scope, now, after, page).await?;
        tx.commit().await?;
        let key = |invitation: &Invitation| invitation.id.to_string();
        Ok(Page::from_overfetched(found, page.size(), key).of_total(total))
    }

    /// Withdraws an invitation: nobody can use it any more.
    pub async fn withdraw_invitation(
        &self,
        admin: &OrgAdmin,
        id: InvitationId,
    ) -> Result<(), InvitationError> {
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        let org = store::delete_invitation(&mut tx, admin.scope(), id)
            .await?
            .ok_or(InvitationError::Unknown(id))?;
        let change = Change {
            action: Action::InvitationWithdraw,
            org: Some(org),
            subject: ("invitation", Some(id.to_string())),
            old: None,
            new: None,
        };
        let now = self.inner.clock.now();
        record(&mut tx, now, &admin.actor(), change).await?;
        tx.commit().await?;
        Ok(())
    }
}
