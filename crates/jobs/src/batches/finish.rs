//! The end of a batch: answers into one file, what went wrong into another, in the order of the input.

use super::line::{Came, LineState, NoAnswer};
use super::model::{Batch, BatchError, BatchStatus};
use crate::files::{Purpose, Writing};
use crate::seal::open_named;
use crate::store::{self, StoredLine};
use crate::surface::Jobs;

/// Lines that are read together.
const PAGE: u64 = 32;

impl Jobs {
    /// Writes the files of a batch and ends it. Begun anew after an interruption, with files of its own.
    pub(super) async fn finish_batch(&self, batch: &Batch) -> Result<(), BatchError> {
        let mut files: [Option<Writing>; 2] = [None, None];
        let written = self.write_files(batch, &mut files).await;
        let unanswered = match written {
            Ok(unanswered) => unanswered,
            Err(error) => {
                for writing in files.into_iter().flatten() {
                    writing.give_up().await;
                }
                return Err(error);
            }
        };
        let status = match batch.status {
            BatchStatus::Cancelling => BatchStatus::Cancelled,
            _ if unanswered > 0 => BatchStatus::Expired,
            _ => BatchStatus::Completed,
        };
        for writing in files.iter_mut().flatten() {
            writing.finish().await?;
        }
        let mut tx = self.inner.db.write().await?;
        let now = store::now(&mut tx, &*self.inner.clock).await?;
        for writing in files.iter().flatten() {
            store::complete_file(&mut tx, &writing.file).await?;
        }
        let id = |file: &Option<Writing>| file.as_ref().map(|file| file.file.id.0.clone());
        let [output, errors] = &files;
        store::end_batch(&mut tx, &batch.id, status, [id(output), id(errors)], now).await?;
        Ok(tx.commit().await?)
    }

    /// Writes what lines came to; returns how many have no answer.
    async fn write_files(
        &self,
        batch: &Batch,
        files: &mut [Option<Writing>; 2],
    ) -> Result<u64, BatchError> {
        let mut after = 0;
        let mut unanswered = 0;
        loop {
            let mut tx = self.inner.db.read().await?;
            let lines = store::lines_after(&mut tx, &batch.id, after, PAGE).await?;
            tx.commit().await?;
            let Some(last) = lines.last() else {
                return Ok(unanswered);
            };
            after = last.number;
            for line in &lines {
                let came = self.came(batch, line)?;
                let completed = line.state == LineState::Completed;
                unanswered += u64::from(line.state == LineState::Waiting);
                let [output, errors] = &mut *files;
                let (slot, name) = if completed {
                    (output, "output")
                } else {
                    (errors, "errors")
                };
                let writing = if let Some(writing) = slot {
                    writing
                } else {
                    let name = format!("{}_{name}.jsonl", batch.id);
                    let begun = self
                        .begin_file(batch.owner, &name, Purpose::BatchOutput)
                        .await?;
                    slot.insert(begun)
                };
                let text = came.line(&batch.id.0, line.number);
                writing.write(text.as_bytes()).await?;
            }
        }
    }

    fn came(&self, batch: &Batch, line: &StoredLine) -> Result<Came, BatchError> {
        let sealer = &self.inner.sealer;
        let place = |what| store::line_place(&batch.id.0, line.number, what);
        if let Some(answer) = &line.answer {
            return Ok(open_named(sealer, &place("answer"), answer)?);
        }
        let custom_id = match &line.body {
            Some(body) => {
                let kept: super::line::Kept = open_named(sealer, &place("body"), body)?;
                kept.custom_id
            }
            None => String::new(),
        };
        let (code, message) = if batch.status == BatchStatus::Cancelling {
            (
                "batch_cancelled",
                "the batch was called off before this line was answered",
            )
        } else {
            (
                "batch_expired",
                "the batch's time was over before this line was answered",
            )
        };
        Ok(Came {
            custom_id,
            response: None,
            error: Some(NoAnswer {
                code: code.to_owned(),
                message: message.to_owned(),
            }),
        })
    }
}
