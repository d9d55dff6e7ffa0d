//! What jobs know of a person: what they asked for and were answered. It is given to nobody else, and erased with them.

use ::store::StoreError;
use identity::{
    DataSubject, Erased, ExportWriter, PartError, PersonalData, PrincipalKind, Reader, Work,
};
use primitives::{JobId, Timestamp};
use serde::Serialize;
use serde_json::Value;

use crate::model::{Job, JobKind, JobState, Owner};
use crate::seal::{SealedPlace, open};
use crate::store;
use crate::surface::Jobs;

/// Jobs that are read, or erased, at a time.
const STEP: u32 = 100;

/// A job as it is exported.
#[derive(Serialize)]
struct Exported {
    id: JobId,
    kind: JobKind,
    model: String,
    state: JobState,
    created_at: Timestamp,
    ended_at: Option<Timestamp>,
    client_address: Option<String>,
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answered: Option<Value>,
}

fn owner(of: &DataSubject) -> Owner {
    Owner {
        org: of.org,
        who: PrincipalKind::User(of.id),
    }
}

impl Jobs {
    fn exported(
        &self,
        reader: Reader,
        job: Job,
        payload: Option<Vec<u8>>,
        result: Option<Vec<u8>>,
    ) -> Exported {
        // What cannot be opened any more is left out.
        let opened = |place, sealed: Option<Vec<u8>>| {
            let sealed = sealed.filter(|_| reader == Reader::Themself)?;
            open(&self.inner.sealer, place, &sealed).ok()
        };
        Exported {
            asked: opened(SealedPlace::Payload(job.id), payload),
            answered: opened(SealedPlace::Result(job.id), result),
            id: job.id,
            kind: job.kind,
            model: job.subject,
            state: job.state,
            created_at: job.created_at,
            ended_at: job.ended_at,
            client_address: job.client_address.map(|address| address.to_string()),
            error: job.error,
        }
    }
}

/// A file as it is exported: its content is read by its id.
#[derive(Serialize)]
struct ExportedFile {
    id: String,
    name: String,
    purpose: &'static str,
    bytes: u64,
    created_at: Timestamp,
}

impl Jobs {
    async fn export_files(&self, of: &DataSubject, to: &mut ExportWriter) -> Result<(), PartError> {
        to.section("files").await?;
        let mut before = "\u{10ffff}".to_owned();
        loop {
            let mut tx = self.inner.db.read().await?;
            let found = store::list_files(&mut tx, owner(of), None, &before, STEP).await?;
            tx.commit().await?;
            let Some(last) = found.last() else {
                return Ok(());
            };
            before.clone_from(&last.id.0);
            for file in found {
                to.item(&ExportedFile {
                    id: file.id.0,
                    name: file.name,
                    purpose: file.purpose.as_str(),
                    bytes: file.bytes,
                    created_at: file.created_at,
                })
                .await?;
            }
        }
    }
}

impl PersonalData for Jobs {
    fn export<'a>(
        &'a self,
        of: &'a DataSubject,
        reader: Reader,
        to: &'a mut ExportWriter,
    ) -> Work<'a, Result<(), PartError>> {
        Box::pin(async move {
            to.section("jobs").await?;
            let mut after = String::new();
            loop {
                let mut tx = self.inner.db.read().await?;
                let found = store::jobs_with_contents(&mut tx, owner(of), &after, STEP).await?;
                tx.commit().await?;
                let Some((last, ..)) = found.last() else {
                    return self.export_files(of, to).await;
                };
                after = last.id.to_string();
                for (job, payload, result) in found {
                    to.item(&self.exported(reader, job, payload, result))
                        .await?;
                }
            }
        })
    }

    fn erase<'a>(&'a self, of: &'a DataSubject) -> Work<'a, Result<Vec<Erased>, StoreError>> {
        Box::pin(async move {
            let mut rows = 0;
            loop {
                let mut tx = self.inner.db.write().await?;
                let erased = store::erase_jobs(&mut tx, owner(of), STEP).await?;
                tx.commit().await?;
                if erased.is_empty() {
                    break;
                }
                rows += erased.len() as u64;
                // A run whose job is gone finds nothing to write to; here it is ended at once.
                let running = self.inner.running.lock();
                for id in &erased {
                    if let Some(run) = running.get(id) {
                        run.cancelled.cancel();
                    }
                }
            }
            let (mut files, mut batches) = (0, 0);
            loop {
                let mut tx = self.inner.db.write().await?;
                let more_batches = store::erase_batches(&mut tx, owner(of), STEP).await?;
                let more_files = store::erase_files(&mut tx, owner(of), STEP).await?;
                tx.commit().await?;
                batches += more_batches;
                files += more_files;
                if more_batches + more_files == 0 {
                    break;
                }
            }
            let erased = |what, rows| Erased { what, rows };
            Ok(vec![
                erased("jobs, with what was asked and answered", rows),
                erased("batches, with their lines", batches),
                erased("files", files),
            ])
        })
    }
}
