//! The hardware inventory, its configuration, and how the gateway's workers answer its calls.

use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use gateway::{DirectAnswer, DirectRoutes, DirectWorker};
use http::{HeaderMap, Method, Request, Response};
use identity::Identity;
use inventory::{Desk, Inventory, InventoryConfig, InventoryDeps};
use primitives::Clock;
use store::Db;
use tokio_util::sync::CancellationToken;
use web::AllowedOrigins;

use super::tasks::Tasks;
use crate::config::Config;

/// Makes the domain, and has it carry calls out until `stop`.
pub(super) fn open(
    config: &Config,
    db: &Db,
    clock: &Arc<dyn Clock>,
    identity: &Identity,
    tasks: &Tasks,
    stop: &CancellationToken,
) -> Inventory {
    let section = &config.inventory;
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
        origins: AllowedOrigins::new(&config.server.allowed_origins),
    });
    tasks.spawn("inventory", inventory.clone().work(stop.clone()));
    inventory
}

/// Has each worker answer calls at a desk of its own.
#[derive(Debug)]
pub(super) struct Desks(pub(super) Inventory);

impl DirectRoutes for Desks {
    fn open(&self) -> Box<dyn DirectWorker> {
        Box::new(AtDesk(self.0.desk()))
    }
}

struct AtDesk(Desk);

impl DirectWorker for AtDesk {
    fn takes(&self, method: &Method, path: &str, headers: &HeaderMap) -> bool {
        self.0.takes(method, path, headers)
    }

    fn answer(&self, request: Request<Body>) -> DirectAnswer {
        Box::pin(self.0.clone().answer(request))
    }

    fn turns_away(&self, method: &str, path: &str) -> bool {
        self.0.turns_away(method, path)
    }

    fn turned_away(&self) -> Response<Bytes> {
        self.0.turned_away()
    }

    fn work(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.0.clone().serve())
    }
}
