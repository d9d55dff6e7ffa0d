//! From what a provider states to an account: linked, found by a confirmed address, or made.

use ::store::{StoreError, Tx};
use primitives::{Classify, ErrorKind, Secret, Timestamp, UserId};
use serde_json::json;

use super::error::OidcError;
use super::exchange::Statement;
use super::provider::OidcProvider;
use crate::audit::{Action, Actor, Change, Seen as _, record};
use crate::extract::Caller;
use crate::identity::Identity;
use crate::model::{PrincipalKind, Role};
use crate::organisations::{DEFAULT_ORG, OrgScope};
use crate::origin::Origin;
use crate::password::NO_PASSWORD;
use crate::permission::Rights;
use crate::profile::ProfileEdit;
use crate::sessions::{SignIn, start_session};
use crate::setup::normalised_username;
use crate::sign_in::SignInError;
use crate::store;
use crate::users::{User, add};

/// How many names are tried for somebody whose own is taken.
const NAMES_TRIED: u32 = 50;
/// The most characters of a name that a number is added to.
const LONGEST_STEM: usize = 80;

/// Who a person is at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedIdentity {
    /// The provider's issuer.
    pub issuer: String,
    /// The person there.
    pub subject: String,
    /// The provider's name here, when it was linked.
    pub provider: String,
    /// The address that the provider had confirmed.
    pub email: Option<String>,
    /// When it was linked.
    pub created_at: Timestamp,
    /// When the person signed in by it last.
    pub last_sign_in_at: Option<Timestamp>,
}

/// Why an identity was not unlinked.
#[derive(Debug, thiserror::Error)]
pub enum UnlinkError {
    /// Keys and anonymous callers have none.
    #[error("only people who are signed in have identities")]
    NoPerson,
    /// There is none of this provider.
    #[error("you are not linked to an identity of {0:?}")]
    Unknown(String),
    /// The person has no password, so that nothing would lead back.
    #[error("this is your only way to sign in")]
    LastWay,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for UnlinkError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoPerson => ErrorKind::Forbidden,
            Self::Unknown(_) => ErrorKind::NotFound,
            Self::LastWay => ErrorKind::Conflict,
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::NoPerson => format!("{self}: sign in with `remuda login`"),
            Self::Unknown(_) => format!("{self}: `GET /api/v1/me/identities` shows yours"),
            Self::LastWay => format!("{self}: have an administrator reset your password first"),
            Self::Store(error) => error.public_message(),
        }
    }
}

impl Identity {
    /// Signs a person in with a ticket, for who holds its verifier. A second factor of ours is asked for all the same.
    pub async fn oidc_sign_in(
        &self,
        ticket: &str,
        verifier: &str,
        code: Option<Secret<String>>,
        origin: &Origin,
    ) -> Result<SignIn, OidcError> {
        let outcome = self.signed_in(ticket, verifier, code, origin).await;
        self.judge(ticket, outcome).await
    }

    async fn signed_in(
        &self,
        ticket: &str,
        verifier: &str,
        code: Option<Secret<String>>,
        origin: &Origin,
    ) -> Result<SignIn, OidcError> {
        let now = self.inner.clock.now();
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        let (provider, statement) = self.take_ticket(&mut tx, ticket, verifier).await?;
        let config = &self.oidc()?.find(&provider)?.config;
        let id = match owner(&mut tx, &statement).await? {
            Some(id) => id,
            None => self.welcome(&mut tx, config, &statement, origin).await?,
        };
        let found = store::find_user_by_id(&mut tx, OrgScope::All, id).await?;
        let mut user = found.ok_or(OidcError::NoAccount)?;
        if user.disabled_at.is_some() {
            return Err(OidcError::Disabled);
        }
        let account = store::find_account(&mut tx, &user.username)
            .await?
            .ok_or(OidcError::NoAccount)?;
        if account.second_factor {
            let at = self.inner.clock.monotonic();
            let code = code.ok_or(SignInError::CodeMissing)?;
            self.inner
                .by_account
                .attempt(&user.username, at)
                .map_err(|wait| SignInError::TooManyAttempts { wait })?;
            let taken = self.take_code(&mut tx, id, &code).await;
            if !taken.map_err(SignInError::from)? {
                return Err(SignInError::WrongCode.into());
            }
        }
        let changed = follow_rule(&mut tx, config, &statement, &mut user, now).await?;
        let started = start_session(&mut tx, id, &account.password_hash, origin, now)
            .await?
            .ok_or(OidcError::NoAccount)?;
        store::touch_identity(&mut tx, &statement.issuer, &statement.subject, now).await?;
        let change = Change {
            action: Action::SignIn,
            org: Some(user.org_id),
            subject: ("session", Some(started.held.session.to_string())),
            old: None,
            new: Some(json!({"second_factor": account.second_factor, "provider": provider})),
        };
        let actor = Actor::person(id, &user.username, origin);
        record(&mut tx, now, &actor, change).await?;
        tx.commit().await?;
        self.inner.by_account.succeed(&user.username);
        if changed {
            self.restricted(id, Some(Rights::of_role(user.role))).await;
        } else {
            self.published().await;
        }
        self.oidc()?.signed_in(origin);
        Ok(self.issued(started).map_err(SignInError::from)?)
    }

