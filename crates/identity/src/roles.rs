//! Roles of an organisation's own. Who has one may do what it says, from the moment that it is changed.

use ::store::{StoreError, Tx};
use primitives::{Classify, ErrorKind, OrgId, Timestamp};
use web::{ChangedMeanwhile, ETag, IfMatch};

use crate::audit::{Action, Change, Seen as _, record};
use crate::extract::OrgAdmin;
use crate::identity::Identity;
use crate::model::Role;
use crate::organisations::UnknownOrganisation;
use crate::permission::{Beyond, Permissions, Rights};
use crate::store;
use crate::users::User;

/// The most characters of a role's name.
const LONGEST_NAME: usize = 50;
/// The most characters of what a role is for.
const LONGEST_DESCRIPTION: usize = 200;
/// The most roles of one organisation.
const MOST_OF_ONE: u64 = 100;

/// A role of an organisation's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomRole {
    /// Whose it is.
    pub org_id: OrgId,
    /// Its name, unique in the organisation.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// What who has it may do.
    pub permissions: Permissions,
    /// When it was made.
    pub created_at: Timestamp,
}

impl CustomRole {
    /// Returns the version of what can be changed of it.
    pub fn version(&self) -> ETag {
        ETag::of(&self.seen())
    }
}

/// What to change of a role. Absent: stays.
#[derive(Clone, Debug, Default)]
pub struct RoleEdit {
    /// What it is for; an empty text removes it.
    pub description: Option<String>,
    /// What who has it may do.
    pub permissions: Option<Permissions>,
}

