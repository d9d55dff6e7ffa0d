//! Accepting a batch, listing and calling off.

use identity::Caller;
use serde_json::{Map, Value};

use super::model::{Batch, BatchError, BatchId, BatchStatus};
use super::{KIND, LIVE, WINDOW};
use crate::engine::NewWork;
use crate::files::Purpose;
use crate::model::{JobError, Owner};
use crate::store;
use crate::surface::Jobs;

/// The most entries of a batch's metadata, and the most characters of their names and values.
const METADATA: (usize, usize, usize) = (16, 64, 512);

/// What a client asks for.
#[derive(Debug)]
pub(crate) struct NewBatch {
    pub(crate) endpoint: String,
    pub(crate) input_file: String,
    pub(crate) window: String,
    pub(crate) metadata: Option<Map<String, Value>>,
}

fn invalid(param: &'static str, message: impl Into<String>) -> BatchError {
    BatchError::Invalid {
        param,
        message: message.into(),
    }
}

fn check_metadata(metadata: &Map<String, Value>) -> Result<(), BatchError> {
    let (entries, name, text) = METADATA;
    let fits = metadata.len() <= entries
        && metadata.iter().all(|(key, value)| {
            let value = value.as_str().map(|value| value.chars().count() <= text);
            key.chars().count() <= name && value == Some(true)
        });
    if fits {
        return Ok(());
    }
    Err(invalid(
        "metadata",
        format!("metadata may have {entries} entries: names of {name} characters, texts of {text}"),
    ))
}

impl Jobs {
    /// Accepts a batch. When this returns, it will be carried out.
    pub(crate) async fn submit_batch(
        &self,
        caller: &Caller,
        new: NewBatch,
    ) -> Result<Batch, BatchError> {
        let inner = &self.inner;
        let Some(executor) = inner.batches.get() else {
            return Err(BatchError::Job(JobError::UnknownKind(KIND.to_owned())));
        };
        if !executor.serves(&new.endpoint) {
            let message = "endpoint must be /v1/chat/completions, /v1/completions, /v1/responses or /v1/embeddings";
            return Err(invalid("endpoint", message));
        }
        if new.window != "24h" {
            return Err(invalid(
                "completion_window",
                "completion_window must be \"24h\"",
            ));
        }
        if let Some(metadata) = &new.metadata {
            check_metadata(metadata)?;
        }
        let owner = Owner::of(caller.principal());
        let input = self.load_file(owner, &new.input_file).await?;
        if input.purpose != Purpose::Batch {
            let message = "input_file_id must name a file with the purpose \"batch\"";
            return Err(invalid("input_file_id", message));
        }
        let mut tx = inner.db.write().await?;
        let live = store::count_live_batches(&mut tx, owner.org).await?;
        if live >= LIVE {
            return Err(BatchError::TooMany(live));
        }
        let now = store::now(&mut tx, &*inner.clock).await?;
        let batch = Batch {
            id: BatchId::generate(now),
            owner,
            caller: caller.principal().kind,
            client_address: caller.origin().ip,
            endpoint: new.endpoint,
            input_file: input.id.0,
            output_file: None,
            error_file: None,
            status: BatchStatus::Validating,
            faults: Vec::new(),
            metadata: Value::Object(new.metadata.unwrap_or_default()).to_string(),
            total: 0,
            completed: 0,
            failed: 0,
            created_at: now,
            in_progress_at: None,
            finalizing_at: None,
            cancelling_at: None,
            ended_at: None,
            expires_at: now.after(WINDOW),
        };
        store::insert_batch(&mut tx, &batch).await?;
        self.enqueue(&mut tx, work_of(&batch)).await?;
        tx.commit().await?;
        self.poke();
        Ok(batch)
    }

    /// Finds an owner's batch.
    pub(crate) async fn load_batch(&self, owner: Owner, id: &str) -> Result<Batch, BatchError> {
        let mut tx = self.inner.db.read().await?;
        let found = store::find_batch(&mut tx, Some(owner), id).await?;
        tx.commit().await?;
        found.ok_or_else(|| BatchError::Unknown(id.chars().take(64).collect()))
    }

    /// Lists an owner's batches, the newest first, from before an id.
    pub(crate) async fn list_batches(
        &self,
        owner: Owner,
        after: Option<&str>,
        most: u32,
    ) -> Result<Vec<Batch>, BatchError> {
        let mut tx = self.inner.db.read().await?;
        let before = after.unwrap_or("\u{10ffff}");
        let found = store::list_batches(&mut tx, owner, before, most).await?;
        tx.commit().await?;
        Ok(found)
    }

    /// Calls an owner's batch off. What is under way ends within a second or two; what was answered stays.
    pub(crate) async fn cancel_batch(&self, owner: Owner, id: &str) -> Result<Batch, BatchError> {
        let mut tx = self.inner.db.write().await?;
        let now = store::now(&mut tx, &*self.inner.clock).await?;
        let found = store::find_batch(&mut tx, Some(owner), id).await?;
        let found = found.ok_or_else(|| BatchError::Unknown(id.chars().take(64).collect()))?;
        if found.status.has_ended() {
            return Err(BatchError::HasEnded(found.id));
        }
        store::begin_cancel(&mut tx, &found.id, now).await?;
        // Should its job have been lost, this one ends the batch.
        self.enqueue(&mut tx, work_of(&found)).await?;
        tx.commit().await?;
        self.poke();
        self.load_batch(owner, id).await
    }
}

/// Returns the work that carries a batch out.
pub(super) fn work_of(batch: &Batch) -> NewWork {
    NewWork {
        payload: Value::String(batch.id.0.clone()),
        lane: Some(batch.owner.org.to_string()),
        unique_key: Some(batch.id.0.clone()),
        ..NewWork::new(KIND)
    }
}
