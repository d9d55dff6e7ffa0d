//! Schedules: a job that is enqueued again and again. Each moment fires once over all processes: who moves the schedule on enqueues, in
//! one transaction. Moments that passed while nobody ran are made up for once.

use ::store::StoreError;
use primitives::Timestamp;

use super::cron::Cron;
use super::enqueue::NewWork;
use crate::model::JobError;
use crate::store;
use crate::surface::Jobs;

/// A schedule of the program.
#[derive(Clone, Debug)]
pub struct ScheduleSpec {
    /// Its name.
    pub name: &'static str,
    /// The kind that is enqueued, without a payload.
    pub kind: &'static str,
    /// When.
    pub cron: Cron,
}

/// A schedule as it stands.
#[derive(Clone, Debug)]
pub struct ScheduleState {
    /// Its name.
    pub name: String,
    /// The kind that is enqueued.
    pub kind: String,
    /// The cron expression.
    pub cron: String,
    /// Its time zone.
    pub zone: String,
    /// When it fires next.
    pub next_at: Timestamp,
    /// When it fired last.
    pub last_at: Option<Timestamp>,
}

impl Jobs {
    /// Adds a schedule. The last of its name holds, also for other processes; what was due before an expression changed is forgotten.
    pub fn schedule(&self, spec: ScheduleSpec) {
        let mut schedules = self.inner.schedules.lock();
        schedules.retain(|other| other.name != spec.name);
        schedules.push(spec);
    }

    /// Lists the schedules, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_schedules(&self) -> Result<Vec<ScheduleState>, StoreError> {
        let mut tx = self.inner.db.read().await?;
        let found = store::list_schedules(&mut tx).await?;
        tx.commit().await?;
        Ok(found)
    }

    /// Stores schedules that are new or have changed.
    pub(crate) async fn announce_schedules(&self) -> Result<(), StoreError> {
        let specs = self.inner.schedules.lock().clone();
        let mut tx = self.inner.db.write().await?;
        let now = store::now(&mut tx, &*self.inner.clock).await?;
        for spec in &specs {
            if let Some(next) = spec.cron.next(now) {
                store::put_schedule(&mut tx, spec, next).await?;
            }
        }
        tx.commit().await
    }

    /// Fires what is due. Returns how many this process has fired.
    ///
    /// # Errors
    /// When the database fails; what did not fire then is due the next time.
    pub async fn fire_due(&self) -> Result<usize, JobError> {
        let inner = &self.inner;
        let mut tx = inner.db.read().await?;
        let now = store::now(&mut tx, &*inner.clock).await?;
        let due = store::due_schedules(&mut tx, now).await?;
        tx.commit().await?;
        let specs = inner.schedules.lock().clone();
        let mut fired = 0;
        for state in due {
            let Some(spec) = specs.iter().find(|spec| spec.name == state.name) else {
                // A schedule of another version of the program: its processes fire it.
                continue;
            };
            let Some(next) = spec.cron.next(now) else {
                continue;
            };
            let mut tx = inner.db.write().await?;
            if store::move_schedule(&mut tx, spec.name, state.next_at, next, now).await? {
                let mut work = NewWork::new(spec.kind);
                // While the one before has not ended, another has nothing to do.
                work.unique_key = Some(format!("schedule:{}", spec.name));
                self.enqueue(&mut tx, work).await?;
                fired += 1;
            }
            tx.commit().await?;
        }
        if fired > 0 {
            self.poke();
        }
        Ok(fired)
    }
}
