//! What request records know of a person: exported, and stripped of name and address when the person is erased.

use std::sync::Arc;

use identity::{DataSubject, Erased, ExportWriter, PartError, PersonalData, Reader, Work};
use primitives::Clock;
use store::{Db, StoreError};

use crate::store::{self as records, Filter};

/// Records that are read at a time.
const STEP: u32 = 500;

/// The request records of people.
pub struct RequestsOfPeople {
    /// Where they are.
    pub db: Db,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

impl RequestsOfPeople {
    /// Takes name and address out of records that came after their callers were erased. Whoever writes records does so every hour.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erase_late(&self) -> Result<(), StoreError> {
        records::erase_late_names(&self.db, self.clock.now()).await
    }
}

impl PersonalData for RequestsOfPeople {
    fn export<'a>(
        &'a self,
        of: &'a DataSubject,
        _reader: Reader,
        to: &'a mut ExportWriter,
    ) -> Work<'a, Result<(), PartError>> {
        Box::pin(async move {
            to.section("requests").await?;
            let ids = of.ids();
            let mut filter = Filter {
                callers: Some(ids),
                ..Filter::default()
            };
            loop {
                let listed = records::list_records(&self.db, &filter, STEP).await?;
                for record in &listed.records {
                    to.item(record).await?;
                }
                let full = listed.records.len() == STEP as usize;
                let last = listed.records.last().map(|record| record.id.to_string());
                match (full, last, listed.looked_until) {
                    (true, last, _) => filter.before = last,
                    (false, _, Some(edge)) => filter.before = Some(edge),
                    (false, _, None) => return Ok(()),
                }
            }
        })
    }

    fn erase<'a>(&'a self, of: &'a DataSubject) -> Work<'a, Result<Vec<Erased>, StoreError>> {
        Box::pin(async move {
            let ids = of.ids();
            // Records of requests that are under way come later, and lose the same then.
            records::note_erased(&self.db, &ids, self.clock.now()).await?;
            let (mut from, mut rows) = (Some(String::new()), 0);
            while let Some(after) = from {
                let (changed, next) = records::erase_names(&self.db, &ids, &after).await?;
                rows += changed;
                from = next;
            }
            Ok(vec![Erased {
                what: "records of requests, of which name and address",
                rows,
            }])
        })
    }
}
