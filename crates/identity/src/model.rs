//! Who calls, and what they may do.

use std::sync::Arc;

use primitives::{Classify, ErrorKind, KeyId, OrgId, SessionId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::organisations::DEFAULT_ORG;
use crate::permission::{Permission, Permissions};

/// What a caller may do in their organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything that is the organisation's: people and keys. In the first organisation: everything.
    Admin,
    /// Inference. What an operator may do beyond a user is not defined yet.
    Operator,
    /// Inference.
    User,
    /// Looking, no inference.
    Viewer,
}

impl Role {
    /// Every role, the most powerful first.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Operator, Self::User, Self::Viewer];

    /// Names the role as it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::User => "user",
            Self::Viewer => "viewer",
        }
    }

    /// Finds a role by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// Returns the less powerful of two roles.
    pub(crate) fn at_most(self, ceiling: Self) -> Self {
        let either = |role: &Self| *role == self || *role == ceiling;
        Self::ALL.into_iter().rfind(either).unwrap_or(ceiling)
    }

    /// Returns what a key with this role may do, as it is stored and shown.
    pub const fn scopes(self) -> &'static [&'static str] {
        match self {
            Self::Admin => &["inference", "admin"],
            Self::Operator => &["inference", "operator"],
            Self::User => &["inference"],
            Self::Viewer => &["viewer"],
        }
    }

    /// Returns the role that the scopes of a stored key amount to. Unknown ones give nothing.
    pub(crate) fn from_scopes(scopes: &[String]) -> Self {
        let has = |name: &str| scopes.iter().any(|scope| scope == name);
        if has("admin") {
            Self::Admin
        } else if has("operator") {
            Self::Operator
        } else if has("inference") {
            Self::User
        } else {
            Self::Viewer
        }
    }
}

/// How soon a request may be served, the soonest first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum PriorityClass {
    /// A person waits for the answer.
    Interactive,
    /// Nothing is said about it.
    Default,
    /// Nobody waits.
    Batch,
}

impl PriorityClass {
    /// Every class, the soonest first.
    pub const ALL: [Self; 3] = [Self::Interactive, Self::Default, Self::Batch];

    /// Names the class as it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Default => "default",
            Self::Batch => "batch",
        }
    }

    /// Finds a class by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == name)
    }
}

/// How much a key may use. Absent: as much as there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyLimits {
    /// Requests in any minute, at least one.
    pub requests_per_minute: Option<u32>,
    /// Tokens, of prompts and answers together, in any minute, at least one.
    pub tokens_per_minute: Option<u64>,
    /// Tokens, of prompts and answers together, in a calendar month (UTC), at least one.
    pub tokens_per_month: Option<u64>,
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
    /// The person behind the caller: themselves, or whom the key belongs to. Nobody for anonymous callers and keys of nobody.
    pub user: Option<UserId>,
    /// The session, for callers with one.
    pub session: Option<SessionId>,
    /// The key's or the person's name, for records.
    pub name: Arc<str>,
    /// The organisation the caller belongs to: whose share of the fleet is used, and whose things may be seen.
    pub org: OrgId,
    /// What the caller may do, as far as a role says it: at least as little as they may.
    pub role: Role,
    /// What the caller may do within their organisation.
    pub permissions: Permissions,
    /// The models the caller may use; all when absent. A pattern may end in `*`.
    pub models: Option<Arc<[String]>>,
    /// The soonest class the caller's requests may have; any when absent.
    pub priority: Option<PriorityClass>,
    /// How much the caller may use.
    pub limits: KeyLimits,
    /// Whether an answer to the caller's request may serve an identical one of their organisation, and the other way round. Only
    /// where it was asked for: it shows that somebody else asked the same.
    pub shares_identical: bool,
}

impl Principal {
    pub(crate) fn anonymous() -> Self {
        Self {
            kind: PrincipalKind::Anonymous,
            user: None,
            session: None,
            name: "anonymous".into(),
            org: DEFAULT_ORG,
            role: Role::User,
            permissions: Role::User.permissions(),
            models: None,
            priority: None,
            limits: KeyLimits::default(),
            shares_identical: false,
        }
    }

    /// Tells whether the caller administers the platform: nodes, models and all organisations.
    pub fn is_platform_admin(&self) -> bool {
        self.role == Role::Admin && self.org == DEFAULT_ORG
    }

    /// Tells whether the caller may have models answer.
    pub fn may_infer(&self) -> bool {
        self.role != Role::Viewer
    }

    /// Returns the class of a request that asks for `wanted`: no sooner than the caller may have it.
    pub fn priority_of(&self, wanted: PriorityClass) -> PriorityClass {
        self.priority.map_or(wanted, |ceiling| wanted.max(ceiling))
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
    /// The credential was valid when the database was last in reach, which is too long ago.
    #[error("the credential cannot be confirmed")]
    Stale,
    /// The caller is known, but this takes a permission that they do not have.
    #[error("the caller has not the permission {0}")]
    NotPermitted(Permission),
    /// The caller is known, but this is for administrators.
    #[error("the caller is not an administrator")]
    NotAdmin,
    /// The caller administers an organisation, but this is for administrators of the platform.
    #[error("the caller does not administer the platform")]
    NotPlatformAdmin,
}

impl Classify for AuthError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing | Self::Unknown | Self::Expired => ErrorKind::Unauthenticated,
            Self::Stale => ErrorKind::Unavailable,
            Self::NotPermitted(_) | Self::NotAdmin | Self::NotPlatformAdmin => ErrorKind::Forbidden,
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Missing => "an API key is required: send it as `Authorization: Bearer KEY` (an administrator makes one with `remuda key create NAME`)",
            Self::Unknown => "the API key or session is not valid: check it, or make a new key with `remuda key create NAME`",
            Self::Expired => "the API key or session has expired: sign in again with `remuda login`, or make a new key with `remuda key create NAME`",
            Self::Stale => "keys and sessions cannot be confirmed: the database has been out of reach for longer than [auth] max_staleness; bring it back",
            Self::NotPermitted(permission) => {
                return format!(
                    "this needs an administrator, or a role or key with the permission {permission}: sign in with `remuda login`"
                );
            }
            Self::NotAdmin => "this needs an administrator: sign in with `remuda login`, or use a key with the admin role",
            Self::NotPlatformAdmin => "this concerns all organisations: ask an administrator of the platform",
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

    #[test]
    fn roles_survive_being_stored_as_scopes() {
        for role in Role::ALL {
            let scopes: Vec<String> = role.scopes().iter().map(|&s| s.to_owned()).collect();
            assert_eq!(Role::from_scopes(&scopes), role);
            assert_eq!(Role::from_name(role.as_str()), Some(role));
        }
        assert_eq!(
            Role::from_scopes(&["something new".to_owned()]),
            Role::Viewer
        );
    }

    #[test]
    fn a_ceiling_only_lowers_the_class() {
        let any = Principal::anonymous();
        let low = Principal {
            priority: Some(PriorityClass::Default),
            ..Principal::anonymous()
        };
        for class in PriorityClass::ALL {
            assert_eq!(any.priority_of(class), class);
        }
        assert_eq!(
            low.priority_of(PriorityClass::Interactive),
            PriorityClass::Default
        );
        assert_eq!(low.priority_of(PriorityClass::Batch), PriorityClass::Batch);
    }
}
