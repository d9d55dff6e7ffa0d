//! Sealing what jobs hold with the present key, in steps between which others write.

use ::store::StoreError;
use identity::Resealed;

use crate::files::piece_place;
use crate::seal::SealedPlace;
use crate::store::{self, SealedColumn};
use crate::surface::Jobs;

/// Values that are sealed anew in one transaction.
const STEP: u32 = 200;
/// Those that may be large.
const PIECES: u32 = 16;

impl Jobs {
    /// Seals payloads, results and pieces of output anew where another key sealed them. What is written meanwhile is sealed with the
    /// present key already.
    ///
    /// # Errors
    /// When the database fails. What was done until then is done.
    pub async fn reseal(&self) -> Result<Resealed, StoreError> {
        let mut total = Resealed::default();
        let mut after = String::new();
        loop {
            let mut tx = self.inner.db.write().await?;
            let found = store::sealed_after(&mut tx, &after, STEP).await?;
            let Some(last) = found.last() else { break };
            after = last.id.to_string();
            let sealer = &self.inner.sealer;
            for job in found {
                let place = SealedPlace::Payload(job.id).name();
                let payload = job
                    .payload
                    .and_then(|sealed| total.reseal(sealer, &place, &sealed));
                if let Some(sealed) = payload {
                    store::put_payload(&mut tx, job.id, sealed).await?;
                }
                let place = SealedPlace::Result(job.id).name();
                let result = job
                    .result
                    .and_then(|sealed| total.reseal(sealer, &place, &sealed));
                if let Some(sealed) = result {
                    store::put_result(&mut tx, job.id, sealed).await?;
                }
            }
            tx.commit().await?;
        }
        self.reseal_output(&mut total).await?;
        self.reseal_files(&mut total).await?;
        self.reseal_lines(&mut total).await?;
        Ok(total)
    }

    async fn reseal_files(&self, total: &mut Resealed) -> Result<(), StoreError> {
        let mut after = (String::new(), 0);
        loop {
            let mut tx = self.inner.db.write().await?;
            let found = store::file_pieces_after(&mut tx, (&after.0, after.1), PIECES).await?;
            let Some((file, number, _)) = found.last() else {
                return Ok(());
            };
            after = (file.clone(), *number);
            for (file, number, sealed) in found {
                let place = piece_place(&file, number);
                if let Some(sealed) = total.reseal(&self.inner.sealer, &place, &sealed) {
                    store::put_file_piece(&mut tx, &file, number, sealed).await?;
                }
            }
            tx.commit().await?;
        }
    }

    async fn reseal_lines(&self, total: &mut Resealed) -> Result<(), StoreError> {
        let mut after = (String::new(), 0);
        loop {
            let mut tx = self.inner.db.write().await?;
            let found = store::sealed_lines_after(&mut tx, (&after.0, after.1), PIECES).await?;
            let Some((batch, number, ..)) = found.last() else {
                return Ok(());
            };
            after = (batch.clone(), *number);
            for (batch, number, body, answer) in found {
                for (what, column, sealed) in [
                    ("body", SealedColumn::Body, body),
                    ("answer", SealedColumn::Answer, answer),
                ] {
                    let place = store::line_place(&batch, number, what);
                    let anew =
                        sealed.and_then(|sealed| total.reseal(&self.inner.sealer, &place, &sealed));
                    if let Some(sealed) = anew {
                        store::put_line(&mut tx, (&batch, number), column, sealed).await?;
                    }
                }
            }
            tx.commit().await?;
        }
    }

    async fn reseal_output(&self, total: &mut Resealed) -> Result<(), StoreError> {
        let mut after = (String::new(), 0);
        loop {
            let mut tx = self.inner.db.write().await?;
            let found = store::pieces_after(&mut tx, (&after.0, after.1), STEP).await?;
            let Some((job, number, _)) = found.last() else {
                return Ok(());
            };
            after = (job.to_string(), *number);
            for (job, number, sealed) in found {
                let place = SealedPlace::Output(job, number).name();
                if let Some(sealed) = total.reseal(&self.inner.sealer, &place, &sealed) {
                    store::put_piece(&mut tx, job, number, sealed).await?;
                }
            }
            tx.commit().await?;
        }
    }
}
