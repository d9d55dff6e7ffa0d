//! Erasing a person: what is theirs goes, what must stay loses what names them.

use ::store::StoreError;
use primitives::{Classify, ErrorKind, UserId};
use serde_json::json;

use super::{DataSubject, Erased};
use crate::audit::{Action, Change, Traces, record};
use crate::extract::OrgAdmin;
use crate::identity::Identity;
use crate::roles::rights_of;
use crate::setup::normalised_username;
use crate::store;
use crate::users::UserError;

/// Something that stays, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What it is.
    pub what: &'static str,
    /// Why it stays.
    pub why: &'static str,
}

/// What stays of everybody.
const KEPT: [Kept; 4] = [
    Kept {
        what: "records of changes: when, what, and the ids of the person and of their keys",
        why: "they prove what was done to the system; names, addresses and states were erased, which the chain of hashes allows",
    },
    Kept {
        what: "records of requests: when, model, node, tokens and the same ids",
        why: "use is counted and paid by them until their retention passes; names and addresses were erased, and are within an hour from those of requests that were under way",
    },
    Kept {
        what: "lines of log files, and log collectors that they were sent to",
        why: "they are not in the database: rotate them as your rules say",
    },
    Kept {
        what: "backups made before",
        why: "they are sealed as a whole: delete them in time, and erase the person again after restoring one",
    },
];

/// What erasing came to.
#[derive(Clone, Debug)]
pub struct Erasure {
    /// What was erased.
    pub erased: Vec<Erased>,
    /// What stays.
    pub kept: &'static [Kept],
}

/// Why nobody was erased.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// There is no such person, or they may not be erased by the caller.
    #[error(transparent)]
    User(#[from] UserError),
    /// The name is another one's.
    #[error("the user {0} has another name")]
    OtherName(UserId),
    /// Administrators do not erase themselves.
    #[error("administrators cannot erase themselves")]
    Oneself,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for EraseError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::User(error) => error.kind(),
            Self::OtherName(_) => ErrorKind::Invalid,
            Self::Oneself => ErrorKind::Conflict,
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::User(error) => error.public_message(),
            Self::OtherName(_) => {
                format!(
                    "{self}: `username` must be that of the person, since this cannot be undone"
                )
            }
            Self::Oneself => format!("{self}: ask another administrator to do it"),
            Self::Store(error) => error.public_message(),
        }
    }
}

impl Identity {
    /// Erases a person. First they are let in no more; then every domain erases its part; at last they are removed. What is interrupted is
    /// finished by doing it again.
    ///
    /// # Errors
    /// When there is no such person within the caller's organisation, they may more than the caller, they are the caller, or nobody
    /// would be left to administer their organisation.
    pub async fn erase_user(
        &self,
        admin: &OrgAdmin,
        id: UserId,
        username: &str,
    ) -> Result<Erasure, EraseError> {
        if admin.principal().user == Some(id) {
            return Err(EraseError::Oneself);
        }
        let (of, traces) = self.shut_out(admin, id, username).await?;
        self.restricted(id, None).await;
        let mut erased = Vec::new();
        for part in self.inner.personal_data.load().iter() {
            erased.extend(part.erase(&of).await?);
        }
        let records = self.erase_from_audit(&traces).await?;
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        let rows = store::delete_user(&mut tx, &of, &traces.told).await?;
        erased.extend(rows);
        erased.push(Erased {
            what: "records of changes, of which what named the person",
            rows: records,
        });
        let counts: serde_json::Map<_, _> = erased
            .iter()
            .map(|Erased { what, rows }| ((*what).to_owned(), json!(rows)))
            .collect();
        let change = Change {
            action: Action::UserErase,
            org: Some(of.org),
            subject: ("user", Some(id.to_string())),
            old: None,
            new: Some(json!({"erased": counts})),
        };
        record(&mut tx, self.inner.clock.now(), &admin.actor(), change).await?;
        tx.commit().await?;
        self.restricted(id, None).await;
        Ok(Erasure {
            erased,
            kept: &KEPT,
        })
    }

    /// Lets a person in no more, and gathers what they are known by.
    async fn shut_out(
        &self,
        admin: &OrgAdmin,
        id: UserId,
        username: &str,
    ) -> Result<(DataSubject, Traces), EraseError> {
        let now = self.inner.clock.now();
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        let mut user = store::find_user_by_id(&mut tx, admin.scope(), id)
            .await?
            .ok_or(UserError::Unknown(id))?;
        if normalised_username(username).as_deref() != Some(user.username.as_str()) {
            return Err(EraseError::OtherName(id));
        }
        let rights = rights_of(&mut tx, &user).await.map_err(UserError::from)?;
        admin.rights().cover(rights).map_err(UserError::from)?;
        if user.administers() && !store::has_other_admin(&mut tx, user.org_id, id).await? {
            return Err(UserError::LastAdmin.into());
        }
        let keys = store::keys_of_user(&mut tx, id).await?;
        let told = store::addresses_of_user(&mut tx, id).await?;
        user.disabled_at.get_or_insert(now);
        store::update_user(&mut tx, &user, None).await?;
        store::delete_sessions(&mut tx, id).await?;
        let change = Change {
            action: Action::UserErase,
            org: Some(user.org_id),
            subject: ("user", Some(id.to_string())),
            old: None,
            new: Some(json!({"state": "begun"})),
        };
        record(&mut tx, now, &admin.actor(), change).await?;
        tx.commit().await?;
        let of = DataSubject {
            id,
            org: user.org_id,
            username: user.username.clone(),
            keys: keys.clone(),
        };
        let told = told
            .into_iter()
            .chain([user.email, user.display_name].into_iter().flatten())
            .collect();
        let traces = Traces {
            user: id,
            keys,
            username: user.username,
            told,
        };
        Ok((of, traces))
    }
}
