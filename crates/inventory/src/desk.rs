//! The inventory as one thread that serves connections sees it.

use std::sync::Arc;

use axum::extract::Request;
use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use tokio_util::task::AbortOnDropHandle;
use web::IDEMPOTENCY_KEY;

use crate::refusal::CallError;
use crate::routes::{call_of, refusal, respond};
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
    pub async fn answer(self, request: Request) -> Response<Bytes> {
        respond(&self.inventory, Some(&self.tray), request).await
    }

    /// Tells whether a call would only be refused now for want of a place, and counts it then.
    pub fn turns_away(&self, method: &str, path: &str) -> bool {
        let kind = call_of(path).filter(|_| method == Method::POST.as_str());
        kind.is_some_and(|kind| {
            let looked = self.inventory.look_for_room(kind, Some(&self.tray));
            matches!(looked, Err(CallError::Overloaded))
        })
    }

    /// Makes the answer to calls that are turned away.
    pub fn turned_away(&self) -> Response<Bytes> {
        refusal(CallError::Overloaded)
    }

    /// Hands out answers, for as long as it is polled. Must be called on the thread.
    pub async fn serve(self) {
        let tray = Arc::clone(&self.tray);
        let clock = Arc::clone(&self.inventory.inner.clock);
        // A task among those of the connections: it is their line whose length it measures.
        let _measuring =
            AbortOnDropHandle::new(tokio::spawn(async move { tray.measure(&*clock).await }));
        self.tray.hand_out().await;
    }
}
