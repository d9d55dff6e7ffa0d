//! Erasing what names a person from the records, so that the chain still verifies.

use ::store::StoreError;
use primitives::{KeyId, UserId};
use serde_json::Value;

use super::commitment::{Part, erase};
use super::record::AuditRecord;
use crate::identity::Identity;
use crate::store;

/// Records that are changed in one transaction; others write in between.
const STEP: u32 = 500;

/// What a person is known by.
#[derive(Clone, Debug)]
pub(crate) struct Traces {
    pub(crate) user: UserId,
    pub(crate) keys: Vec<KeyId>,
    pub(crate) username: String,
    /// Addresses and names that stand in what was before or after a change of something else.
    pub(crate) told: Vec<String>,
}

impl Traces {
    fn ids(&self) -> impl Iterator<Item = String> {
        let keys = self.keys.iter().map(ToString::to_string);
        std::iter::once(self.user.to_string()).chain(keys)
    }

    /// Returns the names that a person may have written into free texts, as they stand in JSON. One or two letters would be found in
    /// everything.
    fn names(&self) -> Vec<String> {
        let names = std::iter::once(&self.username).chain(&self.told);
        names
            .filter(|name| name.chars().count() > 2)
            .map(|name| {
                Value::from(name.as_str())
                    .to_string()
                    .trim_matches('"')
                    .to_owned()
            })
            .collect()
    }

    /// Returns what to look for in states of other things, as patterns of `LIKE` with the escape character `\`.
    fn patterns(&self) -> Vec<String> {
        let quoted = |text: &str| Value::from(text).to_string();
        let name = format!("\"username\":{}", quoted(&self.username));
        let told = self.told.iter().map(|text| quoted(text));
        std::iter::once(name)
            .chain(told)
            .map(|text| {
                let text = text
                    .replace('\\', "\\\\")
                    .replace('%', "\\%")
                    .replace('_', "\\_");
                format!("%{text}%")
            })
            .collect()
    }
}

/// Tells whether one of these names stands in what was before or after.
fn tells(record: &AuditRecord, names: &[String]) -> bool {
    let states = [&record.old, &record.new];
    let mut states = states.into_iter().flatten();
    states.any(|state| names.iter().any(|name| state.contains(name)))
}

impl Identity {
    /// Erases a person from the records: their name, address and program where they or their keys did something, and what was before
    /// and after where they or their keys were changed or are named. Returns how many records were changed.
    pub(crate) async fn erase_from_audit(&self, traces: &Traces) -> Result<u64, StoreError> {
        let mut erased = 0;
        let names = traces.names();
        for id in traces.ids() {
            erased += self
                .erase_where(store::Trace::Actor(&id), Part::Actor, &names)
                .await?;
            erased += self
                .erase_where(store::Trace::Subject(&id), Part::States, &[])
                .await?;
        }
        for pattern in traces.patterns() {
            erased += self
                .erase_where(store::Trace::Told(&pattern), Part::States, &[])
                .await?;
        }
        Ok(erased)
    }

    /// Erases a part of the records that are found, and what was before and after where one of `names` stands in it.
    async fn erase_where(
        &self,
        trace: store::Trace<'_>,
        part: Part,
        names: &[String],
    ) -> Result<u64, StoreError> {
        let (mut from, mut erased) = (Some(0), 0);
        while let Some(after) = from {
            // Looking may take a while, and keeps nobody from writing.
            let mut tx = self.inner.db.read().await?;
            let traced = store::audit_traces(&mut tx, trace, after, STEP).await?;
            tx.commit().await?;
            from = traced.go_on;
            if traced.found.is_empty() {
                continue;
            }
            let mut tx = self.inner.db.write_ordered().await?;
            store::advance_generation_only(&mut tx).await?;
            for seq in traced.found {
                // Read again: something else of it may have been erased meanwhile.
                let Some(mut record) = store::find_audit(&mut tx, seq).await? else {
                    continue;
                };
                let mut changed = erase(&mut record, part);
                if tells(&record, names) {
                    changed |= erase(&mut record, Part::States);
                }
                if changed {
                    store::put_erased(&mut tx, &record).await?;
                    erased += 1;
                }
            }
            tx.commit().await?;
        }
        Ok(erased)
    }
}
