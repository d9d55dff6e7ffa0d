//! Extractors that prove a caller's right: a handler that takes one cannot run without it.

use std::borrow::Cow;

use axum::extract::FromRequestParts;
use http::request::Parts;
use identity::journal::Actor;
use identity::{AuthError, Origin, Permission, Principal, presented_credential};
use primitives::ErrorKind;
use web::{AfterBody, Problem};

use crate::access::{FOREIGN_PAGE, is_foreign_page, may};
use crate::surface::Inventory;

/// A caller who may read the inventory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader;

/// A caller who may change it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writer;

/// A caller who may change it, for changes that the journal keeps.
#[derive(Clone, Debug)]
pub(super) struct Recorded(pub(super) Actor);

impl FromRequestParts<Inventory> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Inventory) -> Result<Self, Problem> {
        let_in(parts, state, Permission::InventoryRead)?;
        Ok(Self)
    }
}

impl FromRequestParts<Inventory> for Writer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Inventory) -> Result<Self, Problem> {
        let_write(parts, state)?;
        Ok(Self)
    }
}

impl FromRequestParts<Inventory> for Recorded {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Inventory) -> Result<Self, Problem> {
        let caller = let_write(parts, state)?;
        let origin = Origin::of(parts);
        Ok(Self(match caller {
            Some(principal) => Actor::caller(&principal, &origin),
            None => Actor::anonymous(&origin),
        }))
    }
}

/// Lets a caller in who changes something, unless it is a page of another web site.
fn let_write(parts: &mut Parts, inventory: &Inventory) -> Result<Option<Principal>, Problem> {
    let caller = let_in(parts, inventory, Permission::InventoryWrite)?;
    if is_foreign_page(inventory, caller.as_ref(), &parts.headers) {
        return Err(Problem::new(ErrorKind::Forbidden, FOREIGN_PAGE));
    }
    Ok(caller)
}

/// Lets a caller in: now, and again when the body has arrived, until when they may have lost their rights. Returns who it is, if that
/// is known.
fn let_in(
    parts: &mut Parts,
    inventory: &Inventory,
    permission: Permission,
) -> Result<Option<Principal>, AuthError> {
    let presented = presented_credential(&parts.headers).map(Cow::into_owned);
    let inventory = inventory.clone();
    let ask = move || {
        let inner = &inventory.inner;
        let principal = inner
            .identity
            .snapshot()
            .authenticate(presented.as_deref(), inner.clock.now());
        may(&inventory, principal, presented.is_some(), permission)
    };
    let caller = ask()?;
    parts
        .extensions
        .insert(AfterBody::new(move || ask().err().map(Problem::from)));
    Ok(caller)
}
