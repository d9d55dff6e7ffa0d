//! Taking many widgets or associations in: part by part, each widgets' part in one transaction, each line with its own answer.
//!
//! A line that says what is stored already changes nothing and is no mistake, so that a part can be sent again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use serde::Serialize;
use tokio::time::sleep;
use utoipa::ToSchema;

use crate::batch::Outcome;
use crate::config::InventoryConfig;
use crate::import_lines::{Format, Line, What, read};
use crate::import_records::records;
use crate::list::ReadError;
use crate::model::{NewWidget, Operation, Pair};
use crate::refusal::{CallError, Refusal};
use crate::store;
use crate::surface::Inventory;

/// The most lines of one part.
pub(crate) const MOST_LINES: usize = 50_000;
/// The most refused lines that an answer lists.
const LISTED: usize = 1_000;
/// How long an association waits for a place where too many calls wait.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first pause before it asks again. Each further one is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Returns how many associations imports make at the same time, all together. They share transactions, of which they leave half to others.
pub(crate) fn together(config: &InventoryConfig) -> usize {
    (config.max_batch / 2).clamp(1, config.max_waiting.max(1))
}

/// A line that was refused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RefusedLine {
    /// Its number.
    line: u64,
    /// Why.
    error: String,
}

/// What became of a part.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct ImportBody {
    /// Lines whose widget or association was made.
    pub(crate) made: u64,
    /// Lines whose widget or association was there already, just so.
    pub(crate) present: u64,
    /// Lines that were refused.
    pub(crate) refused: u64,
    /// The first 1,000 of those.
    pub(crate) refusals: Vec<RefusedLine>,
}

impl ImportBody {
    fn refuse(&mut self, line: u64, error: String) {
        self.refused += 1;
        if self.refusals.len() < LISTED {
            self.refusals.push(RefusedLine { line, error });
        }
    }
}

impl Inventory {
    /// Takes a part in, whose first line has the number `first_line`.
    pub(crate) async fn import(
        &self,
        text: &str,
        format: Format,
        what: What,
        first_line: u64,
    ) -> Result<ImportBody, ReadError> {
        let mut body = ImportBody::default();
        let mut widgets: HashMap<Arc<str>, (u64, NewWidget)> = HashMap::new();
        let mut pairs = Vec::new();
        for (number, line) in records(text, format, first_line) {
            match read(line, format, what) {
                Ok(None) => {}
                Ok(Some(Line::Association(pair))) => pairs.push((number, pair)),
                Ok(Some(Line::Widget(widget))) => {
                    let serial = Arc::clone(&widget.serial_number);
                    match widgets.get(&serial) {
                        Some((_, first)) if *first == widget => body.present += 1,
                        Some(_) => body.refuse(number, Refusal::Taken(serial).to_string()),
                        None => {
                            widgets.insert(serial, (number, widget));
                        }
                    }
                }
                Err(error) => body.refuse(number, error),
            }
            if widgets.len() + pairs.len() > MOST_LINES {
                return Err(ReadError::Invalid(format!(
                    "a part has at most {MOST_LINES} lines: send the rest in another one"
                )));
            }
        }
        self.import_widgets(widgets, &mut body).await?;
        let outcome = self.import_pairs(pairs, &mut body).await;
        self.inner.metrics.imported.inc_by(body.made);
        outcome.map(|()| body)
    }

    /// Makes an association. An import has time: where too many calls wait, it lets the others go first.
    async fn associate_in_time(&self, pair: &Pair) -> Outcome {
        let inner = &self.inner;
        // It is never closed, and whoever waits for a place has not begun.
        let _place = inner.importing.acquire().await;
        let began = inner.clock.monotonic();
        let mut pause = FIRST_PAUSE;
        loop {
            let outcome = self.call(Operation::Associate(pair.clone())).await;
            let waited = inner.clock.monotonic().since(began);
            if !matches!(outcome, Err(CallError::Overloaded)) || waited >= PATIENCE {
                return outcome;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn import_widgets(
        &self,
        widgets: HashMap<Arc<str>, (u64, NewWidget)>,
        body: &mut ImportBody,
    ) -> Result<(), ReadError> {
        if widgets.is_empty() {
            return Ok(());
        }
        let inner = &self.inner;
        let first_number = inner.numbers.take(&inner.db, widgets.len()).await?;
        let numbers = first_number..first_number + widgets.len() as i64;
        let mut sorted: Vec<&NewWidget> = widgets.values().map(|(_, widget)| widget).collect();
        sorted.sort_unstable_by(|a, b| a.serial_number.cmp(&b.serial_number));
        let mut tx = inner.db.write().await?;
        let made = store::insert_widgets(&mut tx, first_number, &sorted).await?;
        let mut there = Vec::new();
        if made < widgets.len() as u64 {
            let serials: Vec<Arc<str>> = widgets.keys().cloned().collect();
            there = store::stored_of(&mut tx, &serials).await?;
        }
        tx.commit().await?;
        body.made += made;
        for found in there {
            let serial = &found.widget.serial_number;
            let Some((line, wanted)) = widgets.get(serial) else {
                continue;
            };
            if numbers.contains(&found.widget.id) {
                continue;
            }
            if *wanted.name == *found.name && wanted.ports == found.widget.ports {
                body.present += 1;
            } else {
                body.refuse(*line, Refusal::Taken(Arc::clone(serial)).to_string());
            }
        }
        Ok(())
    }

    async fn import_pairs(
        &self,
        pairs: Vec<(u64, Pair)>,
        body: &mut ImportBody,
    ) -> Result<(), ReadError> {
        let calls = pairs.into_iter().map(|(line, pair)| async move {
            let outcome = self.associate_in_time(&pair).await;
            (line, pair, outcome)
        });
        let mut outcomes = stream::iter(calls).buffered(together(&self.inner.config));
        let mut doubtful = Vec::new();
        while let Some((line, pair, outcome)) = outcomes.next().await {
            match outcome {
                Ok(()) => body.made += 1,
                Err(CallError::Refused(Refusal::Associated { .. })) => body.present += 1,
                // Its slots may be taken by just this association.
                Err(CallError::Refused(refusal @ Refusal::NoFreeSlot { .. })) => {
                    doubtful.push((line, pair, refusal));
                }
                Err(CallError::Refused(refusal)) => body.refuse(line, refusal.to_string()),
                // No fault of the line: the part must be sent again. What has not begun yet does not begin.
                Err(error) => return Err(error.into()),
            }
        }
        drop(outcomes);
        if doubtful.is_empty() {
            return Ok(());
        }
        let serials: Vec<Arc<str>> = doubtful
            .iter()
            .flat_map(|(_, pair, _)| [pair.first.clone(), pair.second.clone()])
            .collect();
        let mut tx = self.inner.db.read().await?;
        let rows = store::stored_of(&mut tx, &serials).await?;
        tx.commit().await?;
        let by_serial: HashMap<&str, _> = rows
            .iter()
            .map(|named| (&*named.widget.serial_number, &named.widget))
            .collect();
        for (line, pair, refusal) in doubtful {
            let both = by_serial
                .get(&*pair.first)
                .zip(by_serial.get(&*pair.second));
            let joined = both.is_some_and(|(a, b)| a.slot_with(pair.port, Some(b.id)).is_some());
            if joined {
                body.present += 1;
            } else {
                body.refuse(line, refusal.to_string());
            }
        }
        Ok(())
    }
}
