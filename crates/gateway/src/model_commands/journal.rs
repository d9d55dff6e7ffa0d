//! Commands that change what nodes have or do stand in the journal of changes before they are carried out.

use std::sync::Arc;
use std::time::Duration;

use dialects::ApiError;
use identity::journal::{self, Action, Actor, Change};
use primitives::{Clock, ErrorKind};
use serde_json::json;
use store::{Db, StoreError};
use tokio::runtime::Handle;

use crate::fleet_view::RouteNode;
use crate::under_way::Facts;

/// The longest wait for the database.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where commands are recorded.
pub(crate) struct CommandJournal {
    db: Db,
    clock: Arc<dyn Clock>,
    /// The database is waited for there, not where tokens pass.
    runtime: Handle,
}

impl CommandJournal {
    pub(crate) const fn new(db: Db, clock: Arc<dyn Clock>, runtime: Handle) -> Self {
        Self { db, clock, runtime }
    }

    /// Records what `by` has these nodes do with a model (or with a part of one); `to` is its new name when it gets one.
    ///
    /// # Errors
    ///
    /// 503 when the database cannot take it in time: then the command is not to be carried out.
    pub(crate) async fn record(
        &self,
        by: Actor,
        action: Action,
        (kind, name): (&'static str, &str),
        nodes: &[Arc<RouteNode>],
        to: Option<&str>,
    ) -> Result<(), ApiError> {
        let names: Vec<&str> = nodes.iter().map(|node| &*node.view.name).collect();
        let new = match to {
            Some(to) => json!({"nodes": names, "to": to}),
            None => json!({"nodes": names}),
        };
        let change = Change {
            action,
            org: None,
            subject: (kind, Some(name.to_owned())),
            old: None,
            new: Some(new),
        };
        self.record_change(by, change).await
    }

    /// Records that `by` cancels a request.
    ///
    /// # Errors
    ///
    /// 503 when the database cannot take it in time: then the request is not to be cancelled.
    pub(crate) async fn record_cancel(&self, by: Actor, request: &Facts) -> Result<(), ApiError> {
        let change = Change {
            action: Action::RequestCancel,
            org: Some(request.organisation),
            subject: ("request", Some(request.id.to_string())),
            old: None,
            new: Some(json!({"caller": &*request.caller, "model": &*request.model})),
        };
        self.record_change(by, change).await
    }

    async fn record_change(&self, by: Actor, change: Change) -> Result<(), ApiError> {
        let (db, now) = (self.db.clone(), self.clock.now());
        let writing = self.runtime.spawn(async move {
            let writing = tokio::time::timeout(PATIENCE, write(&db, now, &by, change));
            writing
                .await
                .map_err(|_| "it did not answer in time".to_owned())
        });
        let refused = match writing.await {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(late)) => late,
            Err(error) => error.to_string(),
        };
        tracing::warn!(error = refused, "a command could not be recorded");
        Err(ApiError::new(
            ErrorKind::Unavailable,
            "the database cannot record the change now, so it was not made: try again, see /health",
        )
        .with_retry_after(PATIENCE))
    }
}

async fn write(
    db: &Db,
    now: primitives::Timestamp,
    by: &Actor,
    change: Change,
) -> Result<(), StoreError> {
    let mut tx = db.write_ordered().await?;
    journal::begin(&mut tx).await?;
    journal::record(&mut tx, now, by, change).await?;
    tx.commit().await
}
