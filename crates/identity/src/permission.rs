//! What may be done, in small pieces: `resource:action`. Roles are sets of them, and so is what a key may do.

use std::fmt;

use primitives::{Classify, ErrorKind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::Role;

/// A permission within one's organisation. What concerns the platform (nodes, settings, all organisations) is its administrators'.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
pub enum Permission {
    /// To have models answer.
    #[serde(rename = "inference:run")]
    InferenceRun,
    /// To see API keys.
    #[serde(rename = "keys:read")]
    KeysRead,
    /// To make, change and revoke API keys.
    #[serde(rename = "keys:manage")]
    KeysManage,
    /// To see people, their sessions and roles.
    #[serde(rename = "users:read")]
    UsersRead,
    /// To make, change and disable people who may do no more than oneself.
    #[serde(rename = "users:manage")]
    UsersManage,
    /// To invite people.
    #[serde(rename = "invitations:manage")]
    InvitationsManage,
    /// To make and change roles.
    #[serde(rename = "roles:manage")]
    RolesManage,
    /// To see who changed what.
    #[serde(rename = "audit:read")]
    AuditRead,
    /// To see the hardware inventory, which is the first organisation's.
    #[serde(rename = "inventory:read")]
    InventoryRead,
    /// To change the hardware inventory.
    #[serde(rename = "inventory:write")]
    InventoryWrite,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 10] = [
        Self::InferenceRun,
        Self::KeysRead,
        Self::KeysManage,
        Self::UsersRead,
        Self::UsersManage,
        Self::InvitationsManage,
        Self::RolesManage,
        Self::AuditRead,
        Self::InventoryRead,
        Self::InventoryWrite,
    ];

    /// Names the permission as it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InferenceRun => "inference:run",
            Self::KeysRead => "keys:read",
            Self::KeysManage => "keys:manage",
            Self::UsersRead => "users:read",
            Self::UsersManage => "users:manage",
            Self::InvitationsManage => "invitations:manage",
            Self::RolesManage => "roles:manage",
            Self::AuditRead => "audit:read",
            Self::InventoryRead => "inventory:read",
            Self::InventoryWrite => "inventory:write",
        }
    }

    /// Finds a permission by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }

    /// Returns what comes with it: who changes something sees it.
    const fn implied(self) -> Option<Self> {
        match self {
            Self::KeysManage => Some(Self::KeysRead),
            Self::UsersManage | Self::RolesManage => Some(Self::UsersRead),
            Self::InventoryWrite => Some(Self::InventoryRead),
            _ => None,
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of permissions, with what comes with each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions(u16);

impl Permissions {
    /// None.
    pub const NONE: Self = Self(0);

    /// Makes the set of these and of what comes with them.
    pub fn of(permissions: impl IntoIterator<Item = Permission>) -> Self {
        let mut set = Self::NONE;
        for permission in permissions {
            set.0 |= permission.bit() | permission.implied().map_or(0, Permission::bit);
        }
        set
    }

    /// Makes the set of those with these names. Unknown ones give nothing.
    pub(crate) fn named(names: &[String]) -> Self {
        Self::of(names.iter().filter_map(|name| Permission::from_name(name)))
    }

    /// Tells whether one is among them.
    pub const fn has(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    /// Returns those that both have.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns those that `other` has not.
    #[must_use]
    pub const fn beyond(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Lists them in their order.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL
            .into_iter()
            .filter(move |one| self.has(*one))
    }

    /// Lists their names.
    pub fn names(self) -> Vec<&'static str> {
        self.iter().map(Permission::as_str).collect()
    }

    /// Returns the role that does as much where only roles are known.
    pub(crate) const fn as_role(self) -> Role {
        if self.has(Permission::InferenceRun) {
            Role::User
        } else {
            Role::Viewer
        }
    }
}

impl Role {
    /// Returns what the role may do.
    pub fn permissions(self) -> Permissions {
        match self {
            Self::Admin => Permissions::of(Permission::ALL),
            Self::Operator | Self::User => Permissions::of([Permission::InferenceRun]),
            Self::Viewer => Permissions::NONE,
        }
    }
}

/// What somebody may do: a role, and the permissions that it or a role of the organisation's own gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rights {
    pub(crate) role: Role,
    pub(crate) permissions: Permissions,
}

impl Rights {
    /// Those of a role.
    pub(crate) fn of_role(role: Role) -> Self {
        Self {
            role,
            permissions: role.permissions(),
        }
    }

    /// Those of a set of permissions.
    pub(crate) const fn of(permissions: Permissions) -> Self {
        Self {
            role: permissions.as_role(),
            permissions,
        }
    }

    /// Returns what both may.
    pub(crate) fn at_most(self, ceiling: Self) -> Self {
        Self {
            role: self.role.at_most(ceiling.role),
            permissions: self.permissions.and(ceiling.permissions),
        }
    }

    /// Refuses what goes beyond these rights: nobody gives what they do not have, nor lays hands on who may do more.
    pub(crate) fn cover(self, wanted: Self) -> Result<(), Beyond> {
        // Who has every permission one by one is no administrator yet: that may mean the platform.
        if wanted.role == Role::Admin && self.role != Role::Admin {
            return Err(Beyond::Administrator);
        }
        match wanted.permissions.beyond(self.permissions).iter().next() {
            Some(missing) => Err(Beyond::Permission(missing)),
            None => Ok(()),
        }
    }
}

/// Something would give more than who gives it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Beyond {
    /// Only administrators make administrators, or change them.
    #[error("this concerns an administrator, and you are none")]
    Administrator,
    /// The permission that is missing.
    #[error("this concerns the permission {0}, which you do not have")]
    Permission(Permission),
}

impl Classify for Beyond {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Forbidden
    }

    fn public_message(&self) -> String {
        format!("{self}: ask an administrator")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_stored_and_found_and_what_changes_also_sees() {
        for permission in Permission::ALL {
            assert_eq!(Permission::from_name(permission.as_str()), Some(permission));
            let written = serde_json::to_value(permission).unwrap();
            assert_eq!(written, permission.as_str());
        }
        let set = Permissions::of([Permission::KeysManage]);
        assert_eq!(set.names(), ["keys:read", "keys:manage"]);
        let unknown = Permissions::named(&["nodes:explode".to_owned(), "audit:read".to_owned()]);
        assert_eq!(unknown.names(), ["audit:read"]);
    }

    #[test]
    fn nobody_covers_more_than_they_have() {
        let every = Rights::of(Permissions::of(Permission::ALL));
        let admin = Rights::of_role(Role::Admin);
        let keys = Rights::of(Permissions::of([Permission::KeysManage]));
        assert_eq!(admin.cover(every), Ok(()));
        assert_eq!(every.cover(keys), Ok(()));
        assert_eq!(every.cover(admin), Err(Beyond::Administrator));
        let run = Beyond::Permission(Permission::InferenceRun);
        assert_eq!(keys.cover(Rights::of_role(Role::User)), Err(run));
        assert_eq!(keys.cover(Rights::of_role(Role::Viewer)), Ok(()));
        assert_eq!(admin.at_most(keys), keys);
        assert_eq!(
            keys.at_most(Rights::of_role(Role::User)),
            Rights::of(Permissions::NONE)
        );
    }
}
