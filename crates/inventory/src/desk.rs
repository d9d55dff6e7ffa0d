//! The inventory as one thread that serves connections sees it.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::{HeaderMap, Method};
use web::IDEMPOTENCY_KEY;

use crate::routes::{call_of, respond};
use crate::surface::Inventory;
use crate::tray::Tray;

/// Answers calls of `/rpc` on the thread that serves their connections, as the routes do. What it does not take is the routes'.
#[derive(Clone, Debug)]
pub struct Desk {
    inventory: Inventory,
    tray: Arc<Tray>,
}

impl Inventory {
    /// Makes the desk of one thread. Somebody there must [`serve`](Desk::serve) it.
    pub fn desk(&self) -> Desk {
        Desk {
            inventory: self.clone(),
            tray: Arc::default(),
        }
    }
}

impl Desk {
    /// Tells whether such a request is a call that this answers. One with a name of its own may be answered by what is remembered.
    pub fn takes(&self, method: &Method, path: &str, headers: &HeaderMap) -> bool {
        method == Method::POST && call_of(path).is_some() && !headers.contains_key(IDEMPOTENCY_KEY)
    }

    /// Answers a request that it takes.
    pub async fn answer(self, request: Request) -> Response {
        respond(&self.inventory, Some(&self.tray), request).await
    }

    /// Hands out answers, for as long as it is polled.
    pub async fn serve(self) {
        self.tray.hand_out().await;
    }
}
