//! The SQL of roles of an organisation's own.

use ::store::{Json, Row, StoreError, Tx, params};
use primitives::OrgId;

use crate::model::Role;
use crate::permission::{Permissions, Rights};
use crate::roles::CustomRole;

fn read(row: &Row) -> Result<CustomRole, StoreError> {
    let Json(names) = row.get::<Json<Vec<String>>>("permissions")?;
    Ok(CustomRole {
        org_id: row.get("org_id")?,
        name: row.get("name")?,
        description: row.get("description")?,
        permissions: Permissions::named(&names),
        created_at: row.get("created_at")?,
    })
}

/// Reads what a person may do: by their role, or by the one of their organisation's own that stands beside it.
pub(crate) fn read_rights(row: &Row, role_column: &str) -> Result<Option<Rights>, StoreError> {
    let Some(role) = row.get::<Option<String>>(role_column)? else {
        return Ok(None);
    };
    if row.get::<Option<String>>("custom_role")?.is_some() {
        // A role that is not there any more gives nothing.
        let names = row.get::<Option<Json<Vec<String>>>>("custom_permissions")?;
        let permissions = names.map(|Json(names)| Permissions::named(&names));
        return Ok(Some(Rights::of(permissions.unwrap_or_default())));
    }
    // Nor does one that this build does not know.
    let role = Role::from_name(&role).unwrap_or(Role::Viewer);
    Ok(Some(Rights::of_role(role)))
}

pub(crate) async fn find_role(
    tx: &mut Tx,
    org: OrgId,
    name: &str,
) -> Result<Option<CustomRole>, StoreError> {
    tx.fetch_optional(
        "SELECT org_id, name, description, permissions, created_at FROM roles WHERE org_id = $1 AND name = $2",
        params![org, name],
    )
    .await?
    .as_ref()
    .map(read)
    .transpose()
}

/// Lists all roles of an organisation: a hundred at most.
pub(crate) async fn list_roles(tx: &mut Tx, org: OrgId) -> Result<Vec<CustomRole>, StoreError> {
    let rows = tx
        .fetch_all(
            "SELECT org_id, name, description, permissions, created_at FROM roles WHERE org_id = $1 ORDER BY name",
            params![org],
        )
        .await?;
    rows.iter().map(read).collect()
}

pub(crate) async fn count_roles(tx: &mut Tx, org: OrgId) -> Result<u64, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT CAST(count(*) AS BIGINT) AS found FROM roles WHERE org_id = $1",
            params![org],
        )
        .await?;
    row.map_or(Ok(0), |row| row.get("found"))
}

/// Counts the people who have a role, disabled ones too.
pub(crate) async fn count_people_with_role(
    tx: &mut Tx,
    org: OrgId,
    name: &str,
) -> Result<u64, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT CAST(count(*) AS BIGINT) AS found FROM users WHERE org_id = $1 AND custom_role = $2",
            params![org, name],
        )
        .await?;
    row.map_or(Ok(0), |row| row.get("found"))
}

pub(crate) async fn insert_role(tx: &mut Tx, role: &CustomRole) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO roles (org_id, name, description, permissions, created_at) VALUES ($1, $2, $3, $4, $5)",
        params![
            role.org_id,
            &role.name,
            role.description.as_deref(),
            serde_json::json!(role.permissions.names()),
            role.created_at
        ],
    )
    .await?;
    Ok(())
}

pub(crate) async fn update_role(tx: &mut Tx, role: &CustomRole) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE roles SET description = $3, permissions = $4 WHERE org_id = $1 AND name = $2",
        params![
            role.org_id,
            &role.name,
            role.description.as_deref(),
            serde_json::json!(role.permissions.names())
        ],
    )
    .await?;
    Ok(())
}

pub(crate) async fn delete_role(tx: &mut Tx, org: OrgId, name: &str) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM roles WHERE org_id = $1 AND name = $2",
        params![org, name],
    )
    .await?;
    Ok(())
}
