//! Sessions: begun by signing in, held with a refresh token that is replaced at each use, ended by whom they belong to.
//!
//! A refresh token works once. Whoever presents a spent one again shows that two hold the same session, of whom one may have stolen
//! it: the session ends for both (RFC 9700, section 4.14.2). But answers get lost, pages are reloaded while one is under way, and
//! two tabs may refresh at once: for a moment, and as long as its successor was not used, a spent token is answered with that same
//! successor.

use std::time::Duration;

use ::store::{SealError, StoreError, Tx};
use primitives::{
    Classify, Cursor, ErrorKind, InvalidCursor, OrgId, Page, PageRequest, Secret, SessionId,
    Timestamp, UserId,
};

use crate::access_token::{self, TokenError};
use crate::audit::{Action, Actor, Change, record, record_about};
use crate::credential::{CredentialKind, SecretHash, generate};
use crate::extract::{Caller, OrgAdmin};
use crate::identity::Identity;
use crate::model::PrincipalKind;
use crate::origin::Origin;
use crate::permission::Beyond;
use crate::roles::rights_of;
use crate::snapshot::UsageOwner;
use crate::store::{self, Held, SessionRow};

/// How long a session lasts.
const SESSION_LIFE: Duration = Duration::from_hours(24);
/// A session that is used this short before its end lasts as long again.
const RENEWED_WITHIN: Duration = Duration::from_hours(1);
/// For so long a refresh that is repeated is answered as the first time.
const REPEATED_WITHIN: Duration = Duration::from_secs(10);
/// The most sessions of one person; the oldest end first.
const SESSIONS_PER_USER: i64 = 100;

/// A session as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends unless it is used in its last hour.
    pub expires_at: Timestamp,
    /// When it was last used, as far as that is stored.
    pub last_used_at: Option<Timestamp>,
    /// The address that it began from.
    pub ip: Option<String>,
    /// The program that it began with, as that calls itself.
    pub user_agent: Option<String>,
}

/// What a person gets who signed in or refreshed. The secrets are told only now.
#[derive(Debug)]
pub struct SignIn {
    /// What to present as `Authorization: Bearer`.
    pub access_token: Secret<String>,
    /// When the access token ends.
    pub access_expires_at: Timestamp,
    /// What to get the next access token with; works once.
    pub refresh_token: Secret<String>,
    /// The session.
    pub session: SessionId,
    /// When the session ends unless it is used in its last hour.
    pub session_expires_at: Timestamp,
}

/// A session within the transaction that begins or continues it.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) held: Held,
    pub(crate) refresh_token: Secret<String>,
    /// Older ones that ended for it.
    pub(crate) ended: Vec<SessionId>,
}

/// What a spent token may mean.
enum Again {
    /// The answer to its first use may not have been heard.
    Unheard(Started),
    /// Two hold the session.
    Reused(SessionId),
}

/// Why nobody was given another access token.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The token is not one of ours, or its session has ended.
    #[error("the refresh token is not valid")]
    Unknown,
    /// The next token could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The token was used before: its session has ended now.
    #[error("the refresh token was used before")]
    Reused,
    /// No access token could be issued.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for RefreshError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown | Self::Reused => ErrorKind::Unauthenticated,
            Self::Token(error) => error.kind(),
            Self::Seal(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Unknown => format!("{self}, or its session has ended: sign in again"),
            Self::Reused => {
                format!("{self}, so that two may hold this session: it has ended, sign in again")
            }
            Self::Token(error) => error.public_message(),
            Self::Seal(error) => error.public_message(),
            Self::Store(error) => error.public_message(),
        }
    }
}

impl Classify for TokenError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable
    }

    fn public_message(&self) -> String {
        format!("{self}: the log has the reason, try again later")
    }
}

/// Why sessions were not listed or ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The caller is no person: keys and anonymous callers have no sessions.
    #[error("only people who are signed in have sessions")]
    NoPerson,
    /// There is no such session, as far as the caller may know.
    #[error("there is no session {0}")]
    Unknown(SessionId),
    /// There is no such person, as far as the caller may know.
    #[error("there is no user {0}")]
    UnknownUser(UserId),
    /// It concerns somebody who has more than the caller.
    #[error(transparent)]
    Beyond(#[from] Beyond),
    /// The cursor is not ours.
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for SessionError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoPerson => ErrorKind::Forbidden,
            Self::Unknown(_) | Self::UnknownUser(_) => ErrorKind::NotFound,
            Self::Beyond(error) => error.kind(),
            Self::Cursor(_) => ErrorKind::Invalid,
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Beyond(error) => error.public_message(),
            Self::NoPerson => format!("{self}: sign in with `remuda login`"),
            Self::Unknown(_) => format!("{self}: `remuda session list` shows yours"),
            Self::UnknownUser(_) => format!("{self}: `GET /api/v1/users` shows those you may see"),
            Self::Cursor(error) => error.to_string(),
            Self::Store(error) => error.public_message(),
        }
    }
}

