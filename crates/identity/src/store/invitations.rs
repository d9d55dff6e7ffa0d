//! The SQL of invitations.

use ::store::{Row, StoreError, Tx, params};
use primitives::{COUNTED, InvitationId, OrgId, PageRequest, Timestamp, UserId};

use super::{Counted, read_counted, read_role, read_total};
use crate::credential::SecretHash;
use crate::invitations::Invitation;
use crate::organisations::OrgScope;

fn read(row: &Row) -> Result<Invitation, StoreError> {
    Ok(Invitation {
        id: row.get("id")?,
        org_id: row.get("org_id")?,
        role: read_role(row)?,
        note: row.get("note")?,
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
    })
}

pub(crate) async fn insert_invitation(
    tx: &mut Tx,
    invitation: &Invitation,
    token_hash: &SecretHash,
    created_by: Option<UserId>,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO invitations (id, org_id, role, note, token_hash, created_by, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        params![
            invitation.id,
            invitation.org_id,
            invitation.role.as_str(),
            invitation.note.as_deref(),
            token_hash.as_bytes(),
            created_by,
            invitation.created_at,
            invitation.expires_at
        ],
    )
    .await?;
    Ok(())
}

/// Counts the invitations that stand, after those that have ended are removed.
pub(crate) async fn count_invitations(
    tx: &mut Tx,
    org: OrgId,
    now: Timestamp,
) -> Result<Counted, StoreError> {
    tx.execute(
        "DELETE FROM invitations WHERE expires_at <= $1",
        params![now],
    )
    .await?;
    let row = tx
        .fetch_optional(
            "SELECT CAST(count(*) FILTER (WHERE org_id = $1) AS BIGINT) AS own_count, CAST(count(*) AS BIGINT) AS all_count
             FROM invitations",
            params![org],
        )
        .await?;
    read_counted(row.as_ref())
}

/// Lists the invitations that stand, by id, beginning after `after`, and counts them.
pub(crate) async fn list_invitations(
    tx: &mut Tx,
    scope: OrgScope,
    now: Timestamp,
    after: &str,
    page: &PageRequest,
) -> Result<(Vec<Invitation>, u64), StoreError> {
    let found = tx
        .fetch_all(
            "SELECT id, org_id, role, note, created_at, expires_at FROM invitations
             WHERE (CAST($1 AS TEXT) IS NULL OR org_id = $1) AND expires_at > $2 AND id > $3 ORDER BY id LIMIT $4 OFFSET $5",
            params![scope.id(), now, after, page.size() + 1, page.skipped()],
        )
        .await?
        .iter()
        .map(read)
        .collect::<Result<_, _>>()?;
    let total = tx
        .fetch_optional(
            "SELECT CAST(count(*) AS BIGINT) AS total FROM (
                 SELECT 1 FROM invitations
                 WHERE (CAST($1 AS TEXT) IS NULL OR org_id = $1) AND expires_at > $2 LIMIT $3
             ) AS counted",
            params![scope.id(), now, COUNTED],
        )
        .await?;
    Ok((found, read_total(total.as_ref())?))
}

/// Finds the invitation of this secret, if it stands.
pub(crate) async fn find_invitation(
    tx: &mut Tx,
    token_hash: &SecretHash,
    now: Timestamp,
) -> Result<Option<Invitation>, StoreError> {
    tx.fetch_optional(
        "SELECT id, org_id, role, note, created_at, expires_at FROM invitations WHERE token_hash = $1 AND expires_at > $2",
        params![token_hash.as_bytes(), now],
    )
    .await?
    .as_ref()
    .map(read)
    .transpose()
}

/// Uses an invitation up. Returns `false` when it was used or withdrawn before.
pub(crate) async fn take_invitation(tx: &mut Tx, id: InvitationId) -> Result<bool, StoreError> {
    Ok(delete_invitation(tx, OrgScope::All, id).await?.is_some())
}

/// Withdraws an invitation within the scope. Returns its organisation, `None` when there is no such invitation.
pub(crate) async fn delete_invitation(
    tx: &mut Tx,
    scope: OrgScope,
    id: InvitationId,
) -> Result<Option<OrgId>, StoreError> {
    tx.fetch_optional(
        "DELETE FROM invitations WHERE id = $1 AND (CAST($2 AS TEXT) IS NULL OR org_id = $2) RETURNING org_id",
        params![id, scope.id()],
    )
    .await?
    .map(|row| row.get("org_id"))
    .transpose()
}
