//! All SQL of this domain.

use primitives::{NodeId, Timestamp};
use store::{Json, Row, StoreError, Tx, params};
use web::InstanceId;

/// One row of `nodes`.
#[derive(Clone, Debug)]
pub(crate) struct StoredNode {
    pub(crate) id: NodeId,
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) kind: String,
    pub(crate) credential_sealed: Option<Vec<u8>>,
    pub(crate) tags: Vec<String>,
    pub(crate) region: Option<String>,
    pub(crate) weight: f64,
    pub(crate) draining: bool,
    pub(crate) source: String,
    pub(crate) max_in_flight: Option<u32>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

impl StoredNode {
    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.get("id")?,
            name: row.get("name")?,
            url: row.get("url")?,
            kind: row.get("kind")?,
            credential_sealed: row.get("credential_sealed")?,
            tags: row.get::<Json<Vec<String>>>("tags")?.0,
            region: row.get("region")?,
            weight: row.get("weight")?,
            draining: row.get("draining")?,
            source: row.get("source")?,
            max_in_flight: row.get("max_in_flight")?,
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
        })
    }
}

/// Lists all nodes.
pub(crate) async fn list_nodes(tx: &mut Tx) -> Result<Vec<StoredNode>, StoreError> {
    tx.fetch_all(
        "SELECT id, name, url, kind, credential_sealed, tags, region, weight, draining, source, max_in_flight, \
         created_at, updated_at FROM nodes ORDER BY name",
        (),
    )
    .await?
    .iter()
    .map(StoredNode::read)
    .collect()
}

/// Inserts a node. A taken name is a conflict with `nodes_name`.
pub(crate) async fn insert_node(tx: &mut Tx, node: StoredNode) -> Result<(), StoreError> {
    let tags = serde_json::Value::from(node.tags);
    tx.execute(
        "INSERT INTO nodes (id, name, url, kind, credential_sealed, tags, region, weight, draining, source, \
         max_in_flight, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        params![
            node.id,
            node.name,
            node.url,
            node.kind,
            node.credential_sealed,
            tags,
            node.region,
            node.weight,
            node.draining,
            node.source,
            node.max_in_flight,
            node.created_at,
            node.updated_at
        ],
    )
    .await?;
    Ok(())
}

/// Writes everything of a node that can change but whether it drains, which another process may just have changed. Returns
/// whether the node exists.
pub(crate) async fn update_node(tx: &mut Tx, node: StoredNode) -> Result<bool, StoreError> {
    let tags = serde_json::Value::from(node.tags);
    let changed = tx
        .execute(
            "UPDATE nodes SET name = $2, url = $3, kind = $4, credential_sealed = $5, tags = $6, region = $7, \
             weight = $8, source = $9, max_in_flight = $10, updated_at = $11 WHERE id = $1",
            params![
                node.id,
                node.name,
                node.url,
                node.kind,
                node.credential_sealed,
                tags,
                node.region,
                node.weight,
                node.source,
                node.max_in_flight,
                node.updated_at
            ],
        )
        .await?;
    Ok(changed > 0)
}

/// Writes whether a node drains. Returns whether the node exists.
pub(crate) async fn update_draining(
    tx: &mut Tx,
    id: NodeId,
    draining: bool,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let changed = tx
        .execute(
            "UPDATE nodes SET draining = $2, updated_at = $3 WHERE id = $1",
            params![id, draining, now],
        )
        .await?;
    Ok(changed > 0)
}

/// Returns when a node was last changed.
pub(crate) async fn node_changed_at(
    tx: &mut Tx,
    id: NodeId,
) -> Result<Option<Timestamp>, StoreError> {
    tx.fetch_optional("SELECT updated_at FROM nodes WHERE id = $1", params![id])
        .await?
        .map(|row| row.get("updated_at"))
        .transpose()
}

/// Writes a credential that is sealed anew.
pub(crate) async fn put_credential(
    tx: &mut Tx,
    id: NodeId,
    credential_sealed: Vec<u8>,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE nodes SET credential_sealed = $2 WHERE id = $1",
        params![id, credential_sealed],
    )
    .await?;
    Ok(())
}

/// Deletes a node. Returns whether it existed.
pub(crate) async fn delete_node(tx: &mut Tx, id: NodeId) -> Result<bool, StoreError> {
    Ok(tx
        .execute("DELETE FROM nodes WHERE id = $1", params![id])
        .await?
        > 0)
}

/// The authority that issues the certificates of agents.
#[derive(Clone, Debug)]
pub(crate) struct StoredAuthority {
    pub(crate) certificate: Vec<u8>,
    pub(crate) key_sealed: Vec<u8>,
}

/// Finds the authority.
pub(crate) async fn find_authority(tx: &mut Tx) -> Result<Option<StoredAuthority>, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT certificate, key_sealed FROM agent_authority WHERE id = 1",
            (),
        )
        .await?;
    row.map(|row| {
        Ok(StoredAuthority {
            certificate: row.get("certificate")?,
            key_sealed: row.get("key_sealed")?,
        })
    })
    .transpose()
}

/// Returns the authority; these become it where there is none.
pub(crate) async fn load_or_insert_authority(
    tx: &mut Tx,
    certificate: &[u8],
    key_sealed: &[u8],
    now: Timestamp,
) -> Result<StoredAuthority, StoreError> {
    tx.execute(
        "INSERT INTO agent_authority (id, certificate, key_sealed, created_at) VALUES (1, $1, $2, $3) \
         ON CONFLICT (id) DO NOTHING",
        params![certificate.to_vec(), key_sealed.to_vec(), now],
    )
    .await?;
    let made = StoredAuthority {
        certificate: certificate.to_vec(),
        key_sealed: key_sealed.to_vec(),
    };
    Ok(find_authority(tx).await?.unwrap_or(made))
}

