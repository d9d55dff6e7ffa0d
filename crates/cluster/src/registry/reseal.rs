//! Sealing the nodes' credentials with another key than they were.

use ::store::{StoreError, Tx};
use identity::Resealed;

use super::Registry;
use crate::agents::KEY_PLACE;
use crate::record::place;
use crate::store;

impl Registry {
    /// Seals the credentials of all nodes, and the key of who issues the certificates of agents, with the present key, within the
    /// caller's transaction, which has begun with [`journal::begin`](identity::journal::begin).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reseal(&self, tx: &mut Tx) -> Result<Resealed, StoreError> {
        let mut total = Resealed::default();
        for node in store::list_nodes(tx).await? {
            let Some(credential) = node.credential_sealed else {
                continue;
            };
            if let Some(sealed) = total.reseal(&self.inner.sealer, &place(node.id), &credential) {
                store::put_credential(tx, node.id, sealed).await?;
            }
        }
        if let Some(authority) = store::find_authority(tx).await?
            && let Some(sealed) = total.reseal(&self.inner.sealer, KEY_PLACE, &authority.key_sealed)
        {
            store::put_authority_key(tx, sealed).await?;
        }
        Ok(total)
    }
}
