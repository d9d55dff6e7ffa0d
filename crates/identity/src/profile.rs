//! What people tell of themselves.

use web::IfMatch;

use crate::audit::{Action, Change, Seen as _, record};
use crate::extract::Caller;
use crate::identity::Identity;
use crate::model::PrincipalKind;
use crate::organisations::OrgScope;
use crate::store;
use crate::users::{User, UserError, taken};

/// The most characters of an email address.
pub(crate) const LONGEST_EMAIL: usize = 254;
/// The most characters of a name to be shown.
pub(crate) const LONGEST_DISPLAY_NAME: usize = 100;

/// What to change of one's profile. Absent: stays; empty: is removed.
#[derive(Clone, Debug, Default)]
pub struct ProfileEdit {
    /// Where one is reached.
    pub email: Option<String>,
    /// What one is called.
    pub display_name: Option<String>,
}

impl ProfileEdit {
    /// Applies the change.
    pub(crate) fn apply(self, user: &mut User) -> Result<(), UserError> {
        if let Some(email) = self.email {
            user.email = checked_email(&email)?;
        }
        if let Some(name) = self.display_name {
            user.display_name = checked_display_name(&name)?;
        }
        Ok(())
    }
}

/// Returns the address as it is stored, in lower case; `None` for an empty one.
fn checked_email(text: &str) -> Result<Option<String>, UserError> {
    let email = text.trim().to_lowercase();
    if email.is_empty() {
        return Ok(None);
    }
    // Only mail itself tells whether an address works: this refuses what cannot be one.
    let plain = |c: char| !c.is_whitespace() && !c.is_control();
    let (name, host) = email.rsplit_once('@').ok_or(UserError::Email)?;
    let fits = email.chars().count() <= LONGEST_EMAIL && email.chars().all(plain);
    if name.is_empty() || host.is_empty() || host.starts_with('.') || host.ends_with('.') || !fits {
        return Err(UserError::Email);
    }
    Ok(Some(email))
}

fn checked_display_name(text: &str) -> Result<Option<String>, UserError> {
    let name = text.trim();
    if name.chars().count() > LONGEST_DISPLAY_NAME || name.chars().any(char::is_control) {
        return Err(UserError::DisplayName);
    }
    Ok((!name.is_empty()).then(|| name.to_owned()))
}

impl Identity {
    /// Shows the caller's own record.
    pub async fn profile(&self, caller: &Caller) -> Result<User, UserError> {
        let PrincipalKind::User(id) = caller.principal().kind else {
            return Err(UserError::NoPerson);
        };
        let mut tx = self.inner.db.read().await?;
        let user = store::find_user_by_id(&mut tx, OrgScope::All, id).await?;
        tx.commit().await?;
        user.ok_or(UserError::Unknown(id))
    }

    /// Changes the caller's own record.
    pub async fn edit_profile(
        &self,
        caller: &Caller,
        edit: ProfileEdit,
        expected: &IfMatch,
    ) -> Result<User, UserError> {
        let PrincipalKind::User(id) = caller.principal().kind else {
            return Err(UserError::NoPerson);
        };
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        let mut user = store::find_user_by_id(&mut tx, OrgScope::All, id)
            .await?
            .ok_or(UserError::Unknown(id))?;
        expected.check(|| user.version())?;
        let old = user.seen();
        edit.apply(&mut user)?;
        store::update_profile(&mut tx, &user)
            .await
            .map_err(|error| taken(error, &user))?;
        let change = Change {
            action: Action::ProfileEdit,
            org: Some(user.org_id),
            subject: ("user", Some(id.to_string())),
            old: Some(old),
            new: Some(user.seen()),
        };
        let now = self.inner.clock.now();
        record(&mut tx, now, &caller.actor(), change).await?;
        tx.commit().await?;
        Ok(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_compared_without_case_and_what_is_none_is_refused() {
        let good = checked_email(" Ann.B+x@Example.ORG ").unwrap();
        assert_eq!(good.as_deref(), Some("ann.b+x@example.org"));
        assert_eq!(checked_email(" ").unwrap(), None);
        let long = format!("{}@b", "a".repeat(LONGEST_EMAIL));
        for text in [
            "ann",
            "@b",
            "a@",
            "a b@c",
            "a@.c",
            "a@c.",
            "a\u{7}@c",
            long.as_str(),
        ] {
            assert!(checked_email(text).is_err(), "{text}");
        }
    }
}
