//! Organisations: who belongs together, and who administers whom.
//!
//! Every person and every key belongs to one organisation. Administrators of the first one administer the platform: nodes, models,
//! all organisations. Administrators of any other see and change what is their own organisation's, and learn nothing of others.

use ::store::StoreError;
use primitives::{Classify, ErrorKind, InvalidCursor, OrgId, Page, Timestamp};
use uuid::Uuid;

use crate::audit::{Action, Change, Seen as _, record};
use crate::extract::{Admin, OrgAdmin};
use crate::identity::Identity;
use crate::listing::Listing;
use crate::store;

/// The organisation that exists from the first start on.
pub const DEFAULT_ORG: OrgId =
    OrgId::from_uuid(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0001));

/// The most characters of an organisation's name.
const LONGEST_NAME: usize = 100;
/// The most organisations.
const MOST_ORGANISATIONS: u64 = 10_000;

/// An organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organisation {
    /// Its id.
    pub id: OrgId,
    /// What it is called.
    pub name: String,
    /// When it was made; zero for the first one.
    pub created_at: Timestamp,
}

/// Whose people and keys a caller may see and change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OrgScope {
    /// Those of all organisations.
    All,
    /// Those of one.
    One(OrgId),
}

impl OrgScope {
    /// Returns the organisation, or nothing for all: what finders are asked with.
    pub(crate) fn id(self) -> Option<OrgId> {
        match self {
            Self::All => None,
            Self::One(id) => Some(id),
        }
    }

    /// Narrows the scope to a wanted organisation.
    ///
    /// # Errors
    /// When that is not within it. Whether it exists is not told.
    pub fn narrow(self, wanted: Option<OrgId>) -> Result<Self, UnknownOrganisation> {
        match (self, wanted) {
            (scope, None) => Ok(scope),
            (Self::One(own), Some(wanted)) if own != wanted => Err(UnknownOrganisation(wanted)),
            (_, Some(wanted)) => Ok(Self::One(wanted)),
        }
    }
}

/// There is no such organisation, as far as the caller may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no organisation {0}")]
pub struct UnknownOrganisation(pub OrgId);

impl Classify for UnknownOrganisation {
    fn kind(&self) -> ErrorKind {
        ErrorKind::NotFound
    }

    fn public_message(&self) -> String {
        format!("{self}: `GET /api/v1/organisations` shows those you may see")
    }
}

/// Why no organisation was made.
#[derive(Debug, thiserror::Error)]
pub enum CreateOrganisationError {
    /// The name is empty, too long, or has control characters.
    #[error("an organisation's name has 1 to {LONGEST_NAME} printable characters")]
    Name,
    /// Another one has the name.
    #[error("an organisation named {0:?} exists already")]
    NameTaken(String),
    /// There are too many.
    #[error("there are {MOST_ORGANISATIONS} organisations already")]
    TooMany,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for CreateOrganisationError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Name => ErrorKind::Invalid,
            Self::NameTaken(_) | Self::TooMany => ErrorKind::Conflict,
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Name => self.to_string(),
            Self::NameTaken(_) => format!("{self}: choose another name"),
            Self::TooMany => format!("{self}: no more can be made"),
            Self::Store(error) => error.public_message(),
        }
    }
}

/// Why no organisations could be listed.
#[derive(Debug, thiserror::Error)]
pub enum ListOrganisationsError {
    /// The cursor is not ours.
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for ListOrganisationsError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Cursor(_) => ErrorKind::Invalid,
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Cursor(error) => error.to_string(),
            Self::Store(error) => error.public_message(),
        }
    }
}

impl Identity {
    /// Makes an organisation.
    pub async fn create_organisation(
        &self,
        admin: &Admin,
        name: &str,
    ) -> Result<Organisation, CreateOrganisationError> {
        let name = name.trim();
        let fits = (1..=LONGEST_NAME).contains(&name.chars().count());
        if !fits || name.chars().any(char::is_control) {
            return Err(CreateOrganisationError::Name);
        }
        let now = self.inner.clock.now();
        let organisation = Organisation {
            id: OrgId::generate(now),
            name: name.to_owned(),
            created_at: now,
        };
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        if store::count_organisations(&mut tx).await? >= MOST_ORGANISATIONS {
            return Err(CreateOrganisationError::TooMany);
        }
        store::insert_organisation(&mut tx, &organisation)
            .await
            .map_err(|error| {
                if error.is_conflict("organisations_name") {
                    CreateOrganisationError::NameTaken(organisation.name.clone())
                } else {
                    error.into()
                }
            })?;
        let change = Change {
            action: Action::OrganisationCreate,
            org: Some(organisation.id),
            subject: ("organisation", Some(organisation.id.to_string())),
            old: None,
            new: Some(organisation.seen()),
        };
        record(&mut tx, now, &admin.actor(), change).await?;
        tx.commit().await?;
        Ok(organisation)
    }

    /// Lists the organisations that the caller may see.
    pub async fn list_organisations(
        &self,
        admin: &OrgAdmin,
        listing: &Listing,
    ) -> Result<Page<Organisation>, ListOrganisationsError> {
        let position = listing.position()?;
        let mut tx = self.inner.db.read().await?;
        let (found, total) =
            store::list_organisations(&mut tx, admin.scope(), listing, &position).await?;
        tx.commit().await?;
        Ok(listing.page(found, total, |organisation| {
            (organisation.id.to_string(), &organisation.name)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_narrowed_and_never_widened() {
        let other = OrgId::generate(Timestamp::from_micros(1_000_000));
        assert_eq!(OrgScope::All.narrow(Some(other)), Ok(OrgScope::One(other)));
        assert_eq!(OrgScope::All.narrow(None), Ok(OrgScope::All));
        let own = OrgScope::One(DEFAULT_ORG);
        assert_eq!(own.narrow(None), Ok(own));
        assert_eq!(own.narrow(Some(DEFAULT_ORG)), Ok(own));
        assert_eq!(own.narrow(Some(other)), Err(UnknownOrganisation(other)));
    }
}