    /// Links the identity of a ticket to the caller, who is signed in and holds its verifier.
    pub async fn oidc_link(
        &self,
        caller: &Caller,
        ticket: &str,
        verifier: &str,
    ) -> Result<LinkedIdentity, OidcError> {
        let outcome = self.linked(caller, ticket, verifier).await;
        self.judge(ticket, outcome).await
    }

    async fn linked(
        &self,
        caller: &Caller,
        ticket: &str,
        verifier: &str,
    ) -> Result<LinkedIdentity, OidcError> {
        let PrincipalKind::User(id) = caller.principal().kind else {
            return Err(OidcError::NoPerson);
        };
        let now = self.inner.clock.now();
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        let (provider, statement) = self.take_ticket(&mut tx, ticket, verifier).await?;
        if owner(&mut tx, &statement).await?.is_some() {
            return Err(OidcError::Taken);
        }
        if store::has_identity_of(&mut tx, id, &statement.issuer).await? {
            return Err(OidcError::Linked);
        }
        let identity = identity(&provider, &statement, now);
        store::insert_identity(&mut tx, id, &identity).await?;
        let change = Change {
            action: Action::IdentityLink,
            org: Some(caller.principal().org),
            subject: ("user", Some(id.to_string())),
            old: None,
            new: Some(identity.seen()),
        };
        record(&mut tx, now, &caller.actor(), change).await?;
        tx.commit().await?;
        self.oidc()?.linked(caller.origin());
        Ok(identity)
    }

    /// Lists the caller's identities.
    pub async fn list_identities(
        &self,
        caller: &Caller,
    ) -> Result<Vec<LinkedIdentity>, UnlinkError> {
        let PrincipalKind::User(id) = caller.principal().kind else {
            return Err(UnlinkError::NoPerson);
        };
        let mut tx = self.inner.db.read().await?;
        let found = store::list_identities(&mut tx, id).await?;
        tx.commit().await?;
        Ok(found)
    }

