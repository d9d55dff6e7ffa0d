//! What a key may do: as much as a role, or chosen permissions.

use crate::model::Role;
use crate::permission::{Permissions, Rights};

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyScope {
    /// As much as the role.
    Role(Role),
    /// Just this.
    Chosen(Permissions),
}

impl KeyScope {
    /// Reads what is stored of a key: words of roles, or names of permissions.
    pub(crate) fn stored(scopes: &[String]) -> Self {
        if scopes.iter().any(|scope| scope.contains(':')) {
            Self::Chosen(Permissions::named(scopes))
        } else {
            Self::Role(Role::from_scopes(scopes))
        }
    }

    /// Returns what is stored and shown.
    pub fn names(self) -> Vec<&'static str> {
        match self {
            Self::Role(role) => role.scopes().to_vec(),
            Self::Chosen(permissions) => permissions.names(),
        }
    }

    /// Returns the role that does as much, or the nearest that does not do more where only roles are known.
    pub fn role(self) -> Role {
        self.rights().role
    }

    pub(crate) fn rights(self) -> Rights {
        match self {
            Self::Role(role) => Rights::of_role(role),
            Self::Chosen(permissions) => Rights::of(permissions),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permission::Permission;

    #[test]
    fn scopes_survive_being_stored() {
        let chosen = Permissions::of([Permission::AuditRead, Permission::InferenceRun]);
        let scopes = Role::ALL.map(KeyScope::Role);
        for scope in scopes.into_iter().chain([KeyScope::Chosen(chosen)]) {
            let names: Vec<String> = scope.names().into_iter().map(str::to_owned).collect();
            assert_eq!(KeyScope::stored(&names), scope);
        }
        assert_eq!(
            KeyScope::stored(&["of:tomorrow".to_owned()]).role(),
            Role::Viewer
        );
    }
}
