//! The SQL of organisations.

use ::store::{Row, StoreError, Tx, params};
use primitives::{COUNTED, OrgId};

use super::read_total;
use crate::listing::{Listing, Position, sorted};
use crate::organisations::{OrgScope, Organisation, UnknownOrganisation};

fn read(row: &Row) -> Result<Organisation, StoreError> {
    Ok(Organisation {
        id: row.get("id")?,
        name: row.get("name")?,
        created_at: row.get("created_at")?,
    })
}

pub(crate) async fn count_organisations(tx: &mut Tx) -> Result<u64, StoreError> {
    match tx
        .fetch_optional(
            "SELECT CAST(count(*) AS BIGINT) AS found FROM organisations",
            (),
        )
        .await?
    {
        Some(row) => row.get("found"),
        None => Ok(0),
    }
}

pub(crate) async fn has_organisation(tx: &mut Tx, id: OrgId) -> Result<bool, StoreError> {
    let row = tx
        .fetch_optional("SELECT id FROM organisations WHERE id = $1", params![id])
        .await?;
    Ok(row.is_some())
}

/// Makes sure that an organisation which is asked for exists: a list of nobody's is not an empty one.
pub(crate) async fn known_organisation(
    tx: &mut Tx,
    wanted: Option<OrgId>,
) -> Result<Result<(), UnknownOrganisation>, StoreError> {
    match wanted {
        Some(id) if !has_organisation(tx, id).await? => Ok(Err(UnknownOrganisation(id))),
        _ => Ok(Ok(())),
    }
}

/// Inserts an organisation. A taken name is a conflict with `organisations_name`.
pub(crate) async fn insert_organisation(
    tx: &mut Tx,
    organisation: &Organisation,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO organisations (id, name, created_at) VALUES ($1, $2, $3)",
        params![organisation.id, &organisation.name, organisation.created_at],
    )
    .await?;
    Ok(())
}

/// Lists organisations, and counts them.
pub(crate) async fn list_organisations(
    tx: &mut Tx,
    scope: OrgScope,
    listing: &Listing,
    position: &Position,
) -> Result<(Vec<Organisation>, u64), StoreError> {
    let sql = sorted!(
        listing.sort,
        "SELECT id, name, created_at FROM organisations
         WHERE (CAST($5 AS TEXT) IS NULL OR id = $5)
             AND (CAST($6 AS TEXT) IS NULL OR lower(name) LIKE $6 ESCAPE '\\')",
        "id",
        "name"
    );
    let pattern = listing.pattern();
    let found = tx
        .fetch_all(
            sql,
            params![
                position.name.as_str(),
                position.id.as_str(),
                position.fetched,
                position.skipped,
                scope.id(),
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
                 SELECT 1 FROM organisations
                 WHERE (CAST($1 AS TEXT) IS NULL OR id = $1)
                     AND (CAST($2 AS TEXT) IS NULL OR lower(name) LIKE $2 ESCAPE '\\') LIMIT $3
             ) AS counted",
            params![scope.id(), pattern.as_deref(), COUNTED],
        )
        .await?;
    Ok((found, read_total(total.as_ref())?))
}