/// Why a role was not made, changed, shown or removed.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// The name cannot be used.
    #[error(
        "a role's name has 1 to {LONGEST_NAME} lower-case letters, digits or the characters - _, and is none of admin, operator, user, viewer"
    )]
    Name,
    /// The description cannot be used.
    #[error("what a role is for has at most {LONGEST_DESCRIPTION} printable characters")]
    Description,
    /// The organisation has a role of this name.
    #[error("the organisation has a role {0:?} already")]
    Taken(String),
    /// The organisation has too many roles.
    #[error("the organisation has {MOST_OF_ONE} roles already")]
    TooMany,
    /// There is none of this name, as far as the caller may know.
    #[error("there is no role {0:?}")]
    Unknown(String),
    /// People have it.
    #[error("people have this role ({0})")]
    InUse(u64),
    /// It would give more than the caller has.
    #[error(transparent)]
    Beyond(#[from] Beyond),
    /// The role is not as the caller believes.
    #[error(transparent)]
    Changed(#[from] ChangedMeanwhile),
    /// The organisation is not one of the caller's.
    #[error(transparent)]
    Organisation(#[from] UnknownOrganisation),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for RoleError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Name | Self::Description => ErrorKind::Invalid,
            Self::Taken(_) | Self::TooMany | Self::InUse(_) => ErrorKind::Conflict,
            Self::Unknown(_) => ErrorKind::NotFound,
            Self::Beyond(error) => error.kind(),
            Self::Changed(error) => error.kind(),
            Self::Organisation(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Name | Self::Description => self.to_string(),
            Self::Taken(_) => format!("{self}: choose another name, or change that one"),
            Self::TooMany => format!("{self}: remove some"),
            Self::Unknown(_) => format!("{self}: `remuda role list` shows those there are"),
            Self::InUse(_) => format!("{self}: give them another one first"),
            Self::Beyond(error) => error.public_message(),
            Self::Changed(error) => error.public_message(),
            Self::Organisation(error) => error.public_message(),
            Self::Store(error) => error.public_message(),
        }
    }
}

/// Finds out what a person may do by their role within the caller's transaction.
pub(crate) async fn rights_of(tx: &mut Tx, user: &User) -> Result<Rights, StoreError> {
    let Some(name) = &user.custom_role else {
        return Ok(Rights::of_role(user.role));
    };
    let role = store::find_role(tx, user.org_id, name).await?;
    Ok(Rights::of(
        role.map_or(Permissions::NONE, |role| role.permissions),
    ))
}

impl Identity {
    /// Lists the roles of an organisation, by name.
    pub async fn list_roles(
        &self,
        admin: &OrgAdmin,
        org: Option<OrgId>,
    ) -> Result<Vec<CustomRole>, RoleError> {
        let org = admin.one_org(org)?;
        let mut tx = self.inner.db.read().await?;
        store::known_organisation(&mut tx, Some(org)).await??;
        let roles = store::list_roles(&mut tx, org).await?;
        tx.commit().await?;
        Ok(roles)
    }

    /// Finds a role.
    pub async fn load_role(
        &self,
        admin: &OrgAdmin,
        org: Option<OrgId>,
        name: &str,
    ) -> Result<CustomRole, RoleError> {
        let org = admin.one_org(org)?;
        let mut tx = self.inner.db.read().await?;
        store::known_organisation(&mut tx, Some(org)).await??;
        let found = store::find_role(&mut tx, org, name).await?;
        tx.commit().await?;
        found.ok_or_else(|| unknown(name))
    }

    /// Makes a role.
    pub async fn create_role(
        &self,
        admin: &OrgAdmin,
        org: Option<OrgId>,
        name: &str,
        edit: RoleEdit,
    ) -> Result<CustomRole, RoleError> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        let has_form = (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(fits);
        if !has_form || Role::from_name(name).is_some() {
            return Err(RoleError::Name);
        }
        let now = self.inner.clock.now();
        let mut role = CustomRole {
            org_id: admin.one_org(org)?,
            name: name.to_owned(),
            description: None,
            permissions: Permissions::NONE,
            created_at: now,
        };
        apply(&mut role, edit)?;
        admin.rights().cover(Rights::of(role.permissions))?;
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        store::known_organisation(&mut tx, Some(role.org_id)).await??;
        if store::find_role(&mut tx, role.org_id, name)
            .await?
            .is_some()
        {
            return Err(RoleError::Taken(role.name));
        }
        if store::count_roles(&mut tx, role.org_id).await? >= MOST_OF_ONE {
            return Err(RoleError::TooMany);
        }
        store::insert_role(&mut tx, &role).await?;
        let change = changed(Action::RoleCreate, &role);
        record(&mut tx, now, &admin.actor(), change).await?;
        tx.commit().await?;
        Ok(role)
    }

    /// Changes a role. When this returns, who has it may do just that here, and on every other replica within a second.
    pub async fn edit_role(
        &self,
        admin: &OrgAdmin,
        org: Option<OrgId>,
        name: &str,
        edit: RoleEdit,
        expected: &IfMatch,
    ) -> Result<CustomRole, RoleError> {
        let org = admin.one_org(org)?;
        let now = self.inner.clock.now();
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        store::known_organisation(&mut tx, Some(org)).await??;
        let mut role = store::find_role(&mut tx, org, name)
            .await?
            .ok_or_else(|| unknown(name))?;
        expected.check(|| role.version())?;
        // Nor is anything taken from who may do more.
        admin.rights().cover(Rights::of(role.permissions))?;
        let old = role.seen();
        apply(&mut role, edit)?;
        admin.rights().cover(Rights::of(role.permissions))?;
        store::update_role(&mut tx, &role).await?;
        let mut change = changed(Action::RoleEdit, &role);
        change.old = Some(old);
        record(&mut tx, now, &admin.actor(), change).await?;
        tx.commit().await?;
        self.published().await;
        Ok(role)
    }

    /// Removes a role that nobody has.
    pub async fn delete_role(
        &self,
        admin: &OrgAdmin,
        org: Option<OrgId>,
        name: &str,
    ) -> Result<(), RoleError> {
        let org = admin.one_org(org)?;
        let now = self.inner.clock.now();
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        store::known_organisation(&mut tx, Some(org)).await??;
        let role = store::find_role(&mut tx, org, name)
            .await?
            .ok_or_else(|| unknown(name))?;
        admin.rights().cover(Rights::of(role.permissions))?;
        let people = store::count_people_with_role(&mut tx, org, name).await?;
        if people > 0 {
            return Err(RoleError::InUse(people));
        }
        store::delete_role(&mut tx, org, name).await?;
        let mut change = changed(Action::RoleDelete, &role);
        change.old = change.new.take();
        record(&mut tx, now, &admin.actor(), change).await?;
        tx.commit().await?;
        Ok(())
    }
}

fn unknown(name: &str) -> RoleError {
    RoleError::Unknown(name.chars().take(LONGEST_NAME).collect())
}

fn apply(role: &mut CustomRole, edit: RoleEdit) -> Result<(), RoleError> {
    if let Some(description) = edit.description {
        let text = description.trim();
        if text.chars().count() > LONGEST_DESCRIPTION || text.chars().any(char::is_control) {
            return Err(RoleError::Description);
        }
        role.description = (!text.is_empty()).then(|| text.to_owned());
    }
    if let Some(permissions) = edit.permissions {
        role.permissions = permissions;
    }
    Ok(())
}

fn changed(action: Action, role: &CustomRole) -> Change {
    Change {
        action,
        org: Some(role.org_id),
        subject: ("role", Some(role.name.clone())),
        old: None,
        new: Some(role.seen()),
    }
}
