//! The SQL of people.

use ::store::{Row, StoreError, Tx, params};
use primitives::{OrgId, UserId};

use super::{Counted, read_counted, read_role};
use crate::model::Role;
use crate::organisations::OrgScope;
use crate::users::User;

fn read(row: &Row) -> Result<User, StoreError> {
    Ok(User {
        id: row.get("id")?,
        org_id: row.get("org_id")?,
        username: row.get("username")?,
        role: read_role(row)?,
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

/// Inserts a person. A taken name is a conflict with `users_username`.
pub(crate) async fn insert_user(
    tx: &mut Tx,
    user: &User,
    password_hash: String,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO users (id, org_id, username, password_hash, role, created_at, disabled_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        params![
            user.id,
            user.org_id,
            &user.username,
            password_hash,
            user.role.as_str(),
            user.created_at,
            user.disabled_at
        ],
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
        "SELECT id, org_id, username, role, created_at, disabled_at FROM users
         WHERE id = $1 AND (CAST($2 AS TEXT) IS NULL OR org_id = $2)",
        params![id, scope.id()],
    )
    .await?
    .as_ref()
    .map(read)
    .transpose()
}

/// Lists people by id, beginning after `after`.
pub(crate) async fn list_users(
    tx: &mut Tx,
    scope: OrgScope,
    after: &str,
    limit: u32,
) -> Result<Vec<User>, StoreError> {
    tx.fetch_all(
        "SELECT id, org_id, username, role, created_at, disabled_at FROM users
         WHERE (CAST($1 AS TEXT) IS NULL OR org_id = $1) AND id > $2 ORDER BY id LIMIT $3",
        params![scope.id(), after, limit],
    )
    .await?
    .iter()
    .map(read)
    .collect()
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

/// Writes whether a person is disabled, and their role where another is given.
pub(crate) async fn update_user(
    tx: &mut Tx,
    user: &User,
    role: Option<Role>,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE users SET role = COALESCE(CAST($3 AS TEXT), role), disabled_at = $4
         WHERE org_id = $1 AND id = $2",
        params![
            user.org_id,
            user.id,
            role.map(Role::as_str),
            user.disabled_at
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
