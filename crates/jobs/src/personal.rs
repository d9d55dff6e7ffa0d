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
                    return Ok(());
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
                        run.cancel();
                    }
                }
            }
            Ok(vec![Erased {
                what: "jobs, with what was asked and answered",
                rows,
            }])
        })
    }
}