    /// Unlinks the caller's identity of a provider. Sessions that began by it go on.
    pub async fn unlink_identity(
        &self,
        caller: &Caller,
        provider: &str,
    ) -> Result<(), UnlinkError> {
        let PrincipalKind::User(id) = caller.principal().kind else {
            return Err(UnlinkError::NoPerson);
        };
        let now = self.inner.clock.now();
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        let removed = store::delete_identity(&mut tx, id, provider)
            .await?
            .ok_or_else(|| UnlinkError::Unknown(provider.to_owned()))?;
        let account = store::find_account(&mut tx, &caller.principal().name).await?;
        if account.is_none_or(|account| account.password_hash == NO_PASSWORD)
            && store::list_identities(&mut tx, id).await?.is_empty()
        {
            return Err(UnlinkError::LastWay);
        }
        let change = Change {
            action: Action::IdentityUnlink,
            org: Some(caller.principal().org),
            subject: ("user", Some(id.to_string())),
            old: Some(removed.seen()),
            new: None,
        };
        record(&mut tx, now, &caller.actor(), change).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Counts failures, and makes sure that a ticket which somebody else may hold is good no more.
    async fn judge<T>(&self, ticket: &str, outcome: Result<T, OidcError>) -> Result<T, OidcError> {
        match &outcome {
            Err(OidcError::Ticket) => self.burn_ticket(ticket).await?,
            Err(OidcError::SignIn(SignInError::CodeMissing)) | Ok(_) => return outcome,
            Err(_) => {}
        }
        if let Ok(oidc) = self.oidc() {
            oidc.refused();
        }
        outcome
    }

    /// Finds or makes the account of an identity that is nobody's yet.
    async fn welcome(
        &self,
        tx: &mut Tx,
        config: &OidcProvider,
        statement: &Statement,
        origin: &Origin,
    ) -> Result<UserId, OidcError> {
        let now = self.inner.clock.now();
        let identity = identity(&config.name, statement, now);
        let known = match by_address(tx, config, statement).await? {
            Some(user) => Some((user, Action::IdentityLink)),
            None if config.provision => {
                let user = provision(tx, config, statement, now).await?;
                Some((user, Action::UserProvision))
            }
            None => None,
        };
        let (user, action) = known.ok_or(OidcError::NoAccount)?;
        store::insert_identity(tx, user.id, &identity).await?;
        let mut new = identity.seen();
        if action == Action::UserProvision {
            new["user"] = user.seen();
        }
        let change = Change {
            action,
            org: Some(user.org_id),
            subject: ("user", Some(user.id.to_string())),
            old: None,
            new: Some(new),
        };
        let actor = Actor::person(user.id, &user.username, origin);
        record(tx, now, &actor, change).await?;
        Ok(user.id)
    }
}

async fn owner(tx: &mut Tx, statement: &Statement) -> Result<Option<UserId>, StoreError> {
    store::find_identity_owner(tx, &statement.issuer, &statement.subject).await
}

fn identity(provider: &str, statement: &Statement, now: Timestamp) -> LinkedIdentity {
    LinkedIdentity {
        issuer: statement.issuer.clone(),
        subject: statement.subject.clone(),
        provider: provider.to_owned(),
        email: statement.email.clone(),
        created_at: now,
        last_sign_in_at: None,
    }
}

/// Finds the account with the address that the provider has confirmed. Who administers the platform links by being signed in only, and
/// whoever is linked to another identity of the provider is somebody else.
async fn by_address(
    tx: &mut Tx,
    config: &OidcProvider,
    statement: &Statement,
) -> Result<Option<User>, OidcError> {
    let Some(email) = statement.email.as_ref().filter(|_| config.link_by_email) else {
        return Ok(None);
    };
    let Some(id) = store::find_user_by_email(tx, &email.to_lowercase()).await? else {
        return Ok(None);
    };
    if store::has_identity_of(tx, id, &statement.issuer).await? {
        return Err(OidcError::NoAccount);
    }
    let user = store::find_user_by_id(tx, OrgScope::All, id).await?;
    match user {
        Some(user) if user.role == Role::Admin && user.org_id == DEFAULT_ORG => {
            Err(OidcError::NoAccount)
        }
        user => Ok(user),
    }
}

/// Makes an account without a password.
async fn provision(
    tx: &mut Tx,
    config: &OidcProvider,
    statement: &Statement,
    now: Timestamp,
) -> Result<User, OidcError> {
    let (org_id, role) = match &statement.granted {
        Some(granted) => {
            let org = match &granted.organisation {
                None => DEFAULT_ORG,
                Some(name) => store::find_organisation_named(tx, name)
                    .await?
                    .ok_or_else(|| OidcError::NoOrganisation(name.clone()))?,
            };
            (org, granted.role)
        }
        None if config.rules.is_empty() => (DEFAULT_ORG, Role::User),
        None => return Err(OidcError::NoRole),
    };
    let mut user = User {
        id: UserId::generate(now),
        org_id,
        username: free_name(tx, statement).await?,
        email: None,
        display_name: None,
        role,
        custom_role: None,
        created_at: now,
        disabled_at: None,
    };
    let email = statement.email.as_ref().map(|email| email.to_lowercase());
    let email = match email {
        Some(email) if store::find_user_by_email(tx, &email).await?.is_none() => Some(email),
        _ => None,
    };
    // What does not fit is left out: it is the provider's, not theirs to correct.
    for edit in [
        ProfileEdit {
            email,
            display_name: None,
        },
        ProfileEdit {
            email: None,
            display_name: statement.name.clone(),
        },
    ] {
        if let Err(error) = edit.apply(&mut user) {
            tracing::debug!(%error, "what a provider tells of somebody does not fit");
        }
    }
    add(tx, &user, NO_PASSWORD.to_owned()).await?;
    Ok(user)
}

/// Returns a name that is not taken: the one they have at the provider, or one like it.
async fn free_name(tx: &mut Tx, statement: &Statement) -> Result<String, OidcError> {
    let own = [&statement.username, &statement.email]
        .into_iter()
        .flatten()
        .find_map(|name| normalised_username(name));
    let own = own.unwrap_or_else(|| "user".to_owned());
    for number in 1..=NAMES_TRIED {
        let name = if number == 1 {
            own.clone()
        } else {
            let stem: String = own.chars().take(LONGEST_STEM).collect();
            format!("{stem}-{number}")
        };
        if !store::is_username_taken(tx, &name).await? {
            return Ok(name);
        }
    }
    let random = hex::encode(rand::random::<[u8; 6]>());
    Ok(format!("user-{random}"))
}

/// Gives the person the role that the rules give, where they shall follow. Tells whether it was another.
async fn follow_rule(
    tx: &mut Tx,
    config: &OidcProvider,
    statement: &Statement,
    user: &mut User,
    now: Timestamp,
) -> Result<bool, OidcError> {
    if !config.sync_roles || config.rules.is_empty() {
        return Ok(false);
    }
    let granted = statement.granted.as_ref().ok_or(OidcError::NoRole)?;
    let org = match &granted.organisation {
        None => Some(DEFAULT_ORG),
        Some(name) => store::find_organisation_named(tx, name).await?,
    };
    if org != Some(user.org_id) {
        return Err(OidcError::NoRole);
    }
    if granted.role == user.role && user.custom_role.is_none() {
        return Ok(false);
    }
    if user.administers() && !store::has_other_admin(tx, user.org_id, user.id).await? {
        tracing::warn!(user = %user.id, "a rule would take the role of the last administrator: it is kept");
        return Ok(false);
    }
    let old = user.seen();
    user.role = granted.role;
    user.custom_role = None;
    store::update_user(tx, user, Some(user.role)).await?;
    let change = Change {
        action: Action::UserEdit,
        org: Some(user.org_id),
        subject: ("user", Some(user.id.to_string())),
        old: Some(old),
        new: Some(user.seen()),
    };
    record(tx, now, &Actor::system(), change).await?;
    Ok(true)
}
