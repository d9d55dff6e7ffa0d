//! Claiming the jobs of a kind: within the places here, and within the limits over all processes.

use std::collections::BTreeSet;
use std::sync::Arc;

use ::store::{Durability, Row, StoreError, Tx};
use primitives::Timestamp;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::engine::enqueue::Priority;
use crate::engine::hold::Held;
use crate::engine::kind::{Doer, KindSpec, Rate, Registered};
use crate::engine::task::Attempt;
use crate::model::RunId;
use crate::places::{Place, Places, pool};
use crate::run::{Run, Stops};
use crate::store::{self, Claim, DueLane, Lease, read_job};
use crate::surface::Jobs;
use crate::work::patiently;

/// What a look at a kind finds.
struct Look {
    paused: bool,
    lapsed: bool,
    due: Vec<DueLane>,
    next: Option<String>,
}

impl Jobs {
    /// Claims what is due of a kind while there are places, and begins it.
    pub(crate) async fn claim_kind(
        &self,
        registered: &Registered,
        runs: &mut JoinSet<()>,
        places: &mut Places,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let kind = registered.spec.name;
        let look = patiently(self.look_at(kind, places.looked_after(kind))).await?;
        if look.lapsed {
            patiently(self.take_lapsed(kind)).await?;
            self.inner.due.notify_one();
        }
        places.look_after(kind, look.next);
        if look.paused || look.due.is_empty() {
            return Ok(());
        }
        let lanes: BTreeSet<Arc<str>> = look
            .due
            .iter()
            .map(|due| Arc::from(due.lane.as_str()))
            .collect();
        for due in &look.due {
            let lane: Arc<str> = Arc::from(due.lane.as_str());
            loop {
                let room = places.of_lane(registered, &lane, &lanes);
                if room == 0 || stop.is_cancelled() {
                    break;
                }
                // Answers one by one: each may fill an organisation's places.
                let most = match registered.doer {
                    Doer::Inference(_) => 1,
                    Doer::Handler(_) => room.min(store::CLAIMED_TOGETHER),
                };
                let began = Instant::now();
                let run = RunId(Uuid::new_v4().to_string());
                let but_of = places.full_orgs(&lane);
                let claiming = self.claim(registered, &run, &lane, (due, &but_of), most);
                let rows = patiently(claiming).await?;
                self.inner.metrics.claim_took(began.elapsed());
                let claimed = rows.len();
                for row in &rows {
                    self.begin(registered, row, &run, &lane, runs, places, stop)?;
                }
                // The lane has nothing more that is due, or a limit was reached.
                if claimed < most {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn look_at(&self, kind: &'static str, after: String) -> Result<Look, StoreError> {
        let mut tx = self.inner.db.read().await?;
        let now = store::now(&mut tx, &*self.inner.clock).await?;
        let kinds = store::list_kinds(&mut tx).await?;
        let paused = kinds
            .iter()
            .any(|(name, paused_at)| name == kind && paused_at.is_some());
        let lapsed = store::find_lapsed(&mut tx, kind, now).await?;
        let (due, next) = store::due_lanes(&mut tx, kind, &after, now).await?;
        tx.commit().await?;
        Ok(Look {
            paused,
            lapsed,
            due,
            next,
        })
    }

    /// Claims of one lane, its first priority first.
    async fn claim(
        &self,
        registered: &Registered,
        run: &RunId,
        lane: &str,
        (due, but_of): (&DueLane, &[primitives::OrgId]),
        most: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let spec = &registered.spec;
        // A claim that a loss of power undoes leaves the job where it was.
        let mut tx = self.inner.db.write_with(Durability::Relaxed).await?;
        let now = store::now(&mut tx, &*self.inner.clock).await?;
        let mut left = most;
        if spec.is_counted() {
            store::lock_kind(&mut tx, spec.name).await?;
            left = left.min(allowed(&mut tx, spec, lane, now).await?);
        }
        let mut rows = Vec::new();
        for priority in Priority::ALL {
            if priority.number() < due.priority || left == 0 {
                continue;
            }
            let claim = Claim {
                run,
                now,
                until: now.after(self.inner.config.lease),
                kind: spec.name,
                lane,
                priority: priority.number(),
                but_of,
            };
            while left > 0 {
                let (found, asked) = store::claim(&mut tx, &claim, left).await?;
                let claimed = found.len();
                left -= claimed.min(left);
                rows.extend(found);
                if claimed < asked {
                    break;
                }
            }
        }
        if !rows.is_empty() {
            for (rate, of) in [(spec.rate, ""), (spec.lane_rate, lane)] {
                if let Some(rate) = rate {
                    let opened = now.before(rate.per);
                    store::note_taken(&mut tx, (spec.name, of), opened, now, rows.len()).await?;
                }
            }
        }
        tx.commit().await?;
        Ok(rows)
    }

    /// Begins a job that was claimed.
    #[expect(
        clippy::too_many_arguments,
        reason = "the loop's own state, which no other part has a use for"
    )]
    fn begin(
        &self,
        registered: &Registered,
        row: &Row,
        run: &RunId,
        lane: &Arc<str>,
        runs: &mut JoinSet<()>,
        places: &mut Places,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let id = row.get("id")?;
        let cancelled = CancellationToken::new();
        let held = Held {
            run: run.clone(),
            cancelled: cancelled.clone(),
        };
        let mut place = Place {
            pool: pool(registered),
            lane: Arc::clone(lane),
            org: None,
            held: (id, run.clone()),
        };
        let jobs = self.clone();
        match &registered.doer {
            Doer::Handler(handler) => {
                let attempt = Attempt::read(row, run, lane, cancelled)?;
                self.inner.running.lock().insert(id, held);
                let (handler, spec) = (Arc::clone(handler), registered.spec);
                let drained = stop.clone();
                let task = runs.spawn(async move {
                    attempt.carry_out(&jobs, &spec, &*handler, &drained).await;
                });
                places.take(task.id(), place);
            }
            Doer::Inference(executor) => {
                let job = read_job(row)?;
                place.org = Some(job.owner.org);
                self.inner.running.lock().insert(id, held);
                self.tell_state(&job);
                let lease = Lease {
                    job: id,
                    run: run.clone(),
                };
                let stops = Stops {
                    cancelled,
                    drained: stop.clone(),
                };
                let jitter = id.as_uuid().as_bytes()[15];
                let payload = row.get("payload_sealed")?;
                let executor = Arc::clone(executor);
                let run = Run::new(jobs, job, payload, lease, stops, jitter);
                let task = runs.spawn(run.carry_out(executor));
                places.take(task.id(), place);
            }
        }
        Ok(())
    }
}

/// Returns how many of a lane may begin now, within the limits over all processes.
async fn allowed(
    tx: &mut Tx,
    spec: &KindSpec,
    lane: &str,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let mut allowed = u64::MAX;
    for (most, of) in [
        (spec.most_everywhere, None),
        (spec.most_of_lane, Some(lane)),
    ] {
        if let Some(most) = most {
            let running = store::count_running(tx, spec.name, of).await?;
            allowed = allowed.min(u64::from(most).saturating_sub(running));
        }
    }
    for (rate, of) in [(spec.rate, ""), (spec.lane_rate, lane)] {
        if let Some(Rate { most, per }) = rate {
            let taken = store::taken_since(tx, spec.name, of, now.before(per)).await?;
            allowed = allowed.min(u64::from(most).saturating_sub(taken));
        }
    }
    Ok(usize::try_from(allowed).unwrap_or(usize::MAX))
}
