//! The SQL of people.

use ::store::{Row, StoreError, Tx, params};
use primitives::{COUNTED, OrgId, UserId};

use super::{Counted, read_counted, read_role, read_total};
use crate::listing::{Listing, Position, sorted};
use crate::model::Role;
use crate::organisations::OrgScope;
use crate::user_list::UserFilter;
use crate::users::User;

fn read(row: &Row) -> Result<User, StoreError> {
    Ok(User {
        id: row.get("id")?,
        org_id: row.get("org_id")?,
        username: row.get("username")?,
        email: row.get("email")?,
        display_name: row.get("display_name")?,
        role: read_role(row)?,
        custom_role: row.get("custom_role")?,
        created_at: row.get("created_at")?,
        disabled_at: row.get("disabled_at")?,
    })
}

/// Counts people, disabled ones too.
pub(crate) async fn count_users(tx: &mut Tx, org: OrgId) -> Result<Counted, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT CAST(count(*) FILTER (WHERE org_id = $1) AS BIGINT) AS own_count, CAST(count(*) AS BIGINT) AS all_count
             FROM users",
            params![org],
        )
        .await?;
    read_counted(row.as_ref())
}

/// Inserts a person. A taken name is a conflict with `users_username`, a taken address one with `users_email`.
pub(crate) async fn insert_user(
    tx: &mut Tx,
    user: &User,
    password_hash: String,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO users (id, org_id, username, password_hash, role, created_at, disabled_at, email, display_name,
             custom_role)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        params![
            user.id,
            user.org_id,
            &user.username,
            password_hash,
            user.role.as_str(),
            user.created_at,
            user.disabled_at,
            user.email.as_deref(),
            user.display_name.as_deref(),
            user.custom_role.as_deref()
        ],
    )
    .await?;
    Ok(())
}

/// Writes what a person tells of themselves. A taken address is a conflict with `users_email`.
pub(crate) async fn update_profile(tx: &mut Tx, user: &User) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE users SET email = $2, display_name = $3 WHERE id = $1",
        params![user.id, user.email.as_deref(), user.display_name.as_deref()],
    )
    .await?;
    Ok(())
}

/// Finds a person within the scope.
pub(crate) async fn find_user_by_id(
    tx: &mut Tx,
    scope: OrgScope,
    id: UserId,
) -> Result<Option<User>, StoreError> {
    tx.fetch_optional(
        "SELECT id, org_id, username, email, display_name, role, custom_role, created_at, disabled_at FROM users
         WHERE id = $1 AND (CAST($2 AS TEXT) IS NULL OR org_id = $2)",
        params![id, scope.id()],
    )
    .await?
    .as_ref()
    .map(read)
    .transpose()
}

/// Lists people, and counts them.
pub(crate) async fn list_users(
    tx: &mut Tx,
    scope: OrgScope,
    filter: UserFilter,
    listing: &Listing,
    position: &Position,
) -> Result<(Vec<User>, u64), StoreError> {
    let sql = sorted!(
        listing.sort,
        "SELECT id, org_id, username, email, display_name, role, custom_role, created_at, disabled_at FROM users
         WHERE (CAST($5 AS TEXT) IS NULL OR org_id = $5) AND (CAST($6 AS TEXT) IS NULL OR role = $6)
             AND (CAST($7 AS BOOLEAN) IS NULL OR (disabled_at IS NOT NULL) = $7)
             AND (CAST($8 AS TEXT) IS NULL OR lower(username) LIKE $8 ESCAPE '\\')",
        "id",
        "username"
    );
    let (role, pattern) = (filter.role.map(Role::as_str), listing.pattern());
    let found = tx
        .fetch_all(
            sql,
            params![
                position.name.as_str(),
                position.id.as_str(),
                position.fetched,
                position.skipped,
                scope.id(),
                role,
                filter.disabled,
                pattern.as_deref()
            ],
        )
        .await?
        .iter()
        .map(read)
        .collect::<Result<_, _>>()?;
    let total = tx
        .fetch_optional(
            "SELECT CAST(count(*) AS BIGINT) AS total FROM (
                 SELECT 1 FROM users
                 WHERE (CAST($1 AS TEXT) IS NULL OR org_id = $1) AND (CAST($2 AS TEXT) IS NULL OR role = $2)
                     AND (CAST($3 AS BOOLEAN) IS NULL OR (disabled_at IS NOT NULL) = $3)
                     AND (CAST($4 AS TEXT) IS NULL OR lower(username) LIKE $4 ESCAPE '\\') LIMIT $5
             ) AS counted",
            params![scope.id(), role, filter.disabled, pattern.as_deref(), COUNTED],
        )
        .await?;
    Ok((found, read_total(total.as_ref())?))
}

/// Tells whether an organisation has an administrator who may sign in, other than this person.
pub(crate) async fn has_other_admin(
    tx: &mut Tx,
    org: OrgId,
    id: UserId,
) -> Result<bool, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT id FROM users
             WHERE org_id = $1 AND id <> $2 AND role = $3 AND disabled_at IS NULL LIMIT 1",
            params![org, id, Role::Admin.as_str()],
        )
        .await?;
    Ok(row.is_some())
}

/// Writes whether a person is disabled, and their role where another is given, which ends one of the organisation's own.
pub(crate) async fn update_user(
    tx: &mut Tx,
    user: &User,
    role: Option<Role>,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE users SET role = COALESCE(CAST($3 AS TEXT), role), disabled_at = $4,
             custom_role = CASE WHEN CAST($3 AS TEXT) IS NULL THEN custom_role ELSE CAST($5 AS TEXT) END
         WHERE org_id = $1 AND id = $2",
        params![
            user.org_id,
            user.id,
            role.map(Role::as_str),
            user.disabled_at,
            user.custom_role.as_deref()
        ],
    )
    .await?;
    Ok(())
}

/// Gives a person another password.
pub(crate) async fn update_password(
    tx: &mut Tx,
    org: OrgId,
    id: UserId,
    password_hash: String,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE users SET password_hash = $3 WHERE org_id = $1 AND id = $2",
        params![org, id, password_hash],
    )
    .await?;
    Ok(())
}

/// Gives a person another password in place of the one that was verified. Returns `false` when they have that one no more, or were
/// disabled.
pub(crate) async fn replace_password(
    tx: &mut Tx,
    id: UserId,
    verified_hash: &str,
    password_hash: String,
) -> Result<bool, StoreError> {
    let replaced = tx
        .execute(
            "UPDATE users SET password_hash = $3
             WHERE id = $1 AND password_hash = $2 AND disabled_at IS NULL",
            params![id, verified_hash, password_hash],
        )
        .await?;
    Ok(replaced == 1)
}