/// Makes a session of the user within the caller's transaction. Returns `None` when the password that was verified is theirs no
/// more, or they were disabled meanwhile.
pub(crate) async fn start_session(
    tx: &mut Tx,
    user: UserId,
    verified_hash: &str,
    origin: &Origin,
    now: Timestamp,
) -> Result<Option<Started>, StoreError> {
    let refresh_token = generate(CredentialKind::Refresh);
    let held = Held {
        session: SessionId::generate(now),
        user,
        expires_at: now.after(SESSION_LIFE),
    };
    let row = SessionRow {
        id: held.session,
        user_id: user,
        token_hash: SecretHash::of(refresh_token.expose()),
        created_at: now,
        expires_at: held.expires_at,
        origin,
    };
    if !store::insert_session(tx, &row, verified_hash).await? {
        return Ok(None);
    }
    let ended = store::trim_sessions(tx, user, SESSIONS_PER_USER, now).await?;
    Ok(Some(Started {
        held,
        refresh_token,
        ended,
    }))
}

impl Identity {
    /// Issues the access token of a session whose transaction is committed.
    pub(crate) fn issued(&self, started: Started) -> Result<SignIn, TokenError> {
        let Started {
            held,
            refresh_token,
            ended: _,
        } = started;
        let snapshot = self.snapshot();
        let (access_token, access_expires_at) = access_token::issue(
            snapshot.signing(),
            &self.inner.issuer,
            (held.user, held.session, held.expires_at),
            self.inner.clock.now(),
        )?;
        Ok(SignIn {
            access_token,
            access_expires_at,
            refresh_token,
            session: held.session,
            session_expires_at: held.expires_at,
        })
    }

    /// Gives the next access token for a refresh token, and the next refresh token. A session in its last hour lasts another 24.
    pub async fn refresh(&self, token: &str) -> Result<SignIn, RefreshError> {
        let result = self.refreshed(token).await;
        self.inner.metrics.refreshed(&result);
        result
    }

    async fn refreshed(&self, token: &str) -> Result<SignIn, RefreshError> {
        let hash = SecretHash::of(token);
        let now = self.inner.clock.now();
        let mut tx = self.inner.db.read().await?;
        let found = store::find_held(&mut tx, &hash, now).await?;
        let again = match found {
            Some(_) => None,
            None => self.again(&mut tx, &hash, now).await?,
        };
        tx.commit().await?;
        if let Some(again) = again {
            return self.answer_again(again).await;
        }
        let mut held = found.ok_or(RefreshError::Unknown)?;
        let renewed = held.expires_at <= now.after(RENEWED_WITHIN);
        let refresh_token = generate(CredentialKind::Refresh);
        let next = store::Successor {
            hash: SecretHash::of(refresh_token.expose()),
            sealed: self.inner.sealer.seal(
                &successor_of(held.session),
                refresh_token.expose().as_bytes(),
            )?,
        };
        let mut tx = self.inner.db.write().await?;
        if renewed {
            held.expires_at = now.after(SESSION_LIFE);
            store::advance_generation_for(&mut tx, held.session).await?;
        }
        if !store::rotate_session(&mut tx, held, (&hash, next), now).await? {
            // Another request presented the same token at the same time.
            let again = self.again(&mut tx, &hash, now).await?;
            tx.commit().await?;
            return self.answer_again(again.ok_or(RefreshError::Unknown)?).await;
        }
        tx.commit().await?;
        if renewed {
            self.published().await;
        }
        let started = Started {
            held,
            refresh_token,
            ended: Vec::new(),
        };
        Ok(self.issued(started)?)
    }

    /// Finds out what a token is that holds no session. Returns `None` when it never held one.
    async fn again(
        &self,
        tx: &mut Tx,
        hash: &SecretHash,
        now: Timestamp,
    ) -> Result<Option<Again>, StoreError> {
        let Some(spent) = store::find_spent(tx, hash).await? else {
            return Ok(None);
        };
        if now.since(spent.at) <= REPEATED_WITHIN
            && let Some(refresh_token) = self.successor(&spent)
        {
            let hash = SecretHash::of(refresh_token.expose());
            if let Some(held) = store::find_held(tx, &hash, now).await? {
                return Ok(Some(Again::Unheard(Started {
                    held,
                    refresh_token,
                    ended: Vec::new(),
                })));
            }
        }
        Ok(Some(Again::Reused(spent.session)))
    }

    async fn answer_again(&self, again: Again) -> Result<SignIn, RefreshError> {
        match again {
            Again::Unheard(started) => Ok(self.issued(started)?),
            Again::Reused(session) => {
                self.end_reused(session).await?;
                Err(RefreshError::Reused)
            }
        }
    }

    fn successor(&self, spent: &store::Spent) -> Option<Secret<String>> {
        let sealed = spent.successor.as_ref()?;
        let place = successor_of(spent.session);
        let plain = self.inner.sealer.open(&place, sealed).ok()?;
        let text = std::str::from_utf8(plain.expose()).ok()?;
        Some(Secret::new(text.to_owned()))
    }

