//! Extractors that prove who calls: a handler that takes [`Admin`] cannot run for anybody else.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::ops::Deref;

use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;
use primitives::OrgId;
use web::{AfterBody, Problem};

use crate::audit::Actor;
use crate::credential::presented_credential;
use crate::identity::Identity;
use crate::model::{AuthError, Principal, Role};
use crate::organisations::{OrgScope, UnknownOrganisation};
use crate::origin::Origin;
use crate::permission::{Permission, Rights};

/// Any caller who is let in; anonymous ones too, where no credential is required.
#[derive(Clone, Debug)]
pub struct Caller(Known);

/// A caller who administers the platform.
///
/// Another domain's router uses it when its state gives an [`Identity`] (axum's `FromRef`).
#[derive(Clone, Debug)]
pub struct Admin(Known);

/// A caller who administers an organisation, or some of it: their own, or all of them where they administer the platform.
#[derive(Clone, Debug)]
pub struct OrgAdmin(Known);

/// A caller who has a permission in their organisation: its administrators, those of the platform, and who has a role or key with it.
#[derive(Clone, Debug)]
pub(crate) struct Allowed<N>(OrgAdmin, PhantomData<N>);

/// A permission that a route takes.
pub(crate) trait Needed: Send + Sync {
    /// Which one.
    const PERMISSION: Permission;
}

macro_rules! needed {
    ($($(#[$doc:meta])* $name:ident $permission:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) enum $name {}

        impl Needed for $name {
            const PERMISSION: Permission = Permission::$permission;
        }
    )*};
}

needed! {
    /// To see API keys.
    ReadKeys KeysRead
    /// To make, change and revoke API keys.
    ManageKeys KeysManage
    /// To see people.
    ReadUsers UsersRead
    /// To make and change people.
    ManageUsers UsersManage
    /// To invite people.
    ManageInvitations InvitationsManage
    /// To make and change roles.
    ManageRoles RolesManage
    /// To see who changed what.
    ReadAudit AuditRead
}

impl<N> Deref for Allowed<N> {
    type Target = OrgAdmin;

    fn deref(&self) -> &OrgAdmin {
        &self.0
    }
}

/// Who calls, and from where.
#[derive(Clone, Debug)]
struct Known {
    principal: Principal,
    origin: Origin,
}

macro_rules! known {
    ($($extractor:ident)*) => {$(
        impl $extractor {
            /// Returns who calls.
            pub fn principal(&self) -> &Principal {
                &self.0.principal
            }

            /// Returns where they call from.
            pub fn origin(&self) -> &Origin {
                &self.0.origin
            }

            /// Names the caller for the journal.
            pub fn actor(&self) -> Actor {
                Actor::caller(&self.0.principal, &self.0.origin)
            }
        }
    )*};
}

known! { Caller Admin OrgAdmin }

impl<S> FromRequestParts<S> for Caller
where
    Identity: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(let_in(parts, &Identity::from_ref(state), |_| Ok(()))?))
    }
}

impl<S> FromRequestParts<S> for Admin
where
    Identity: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(let_in(
            parts,
            &Identity::from_ref(state),
            |principal| {
                administers(principal)?;
                if principal.is_platform_admin() {
                    Ok(())
                } else {
                    Err(AuthError::NotPlatformAdmin)
                }
            },
        )?))
    }
}

impl<S, N> FromRequestParts<S> for Allowed<N>
where
    Identity: FromRef<S>,
    S: Send + Sync,
    N: Needed,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let known = let_in(parts, &Identity::from_ref(state), |principal| {
            permitted(principal, N::PERMISSION)
        })?;
        Ok(Self(OrgAdmin(known), PhantomData))
    }
}

impl OrgAdmin {
    /// Lets a caller in who has a permission in their organisation, as the routes that take it do.
    ///
    /// # Errors
    /// When they are not let in, or have it not.
    pub fn with_permission(
        parts: &mut Parts,
        identity: &Identity,
        permission: Permission,
    ) -> Result<Self, Problem> {
        let has = move |principal: &Principal| permitted(principal, permission);
        Ok(Self(let_in(parts, identity, has)?))
    }

    /// Returns what the caller may give to others.
    pub(crate) fn rights(&self) -> Rights {
        Rights {
            role: self.principal().role,
            permissions: self.principal().permissions,
        }
    }

    /// Returns whose people and keys the caller may see and change.
    pub fn scope(&self) -> OrgScope {
        if self.principal().is_platform_admin() {
            OrgScope::All
        } else {
            OrgScope::One(self.principal().org)
        }
    }

    /// Returns the organisation that something new belongs to: the wanted one, or the caller's own.
    ///
    /// # Errors
    /// When the wanted one is not the caller's to change.
    pub(crate) fn one_org(&self, wanted: Option<OrgId>) -> Result<OrgId, UnknownOrganisation> {
        let own = self.principal().org;
        Ok(self
            .scope()
            .narrow(Some(wanted.unwrap_or(own)))?
            .id()
            .unwrap_or(own))
    }
}

impl<S> FromRequestParts<S> for OrgAdmin
where
    Identity: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(let_in(
            parts,
            &Identity::from_ref(state),
            administers,
        )?))
    }
}

fn permitted(principal: &Principal, permission: Permission) -> Result<(), AuthError> {
    if principal.permissions.has(permission) {
        Ok(())
    } else if principal.id().is_none() {
        Err(AuthError::Missing)
    } else {
        Err(AuthError::NotPermitted(permission))
    }
}

fn administers(principal: &Principal) -> Result<(), AuthError> {
    match principal.role {
        Role::Admin => Ok(()),
        // Who presented nothing may well be an administrator who has not signed in yet.
        _ if principal.id().is_none() => Err(AuthError::Missing),
        Role::Operator | Role::User | Role::Viewer => Err(AuthError::NotAdmin),
    }
}

/// Lets a caller in whom `check` accepts: now, and again when the request's body has arrived, until when they may have lost their rights.
fn let_in(
    parts: &mut Parts,
    identity: &Identity,
    check: impl Fn(&Principal) -> Result<(), AuthError> + Send + Sync + 'static,
) -> Result<Known, AuthError> {
    let presented = presented_credential(&parts.headers).map(Cow::into_owned);
    let ask = move |identity: &Identity| -> Result<Principal, AuthError> {
        let principal = identity
            .snapshot()
            .authenticate(presented.as_deref(), identity.inner.clock.now())?;
        check(&principal)?;
        Ok(principal)
    };
    let principal = ask(identity)?;
    let identity = identity.clone();
    parts.extensions.insert(AfterBody::new(move || {
        ask(&identity).err().map(Problem::from)
    }));
    Ok(Known {
        principal,
        origin: Origin::of(parts),
    })
}
