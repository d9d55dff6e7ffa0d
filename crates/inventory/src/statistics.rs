//! Counts of the whole inventory, kept for a minute: they take a look at every row.

use std::collections::BTreeMap;

use primitives::Timestamp;
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use crate::list::ReadError;
use crate::model::{MOST_SLOTS, Port, Ports};
use crate::store::{self, Alike};
use crate::surface::Inventory;

/// How long counts are kept.
const KEPT: std::time::Duration = std::time::Duration::from_mins(1);
/// Numbers that one query looks at, so that none takes long.
const PART: i64 = 500_000;

/// Slots with one port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PortCounts {
    /// All of them.
    pub(crate) slots: u64,
    /// Those that are joined with nobody.
    pub(crate) free: u64,
    /// Associations by this port.
    pub(crate) associations: u64,
}

/// Counts of the whole inventory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct InventoryStatisticsBody {
    /// When they were counted.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) as_of: Timestamp,
    /// Widgets.
    pub(crate) widgets: u64,
    /// Slots by port.
    #[schema(value_type = Object)]
    pub(crate) ports: BTreeMap<&'static str, PortCounts>,
    /// Widgets by the number of their associations, from none to three.
    pub(crate) widgets_by_associations: [u64; MOST_SLOTS + 1],
    /// Widgets by their ports, as `PPR`.
    #[schema(value_type = Object)]
    pub(crate) widgets_by_ports: BTreeMap<String, u64>,
}

/// The counts that are kept.
#[derive(Debug, Default)]
pub(crate) struct Counted(Mutex<Option<InventoryStatisticsBody>>);

impl InventoryStatisticsBody {
    fn new(as_of: Timestamp) -> Self {
        Self {
            as_of,
            widgets: 0,
            ports: Port::ALL
                .into_iter()
                .map(|port| (port.as_str(), PortCounts::default()))
                .collect(),
            widgets_by_associations: [0; MOST_SLOTS + 1],
            widgets_by_ports: BTreeMap::new(),
        }
    }

    fn add(&mut self, alike: &Alike) {
        self.widgets += alike.count;
        *self
            .widgets_by_ports
            .entry(alike.ports.clone())
            .or_default() += alike.count;
        let mut associations = 0;
        for (slot, port) in Ports::parse(&alike.ports)
            .unwrap_or_default()
            .iter()
            .enumerate()
        {
            let taken = alike.taken >> slot & 1 == 1;
            associations += usize::from(taken);
            if let Some(counts) = self.ports.get_mut(port.as_str()) {
                counts.slots += alike.count;
                if taken {
                    counts.associations += alike.count;
                } else {
                    counts.free += alike.count;
                }
            }
        }
        if let Some(place) = self.widgets_by_associations.get_mut(associations) {
            *place += alike.count;
        }
    }
}

impl Inventory {
    /// Counts, or returns counts of the last minute.
    pub(crate) async fn statistics(&self) -> Result<InventoryStatisticsBody, ReadError> {
        let inner = &self.inner;
        let mut kept = inner.counted.0.lock().await;
        let now = inner.clock.now();
        if let Some(counts) = kept.as_ref().filter(|kept| now.since(kept.as_of) < KEPT) {
            return Ok(counts.clone());
        }
        let mut counts = InventoryStatisticsBody::new(now);
        let (mut after, mut last) = (0, i64::MAX);
        while after < last {
            let mut tx = inner.db.read().await?;
            if last == i64::MAX {
                last = store::highest_id(&mut tx).await?;
            }
            let part = store::count_alike(&mut tx, after, after + PART).await?;
            tx.commit().await?;
            for alike in &part {
                counts.add(alike);
            }
            after += PART;
        }
        for ports in counts.ports.values_mut() {
            // Each was counted from both sides.
            ports.associations /= 2;
        }
        *kept = Some(counts.clone());
        Ok(counts)
    }
}