    async fn end_reused(&self, session: SessionId) -> Result<(), StoreError> {
        tracing::warn!(%session, "a refresh token was presented twice: its session has ended");
        self.end(session, None, (Action::SessionReuse, &Actor::system()))
            .await
            .map(drop)
    }

    /// Ends a session, of this person where one is given. Returns `false` when there is none.
    async fn end(
        &self,
        session: SessionId,
        of: Option<UserId>,
        (action, actor): (Action, &Actor),
    ) -> Result<bool, StoreError> {
        let (mut tx, place) = store::begin_change(&self.inner.db).await?;
        let Some(org) = store::delete_session(&mut tx, session, of).await? else {
            return Ok(false);
        };
        let change = Change {
            action,
            org: Some(org),
            subject: ("session", Some(session.to_string())),
            old: None,
            new: None,
        };
        let now = self.inner.clock.now();
        record_about(&mut tx, (session, None), place, (now, actor), change).await?;
        tx.commit().await?;
        self.withdrawn(|entry| entry.usage.owner == UsageOwner::Session(session))
            .await;
        Ok(true)
    }

    /// Ends the caller's own session. Returns `false` when they come without one.
    pub async fn sign_out(&self, caller: &Caller) -> Result<bool, StoreError> {
        match caller.principal().session {
            Some(session) => {
                self.end(session, None, (Action::SessionEnd, &caller.actor()))
                    .await
            }
            None => Ok(false),
        }
    }

    /// Ends one session of the caller.
    pub async fn end_session(&self, caller: &Caller, id: SessionId) -> Result<(), SessionError> {
        let user = person(caller)?;
        let how = (Action::SessionEnd, &caller.actor());
        if self.end(id, Some(user), how).await? {
            Ok(())
        } else {
            Err(SessionError::Unknown(id))
        }
    }

    /// Ends all sessions of the caller, this one too.
    pub async fn end_all_sessions(&self, caller: &Caller) -> Result<(), SessionError> {
        let whose = (person(caller)?, caller.principal().org);
        Ok(self.end_sessions(whose, &caller.actor()).await?)
    }

    /// Ends all sessions of a person. Their keys go on working.
    pub async fn end_sessions_of(&self, admin: &OrgAdmin, id: UserId) -> Result<(), SessionError> {
        let mut tx = self.inner.db.read().await?;
        let found = store::find_user_by_id(&mut tx, admin.scope(), id).await?;
        let user = found.ok_or(SessionError::UnknownUser(id))?;
        admin.rights().cover(rights_of(&mut tx, &user).await?)?;
        tx.commit().await?;
        Ok(self.end_sessions((id, user.org_id), &admin.actor()).await?)
    }

    async fn end_sessions(
        &self,
        (user, org): (UserId, OrgId),
        actor: &Actor,
    ) -> Result<(), StoreError> {
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        store::delete_sessions(&mut tx, user).await?;
        let change = Change {
            action: Action::SessionsEnd,
            org: Some(org),
            subject: ("user", Some(user.to_string())),
            old: None,
            new: None,
        };
        record(&mut tx, self.inner.clock.now(), actor, change).await?;
        tx.commit().await?;
        self.sessions_ended(user, None).await;
        Ok(())
    }

    /// Lists the caller's sessions in the order in which they began.
    pub async fn list_sessions(
        &self,
        caller: &Caller,
        page: &PageRequest,
    ) -> Result<Page<Session>, SessionError> {
        let user = person(caller)?;
        let mut tx = self.inner.db.read().await?;
        let page = self.sessions_page(&mut tx, user, page).await?;
        tx.commit().await?;
        Ok(page)
    }

    /// Lists the sessions of a person in the order in which they began.
    pub async fn list_sessions_of(
        &self,
        admin: &OrgAdmin,
        id: UserId,
        page: &PageRequest,
    ) -> Result<Page<Session>, SessionError> {
        let mut tx = self.inner.db.read().await?;
        if store::find_user_by_id(&mut tx, admin.scope(), id)
            .await?
            .is_none()
        {
            return Err(SessionError::UnknownUser(id));
        }
        let page = self.sessions_page(&mut tx, id, page).await?;
        tx.commit().await?;
        Ok(page)
    }

    async fn sessions_page(
        &self,
        tx: &mut Tx,
        user: UserId,
        page: &PageRequest,
    ) -> Result<Page<Session>, SessionError> {
        let after = page.cursor.as_deref().map(Cursor::key).transpose()?;
        let after = after.as_deref().unwrap_or_default();
        let now = self.inner.clock.now();
        let (found, total) = store::list_sessions(tx, user, now, after, page).await?;
        let key = |session: &Session| session.id.to_string();
        Ok(Page::from_overfetched(found, page.size(), key).of_total(total))
    }
}

/// What the token that replaced one of a session is sealed as.
fn successor_of(session: SessionId) -> String {
    format!("spent_refresh_tokens|successor|{session}")
}

fn person(caller: &Caller) -> Result<UserId, SessionError> {
    match caller.principal().kind {
        PrincipalKind::User(id) => Ok(id),
        PrincipalKind::Key(_) | PrincipalKind::Anonymous => Err(SessionError::NoPerson),
    }
}
