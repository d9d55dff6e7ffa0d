//! Who may read and who may change the inventory. It belongs to the platform: callers of its own organisation with the permission, and
//! anybody where it is open.

use http::HeaderMap;
use identity::{AuthError, DEFAULT_ORG, Permission, Principal};

use crate::surface::Inventory;

/// What a page of another web site is told.
pub(crate) const FOREIGN_PAGE: &str = "pages of other web sites may not change the inventory without a key: create one with `remuda key create NAME --scope inventory:write`, or allow the site in server.allowed_origins";

/// Tells whether a change is one that a page of another web site has a browser ask for. Who has a credential is known; without one only
/// the browser's word tells such a page from a program.
pub(crate) fn is_foreign_page(
    inventory: &Inventory,
    caller: Option<&Principal>,
    headers: &HeaderMap,
) -> bool {
    let is_known = caller.is_some_and(|caller| caller.id().is_some());
    !is_known && inventory.inner.origins.keeps_out(headers)
}

/// Decides about a caller, and returns who it is, if that is known. Who presents a credential is held to it even where the inventory is open.
pub(crate) fn may(
    inventory: &Inventory,
    principal: Result<Principal, AuthError>,
    presented: bool,
    permission: Permission,
) -> Result<Option<Principal>, AuthError> {
    let open = inventory.inner.config.open;
    let principal = match principal {
        Err(AuthError::Missing) if open => return Ok(None),
        other => other?,
    };
    let known = principal.id().is_some();
    if (open && !known) || (principal.org == DEFAULT_ORG && principal.permissions.has(permission)) {
        return Ok(Some(principal));
    }
    if known || presented {
        Err(AuthError::NotPermitted(permission))
    } else {
        Err(AuthError::Missing)
    }
}
