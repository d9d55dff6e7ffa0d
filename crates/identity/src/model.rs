//! Who calls, and what they may do.

use std::sync::Arc;

use primitives::{Classify, ErrorKind, KeyId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything: nodes, keys, users, all records.
    Admin,
    /// Inference.
    User,
}

impl Role {
    /// Names the role as it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::User => "user",
        }
    }
}

/// By what the caller is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// By nothing: a caller on this machine, where no key is required.
    Anonymous,
    /// By an API key.
    Key(KeyId),
    /// By a session of this person.
    User(UserId),
}

impl PrincipalKind {
    /// Names the kind as it is recorded and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Key(_) => "key",
            Self::User(_) => "user",
        }
    }
}

/// A caller whose credential was checked. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Principal {
    /// By what the caller is known.
    pub kind: PrincipalKind,
    /// The key's or the person's name, for records.
    pub name: Arc<str>,
    /// What the caller may do.
    pub role: Role,
    /// The models the caller may use; all when absent. A pattern may end in `*`.
    pub models: Option<Arc<[String]>>,
}

impl Principal {
    pub(crate) fn anonymous() -> Self {
        Self {
            kind: PrincipalKind::Anonymous,
            name: "anonymous".into(),
            role: Role::User,
            models: None,
        }
    }

    /// Tells whether the caller may use the model. As in the fleet, case and a `:latest` tag make no difference.
    pub fn may_use(&self, model: &str) -> bool {
        self.models
            .as_deref()
            .is_none_or(|patterns| patterns.iter().any(|pattern| matches(pattern, model)))
    }

    /// Returns the id of the key or the person, for records.
    pub fn id(&self) -> Option<String> {
        match self.kind {
            PrincipalKind::Anonymous => None,
            PrincipalKind::Key(id) => Some(id.to_string()),
            PrincipalKind::User(id) => Some(id.to_string()),
        }
    }
}

fn matches(pattern: &str, model: &str) -> bool {
    if let Some(start) = pattern.strip_suffix('*') {
        return model
            .as_bytes()
            .get(..start.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()));
    }
    untagged(pattern).eq_ignore_ascii_case(untagged(model))
}

fn untagged(name: &str) -> &str {
    const LATEST: &str = ":latest";
    let split = name.len().saturating_sub(LATEST.len());
    match (name.get(..split), name.get(split..)) {
        (Some(bare), Some(tag)) if tag.eq_ignore_ascii_case(LATEST) => bare,
        _ => name,
    }
}

/// Why a caller was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No credential was presented, and one is required.
    #[error("no credential was presented")]
    Missing,
    /// The credential is not one of ours, or was revoked.
    #[error("the credential is not valid")]
    Unknown,
    /// The credential was valid until some time ago.
    #[error("the credential has expired")]
    Expired,
    /// The caller is known, but this is for administrators.
    #[error("the caller is not an administrator")]
    NotAdmin,
}

impl Classify for AuthError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing | Self::Unknown | Self::Expired => ErrorKind::Unauthenticated,
            Self::NotAdmin => ErrorKind::Forbidden,
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Missing => "an API key is required: send it as `Authorization: Bearer KEY` (an administrator makes one with `remuda key create NAME`)",
            Self::Unknown => "the API key or session is not valid: check it, or make a new key with `remuda key create NAME`",
            Self::Expired => "the API key or session has expired: sign in again with `remuda login`, or make a new key with `remuda key create NAME`",
            Self::NotAdmin => "this needs an administrator: sign in with `remuda login`, or use a key with the admin role",
        }
        .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(patterns: &[&str]) -> Principal {
        Principal {
            models: Some(patterns.iter().map(|&pattern| pattern.to_owned()).collect()),
            ..Principal::anonymous()
        }
    }

    #[test]
    fn names_match_without_case_and_latest() {
        let principal = limited(&["Llama3", "qwen2:7b", "phi*"]);
        for model in [
            "llama3",
            "llama3:latest",
            "LLAMA3:LATEST",
            "qwen2:7b",
            "phi",
            "Phi-3:mini",
        ] {
            assert!(principal.may_use(model), "{model}");
        }
        for model in ["llama3:8b", "qwen2", "ph", "xphi", "", "é"] {
            assert!(!principal.may_use(model), "{model}");
        }
    }

    #[test]
    fn no_list_allows_all_and_an_empty_list_nothing() {
        assert!(Principal::anonymous().may_use("anything"));
        assert!(!limited(&[]).may_use("anything"));
        assert!(limited(&["*"]).may_use("anything"));
    }
}
