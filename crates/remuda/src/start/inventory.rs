//! The hardware inventory and its configuration.

use std::sync::Arc;

use identity::Identity;
use inventory::{Inventory, InventoryConfig, InventoryDeps};
use primitives::Clock;
use store::Db;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::InventorySection;

/// Makes the domain, and has it carry calls out until `stop`.
pub(super) fn open(
    section: &InventorySection,
    db: &Db,
    clock: &Arc<dyn Clock>,
    identity: &Identity,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Inventory {
    let inventory = Inventory::new(InventoryDeps {
        db: db.clone(),
        clock: Arc::clone(clock),
        identity: identity.clone(),
        config: InventoryConfig {
            open: section.open,
            max_batch: section.max_batch,
            writers: section.writers,
            max_waiting: section.max_waiting,
            max_wait: section.max_wait.0,
            ..InventoryConfig::default()
        },
    });
    tasks.spawn(inventory.clone().work(stop.clone()));
    inventory
}
