//! Who may: organisations, their people, sessions and API keys, and the snapshot that authenticates requests without the database.
//!
//! Secrets are made here, shown once and stored as hashes. Every change is one transaction; after its commit the snapshot is
//! renewed, and a periodic reconcile picks up what other replicas changed. Nothing here is called with the database on the
//! inference path: that path sees [`Snapshot`] only.

mod argon;
mod credential;
mod extract;
mod identity;
mod keys;
mod last_used;
mod lockout;
mod model;
mod organisations;
mod password;
mod reconcile;
mod routes;
mod setup;
mod sign_in;
mod snapshot;
mod store;
mod users;

pub use credential::presented_credential;
pub use extract::{Admin, Caller, OrgAdmin};
pub use identity::{AuthConfig, Identity, OpenError};
pub use keys::{ApiKey, CreateKeyError, KeyRequest, KeyStatus, ListKeysError, RevokeKeyError};
pub use model::{AuthError, KeyLimits, Principal, PrincipalKind, PriorityClass, Role};
pub use organisations::{
    CreateOrganisationError, DEFAULT_ORG, ListOrganisationsError, OrgScope, Organisation,
    UnknownOrganisation,
};
pub use password::PasswordError;
pub use setup::{SetupError, SetupState};
pub use sign_in::{SignIn, SignInError};
pub use snapshot::Snapshot;
pub use users::{User, UserEdit, UserError, UserRequest};
