//! Looking at jobs: one's own, and no others.

use primitives::{Cursor, InvalidCursor, JobId, Page, PageRequest};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::model::{Job, JobError, JobKind, JobState, Owner};
use crate::seal::{SealedPlace, open};
use crate::store;
use crate::surface::Jobs;

/// How the list is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum JobSort {
    /// The newest first.
    #[default]
    #[serde(rename = "-created_at")]
    Newest,
    /// In the order in which they were accepted.
    #[serde(rename = "created_at")]
    Oldest,
}

impl JobSort {
    /// Tells cursors of one order from those of another.
    const fn mark(self) -> char {
        match self {
            Self::Newest => 'n',
            Self::Oldest => 'o',
        }
    }
}

/// Which jobs to list. Absent: all of the caller's.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// In this state.
    pub state: Option<JobState>,
    /// Of this kind.
    pub kind: Option<JobKind>,
    /// For this model, by its normalised name.
    pub subject: Option<String>,
}

/// Where a page begins.
#[derive(Clone, Debug)]
pub(crate) struct JobPosition {
    /// The id after (or before) which it begins.
    pub(crate) id: String,
    /// How many are fetched: one more than are shown.
    pub(crate) fetched: u32,
    /// How many are left out.
    pub(crate) skipped: u32,
}

fn position(page: &PageRequest, sort: JobSort) -> Result<JobPosition, InvalidCursor> {
    let id = match page.cursor.as_deref().map(Cursor::key).transpose()? {
        Some(key) => key
            .strip_prefix(sort.mark())
            .map(str::to_owned)
            .ok_or(InvalidCursor)?,
        None => match sort {
            JobSort::Newest => "\u{10ffff}".to_owned(),
            JobSort::Oldest => String::new(),
        },
    };
    Ok(JobPosition {
        id,
        fetched: page.size() + 1,
        skipped: page.skipped(),
    })
}

impl Jobs {
    /// Lists an owner's jobs.
    pub async fn list(
        &self,
        owner: Owner,
        filter: &JobFilter,
        sort: JobSort,
        page: &PageRequest,
    ) -> Result<Page<Job>, JobError> {
        let from = position(page, sort)?;
        let mut tx = self.inner.db.read().await?;
        let found = store::list_jobs(&mut tx, owner, filter, sort, &from).await?;
        let total = store::count_jobs(&mut tx, owner, filter).await?;
        tx.commit().await?;
        let key = |job: &Job| format!("{}{}", sort.mark(), job.id);
        Ok(Page::from_overfetched(found, page.size(), key).of_total(total))
    }

    /// Finds an owner's job, with its result where it has one.
    pub async fn load(&self, owner: Owner, id: JobId) -> Result<(Job, Option<Value>), JobError> {
        let mut tx = self.inner.db.read().await?;
        let found = store::find_job(&mut tx, owner, id).await?;
        tx.commit().await?;
        let (job, sealed) = found.ok_or_else(|| JobError::Unknown(id.to_string()))?;
        let result = sealed
            .map(|sealed| open(&self.inner.sealer, SealedPlace::Result(id), &sealed))
            .transpose()?;
        Ok((job, result))
    }
}
