//! Who may: organisations, their people, sessions and API keys, and the snapshot that authenticates requests without the database.
//!
//! Secrets are made here, shown once and stored as hashes. Every change is one transaction; after its commit the snapshot is
//! renewed, and a periodic reconcile picks up what other replicas changed. Nothing here is called with the database on the
//! inference path: that path sees [`Snapshot`] only.

mod access_token;
mod argon;
mod audit;
mod caller_now;
mod credential;
mod extract;
mod idempotency;
mod identity;
mod invitations;
pub mod journal;
mod key_edit;
mod key_list;
mod key_scope;
mod keys;
mod known_tokens;
mod last_used;
pub mod limits;
mod listing;
mod lists;
mod lockout;
mod metrics;
mod model;
mod oidc;
mod organisations;
mod origin;
mod password;
mod password_reset;
mod permission;
mod privacy;
mod profile;
mod reconcile;
mod refused_passwords;
mod registration;
mod renewal;
mod reseal;
mod roles;
mod routes;
mod second_factor;
mod sessions;
mod setup;
mod sign_in;
mod signing;
mod snapshot;
mod store;
mod totp;
mod user_list;
mod users;

pub use access_token::TokenError;
pub use audit::{AuditFilter, AuditRecord, Broken, ChainError, ChainState, ListAuditError};
pub use credential::presented_credential;
pub use extract::{Admin, Caller, OrgAdmin};
pub use identity::{AuthConfig, Identity, OpenError, Policies};
pub use invitations::{Invitation, InvitationError, InvitationRequest};
pub use key_edit::{EditKeyError, KeyEdit};
pub use key_list::KeyFilter;
pub use key_scope::KeyScope;
pub use keys::{ApiKey, CreateKeyError, KeyRequest, KeyStatus, ListKeysError, RevokeKeyError};
pub use listing::{Listing, Sort};
pub use model::{AuthError, KeyLimits, Principal, PrincipalKind, PriorityClass, Role};
pub use oidc::{
    Arrival, Departure, IdTokenError, LinkedIdentity, OidcConfig, OidcError, OidcProvider, Pkce,
    RoleRule, UnlinkError, is_safe_provider,
};
pub use organisations::{
    CreateOrganisationError, DEFAULT_ORG, ListOrganisationsError, OrgScope, Organisation,
    UnknownOrganisation,
};
pub use origin::Origin;
pub use password::PasswordError;
pub use password_reset::{PasswordReset, PasswordResetError};
pub use permission::{Beyond, Permission, Permissions};
pub use privacy::{
    DataSubject, EraseError, Erased, Erasure, ExportError, ExportWriter, Exporting, Gone, Kept,
    PartError, PersonalData, Reader, Work,
};
pub use profile::ProfileEdit;
pub use registration::{Registration, RegistrationError, RegistrationRequest};
pub use reseal::Resealed;
pub use roles::{CustomRole, RoleEdit, RoleError};
pub use second_factor::{Enrolment, SecondFactor, SecondFactorError};
pub use sessions::{RefreshError, Session, SessionError, SignIn};
pub use setup::{SetupError, SetupState};
pub use sign_in::{SignInError, SignInRequest};
pub use snapshot::Snapshot;
pub use user_list::UserFilter;
pub use users::{User, UserEdit, UserError, UserRequest, WantedRole};
