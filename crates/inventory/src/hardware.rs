//! What nodes are made of, by serial number.

use identity::journal::{self, Action, Actor, Change};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::list::{ReadError, WidgetBody, shown};
use crate::store;
use crate::surface::Inventory;

/// The most parts of a node.
pub(crate) const MOST_PARTS: usize = 1_000;

/// What a node is made of.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HardwareBody {
    /// Its parts.
    pub(crate) parts: Vec<WidgetBody>,
    /// Serial numbers that it names, but that no widget has.
    pub(crate) missing: Vec<String>,
}

impl Inventory {
    /// Shows what a node is made of.
    pub(crate) async fn hardware(&self, node: &str) -> Result<HardwareBody, ReadError> {
        let mut tx = self.inner.db.read().await?;
        if !store::has_node(&mut tx, node).await? {
            return Err(ReadError::UnknownNode(node.chars().take(64).collect()));
        }
        let mut missing = store::parts_of(&mut tx, node).await?;
        let wanted: Vec<_> = missing
            .iter()
            .map(|serial| serial.as_str().into())
            .collect();
        let found = store::stored_of(&mut tx, &wanted).await?;
        let parts = shown(&mut tx, found).await?;
        tx.commit().await?;
        missing.retain(|serial| parts.iter().all(|part| part.serial_number != *serial));
        Ok(HardwareBody { parts, missing })
    }

    /// Says what a node is made of, in place of what was said before. Every part must be there.
    pub(crate) async fn set_hardware(
        &self,
        node: &str,
        mut serials: Vec<String>,
        by: &Actor,
    ) -> Result<HardwareBody, ReadError> {
        if serials.len() > MOST_PARTS {
            return Err(ReadError::Invalid(format!(
                "a node has at most {MOST_PARTS} parts: join smaller parts to larger ones"
            )));
        }
        serials.sort_unstable();
        serials.dedup();
        let mut tx = self.inner.db.write_ordered().await?;
        journal::begin(&mut tx).await?;
        if !store::has_node(&mut tx, node).await? {
            return Err(ReadError::UnknownNode(node.chars().take(64).collect()));
        }
        let wanted: Vec<_> = serials
            .iter()
            .map(|serial| serial.as_str().into())
            .collect();
        let found = store::stored_of(&mut tx, &wanted).await?;
        let known = |serial: &String| {
            found
                .iter()
                .any(|named| *named.widget.serial_number == **serial)
        };
        if let Some(unknown) = serials.iter().find(|serial| !known(serial)) {
            return Err(ReadError::Unknown(unknown.chars().take(64).collect()));
        }
        let mut before = store::parts_of(&mut tx, node).await?;
        // Engines sort by rules of their own.
        before.sort_unstable();
        if before != serials {
            store::set_parts(&mut tx, node, &serials).await?;
            let change = Change {
                action: Action::HardwareEdit,
                org: None,
                subject: ("node", Some(node.to_owned())),
                old: Some(json!({"parts": before})),
                new: Some(json!({"parts": serials})),
            };
            journal::record(&mut tx, self.inner.clock.now(), by, change).await?;
            tx.commit().await?;
        }
        self.hardware(node).await
    }

    /// Lists the ids of the nodes that have a part, at most 100.
    pub(crate) async fn nodes_with(&self, serial: &str) -> Result<Vec<String>, ReadError> {
        let mut tx = self.inner.db.read().await?;
        let nodes = store::nodes_with(&mut tx, serial).await?;
        tx.commit().await?;
        Ok(nodes)
    }
}
