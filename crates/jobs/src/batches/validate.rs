//! Reading the input of a batch: in pieces, into rows, with what is wrong with it told by the line.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use bytes::BytesMut;

use super::line::{LONGEST, Line};
use super::model::{Batch, BatchError, Fault};
use crate::batches::line::LineState;
use crate::files::FileId;
use crate::seal::seal_named;
use crate::store::{self, LineRow};
use crate::surface::Jobs;

/// Lines that are stored together.
const PAGE: usize = 200;
/// Faults that are told of; more are not looked for.
const FAULTS: usize = 100;

/// What was read.
pub(super) struct Reading {
    jobs: Jobs,
    batch: Batch,
    number: i64,
    names: HashSet<u64>,
    hasher: RandomState,
    page: Vec<LineRow>,
    faults: Vec<Fault>,
    lines: u64,
}

impl Reading {
    pub(super) fn new(jobs: &Jobs, batch: &Batch) -> Self {
        Self {
            jobs: jobs.clone(),
            batch: batch.clone(),
            number: 0,
            names: HashSet::new(),
            hasher: RandomState::new(),
            page: Vec::new(),
            faults: Vec::new(),
            lines: 0,
        }
    }

    /// Reads the whole input; returns how many lines there are, or what is wrong with them.
    pub(super) async fn read(mut self) -> Result<Result<u64, Vec<Fault>>, BatchError> {
        let file = FileId(self.batch.input_file.clone());
        // Another attempt may have come as far as here.
        self.jobs.forget_lines(&self.batch).await?;
        let mut held = BytesMut::new();
        let mut piece = 1;
        while let Some(content) = self.jobs.read_piece(&file, piece).await? {
            held.extend_from_slice(&content);
            while let Some(end) = held.iter().position(|byte| *byte == b'\n') {
                let line = held.split_to(end + 1);
                self.take(&line).await?;
            }
            if held.len() > LONGEST {
                self.number += 1;
                let message = format!("this line is longer than {LONGEST} bytes");
                self.note("line_too_long", Some(self.number), message);
                return Ok(Err(self.faults));
            }
            if self.faults.len() >= FAULTS {
                return Ok(Err(self.faults));
            }
            piece += 1;
        }
        if piece == 1 {
            let message = "the input file is empty, or was deleted".to_owned();
            self.note("empty_file", None, message);
        }
        self.take(&held).await?;
        self.store().await?;
        if self.lines == 0 && self.faults.is_empty() {
            let message = "the input file has no requests".to_owned();
            self.note("empty_file", None, message);
        }
        Ok(if self.faults.is_empty() {
            Ok(self.lines)
        } else {
            Err(self.faults)
        })
    }

    fn note(&mut self, code: &str, line: Option<i64>, message: String) {
        self.faults.push(Fault {
            code: code.to_owned(),
            message,
            param: None,
            line,
        });
    }

    async fn take(&mut self, text: &[u8]) -> Result<(), BatchError> {
        let text = text.trim_ascii();
        if text.is_empty() || self.faults.len() >= FAULTS {
            self.number += i64::from(!text.is_empty());
            return Ok(());
        }
        self.number += 1;
        let most = self.jobs.inner.config.batch_lines;
        if self.lines >= most {
            if self.lines > most {
                return Ok(());
            }
            self.lines += 1;
            let message = format!(
                "the batch has more than {most} requests, which is the limit ([jobs] batch_lines)"
            );
            self.note("too_many_requests", Some(self.number), message);
            return Ok(());
        }
        let line = match Line::read(text, self.number, &self.batch.endpoint) {
            Ok(line) => line,
            Err(fault) => {
                self.faults.push(fault);
                return Ok(());
            }
        };
        if !self.names.insert(self.hasher.hash_one(&line.custom_id)) {
            let message = format!("custom_id {:?} stands in a line before", line.custom_id);
            self.note("duplicate_custom_id", Some(self.number), message);
            return Ok(());
        }
        self.lines += 1;
        let place = store::line_place(&self.batch.id.0, self.number, "body");
        let model = line.model.clone();
        let body = seal_named(&self.jobs.inner.sealer, &place, &line.kept())?;
        self.page.push(LineRow {
            batch: self.batch.id.0.clone(),
            number: self.number,
            model,
            state: LineState::Waiting,
            body: Some(body),
        });
        if self.page.len() >= PAGE {
            self.store().await?;
        }
        Ok(())
    }

    async fn store(&mut self) -> Result<(), BatchError> {
        // Where something is wrong nothing is carried out.
        if !self.faults.is_empty() {
            self.page.clear();
        }
        if self.page.is_empty() {
            return Ok(());
        }
        let inner = &self.jobs.inner;
        let mut tx = inner.db.write_with(::store::Durability::Relaxed).await?;
        store::insert_lines(&mut tx, &self.page).await?;
        tx.commit().await?;
        self.page.clear();
        Ok(())
    }
}

impl Jobs {
    /// Removes the lines of a batch, some at a time.
    pub(super) async fn forget_lines(&self, batch: &Batch) -> Result<(), BatchError> {
        loop {
            let mut tx = self.inner.db.write().await?;
            let deleted = store::delete_lines(&mut tx, &batch.id, 500).await?;
            tx.commit().await?;
            if deleted < 500 {
                return Ok(());
            }
        }
    }
}
