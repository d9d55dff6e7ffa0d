//! Extractors that prove who calls: a handler that takes [`Admin`] cannot run for anybody else.

use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;
use web::Problem;

use crate::credential::presented_credential;
use crate::identity::Identity;
use crate::model::{AuthError, Principal, Role};

/// Any caller who is let in; anonymous ones too, where no credential is required.
#[derive(Clone, Debug)]
pub struct Caller(Principal);

impl Caller {
    /// Returns who calls.
    pub fn principal(&self) -> &Principal {
        &self.0
    }
}

/// A caller with the administrator's role.
///
/// Another domain's router uses it when its state gives an [`Identity`] (axum's `FromRef`).
#[derive(Clone, Debug)]
pub struct Admin(Principal);

impl Admin {
    /// Returns who calls.
    pub fn principal(&self) -> &Principal {
        &self.0
    }
}

impl<S> FromRequestParts<S> for Caller
where
    Identity: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(authenticated(parts, &Identity::from_ref(state))?))
    }
}

impl<S> FromRequestParts<S> for Admin
where
    Identity: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let principal = authenticated(parts, &Identity::from_ref(state))?;
        match principal.role {
            Role::Admin => Ok(Self(principal)),
            // Who presented nothing may well be an administrator who has not signed in yet.
            Role::User if principal.id().is_none() => Err(AuthError::Missing.into()),
            Role::User => Err(AuthError::NotAdmin.into()),
        }
    }
}

fn authenticated(parts: &Parts, identity: &Identity) -> Result<Principal, AuthError> {
    let presented = presented_credential(&parts.headers);
    identity
        .snapshot()
        .authenticate(presented.as_deref(), identity.inner.clock.now())
}
