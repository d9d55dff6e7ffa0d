//! Who listens, as far as topics care, and who owns an inference.

use identity::{Principal, PrincipalKind, Role};
use primitives::{KeyId, OrgId, UserId};

/// A person, or a key that belongs to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallerId {
    /// A person, by whatever they present.
    User(UserId),
    /// A key without a person.
    Key(KeyId),
}

impl CallerId {
    /// Returns the caller behind a credential, `None` for who presented nothing.
    pub fn of(principal: &Principal) -> Option<Self> {
        match (principal.user, principal.kind) {
            (Some(user), _) | (None, PrincipalKind::User(user)) => Some(Self::User(user)),
            (None, PrincipalKind::Key(key)) => Some(Self::Key(key)),
            (None, PrincipalKind::Anonymous) => None,
        }
    }
}

/// Whose inference it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The organisation.
    pub org: OrgId,
    /// Who asked; `None` for who presented nothing, whose inferences are their organisation's alone.
    pub caller: Option<CallerId>,
}

/// What a connection may listen to rests on this alone: when it changes, the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) caller: CallerId,
    pub(crate) org: OrgId,
    pub(crate) role: Role,
    pub(crate) platform: bool,
}

impl Standing {
    /// Returns the standing of who presented something; who presented nothing has none.
    pub(crate) fn of(principal: &Principal) -> Option<Self> {
        Some(Self {
            caller: CallerId::of(principal)?,
            org: principal.org,
            role: principal.role,
            platform: principal.is_platform_admin(),
        })
    }

    /// Tells whether the nodes, models and figures of the platform may be seen: by the same rule as in the API.
    pub(crate) fn sees_platform(self) -> bool {
        self.platform
    }

    /// Tells whether the caller sees the inferences of their organisation.
    pub(crate) fn sees_organisation(self) -> bool {
        self.role == Role::Admin
    }

    /// Tells whether the caller may follow this one inference. Those of another organisation nobody may.
    pub(crate) fn may_follow(self, owner: Owner) -> bool {
        self.org == owner.org && (owner.caller == Some(self.caller) || self.sees_organisation())
    }
}
