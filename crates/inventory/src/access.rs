//! Who may read and who may change the inventory. It belongs to the platform: callers of its own organisation with the permission, and
//! anybody where it is open.

use identity::{AuthError, DEFAULT_ORG, Permission, Principal};

use crate::surface::Inventory;

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
