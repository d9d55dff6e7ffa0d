//! `[auth]`: who must present a key.

use primitives::Secret;
use serde::Deserialize;

/// Who must present a key.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSection {
    /// Whether inference on loopback needs a key too. Beyond loopback it always does.
    pub required: Option<bool>,
    /// The password of the administrator `admin`, who is made at start while there is none. Usually set as `REMUDA_ADMIN_PASSWORD`.
    pub admin_password: Option<Secret<String>>,
}