/// Writes the authority's key, sealed anew.
pub(crate) async fn put_authority_key(tx: &mut Tx, key_sealed: Vec<u8>) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE agent_authority SET key_sealed = $1 WHERE id = 1",
        params![key_sealed],
    )
    .await?;
    Ok(())
}

/// What is known of an invitation that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndedInvitation {
    pub(crate) used: bool,
}

/// Inserts an invitation.
pub(crate) async fn insert_invitation(
    tx: &mut Tx,
    token_hash: &str,
    node_name: &str,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO agent_invitations (token_hash, node_name, created_at, expires_at) VALUES ($1, $2, $3, $4)",
        params![token_hash.to_owned(), node_name.to_owned(), now, expires_at],
    )
    .await?;
    Ok(())
}

/// Uses an invitation up. Returns the name of the node that it is for; nothing when it cannot be used, or somebody else was first.
pub(crate) async fn use_invitation(
    tx: &mut Tx,
    token_hash: &str,
    now: Timestamp,
) -> Result<Option<String>, StoreError> {
    let used = tx
        .execute(
            "UPDATE agent_invitations SET used_at = $2 WHERE token_hash = $1 AND used_at IS NULL AND expires_at > $2",
            params![token_hash.to_owned(), now],
        )
        .await?;
    if used == 0 {
        return Ok(None);
    }
    tx.fetch_optional(
        "SELECT node_name FROM agent_invitations WHERE token_hash = $1",
        params![token_hash.to_owned()],
    )
    .await?
    .map(|row| row.get("node_name"))
    .transpose()
}

/// Finds an invitation that was not to be used, to say why.
pub(crate) async fn find_invitation(
    tx: &mut Tx,
    token_hash: &str,
) -> Result<Option<EndedInvitation>, StoreError> {
    tx.fetch_optional(
        "SELECT used_at FROM agent_invitations WHERE token_hash = $1",
        params![token_hash.to_owned()],
    )
    .await?
    .map(|row| {
        let used_at: Option<Timestamp> = row.get("used_at")?;
        Ok(EndedInvitation {
            used: used_at.is_some(),
        })
    })
    .transpose()
}

/// Counts the invitations that can still be used.
pub(crate) async fn count_standing_invitations(
    tx: &mut Tx,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT COUNT(*) AS standing FROM agent_invitations WHERE expires_at > $1 AND used_at IS NULL",
            params![now],
        )
        .await?;
    row.map_or(Ok(0), |row| row.get("standing"))
}

/// Forgets invitations that ended before a time.
pub(crate) async fn forget_invitations(tx: &mut Tx, before: Timestamp) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM agent_invitations WHERE expires_at < $1",
        params![before],
    )
    .await?;
    Ok(())
}

/// Shows that a control plane listens for agents at an address.
pub(crate) async fn show_control_plane(tx: &mut Tx, url: &str) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO agent_control_planes (url, signs) VALUES ($1, 1) \
         ON CONFLICT (url) DO UPDATE SET signs = agent_control_planes.signs + 1",
        params![url.to_owned()],
    )
    .await?;
    Ok(())
}

/// The most control planes that are looked at.
const MOST_CONTROL_PLANES: i64 = 64;

/// Lists where control planes listen for agents, each with the number of its signs of life.
pub(crate) async fn list_control_planes(tx: &mut Tx) -> Result<Vec<(String, i64)>, StoreError> {
    let rows = tx
        .fetch_all(
            "SELECT url, signs FROM agent_control_planes ORDER BY url LIMIT $1",
            params![MOST_CONTROL_PLANES],
        )
        .await?;
    rows.iter()
        .map(|row| Ok((row.get("url")?, row.get("signs")?)))
        .collect()
}

/// Takes a control plane away that listens no more.
pub(crate) async fn delete_control_plane(tx: &mut Tx, url: &str) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM agent_control_planes WHERE url = $1",
        params![url.to_owned()],
    )
    .await?;
    Ok(())
}

fn declined_key(url: &str) -> String {
    format!("cluster.not_adopted.{url}")
}

/// Remembers that a server found on this machine was removed by a person, and must not be adopted again.
pub(crate) async fn decline_adoption(tx: &mut Tx, url: &str) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING",
        params![declined_key(url), "removed"],
    )
    .await?;
    Ok(())
}

/// Tells whether a server found on this machine was removed by a person.
pub(crate) async fn is_adoption_declined(tx: &mut Tx, url: &str) -> Result<bool, StoreError> {
    Ok(tx
        .fetch_optional(
            "SELECT key FROM settings WHERE key = $1",
            params![declined_key(url)],
        )
        .await?
        .is_some())
}

/// The setting that holds the identity of this installation.
const INSTANCE_KEY: &str = "cluster.instance_id";

/// Returns the identity of this installation; `fresh` becomes it where there is none yet. Processes that start at the same time
/// agree on one.
pub(crate) async fn load_or_insert_instance(
    tx: &mut Tx,
    fresh: InstanceId,
) -> Result<InstanceId, StoreError> {
    tx.execute(
        "INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING",
        params![INSTANCE_KEY, fresh.to_string()],
    )
    .await?;
    let row = tx
        .fetch_optional(
            "SELECT value FROM settings WHERE key = $1",
            params![INSTANCE_KEY],
        )
        .await?;
    let Some(row) = row else { return Ok(fresh) };
    row.get::<String>("value")?
        .parse()
        .map_err(|error: web::ParseInstanceIdError| StoreError::Corrupt {
            column: "value".to_owned(),
            reason: error.to_string(),
        })
}
