//! What a record shows of things before and after: what the API shows of them, and no secret.

use serde_json::{Value, json};

use crate::invitations::Invitation;
use crate::keys::ApiKey;
use crate::oidc::LinkedIdentity;
use crate::organisations::Organisation;
use crate::roles::CustomRole;
use crate::users::User;

/// A thing as a record shows it.
pub(crate) trait Seen {
    /// Returns its state.
    fn seen(&self) -> Value;
}

impl Seen for User {
    fn seen(&self) -> Value {
        json!({
            "username": self.username,
            "email": self.email,
            "display_name": self.display_name,
            "role": self.role,
            "custom_role": self.custom_role,
            "disabled": self.disabled_at.is_some(),
        })
    }
}

impl Seen for ApiKey {
    fn seen(&self) -> Value {
        json!({
            "name": self.name,
            "prefix": self.prefix,
            "role": self.scope.role(),
            "scopes": self.scope.names(),
            "models": self.models,
            "priority": self.priority,
            "requests_per_minute": self.limits.requests_per_minute,
            "tokens_per_minute": self.limits.tokens_per_minute,
            "tokens_per_month": self.limits.tokens_per_month,
            "share_identical": self.share_identical,
            "expires_at": self.expires_at,
            "revoked": self.revoked_at.is_some(),
        })
    }
}

impl Seen for Invitation {
    fn seen(&self) -> Value {
        json!({"role": self.role, "note": self.note, "expires_at": self.expires_at})
    }
}

impl Seen for Organisation {
    fn seen(&self) -> Value {
        json!({"name": self.name})
    }
}

impl Seen for LinkedIdentity {
    fn seen(&self) -> Value {
        json!({
            "provider": self.provider,
            "issuer": self.issuer,
            "subject": self.subject,
            "email": self.email,
        })
    }
}

impl Seen for CustomRole {
    fn seen(&self) -> Value {
        json!({"description": self.description, "permissions": self.permissions.names()})
    }
}
