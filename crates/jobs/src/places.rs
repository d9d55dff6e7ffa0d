//! The places of a process: how many jobs of a kind it runs, of a lane and of an organisation.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use primitives::{JobId, OrgId};
use tokio::task::{Id, JoinError};

use crate::engine::kind::{Doer, Registered};
use crate::model::RunId;

/// A place that a run takes.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Whose places they are: those of a kind, or of all that is answered.
    pub(crate) pool: &'static str,
    pub(crate) lane: Arc<str>,
    pub(crate) org: Option<OrgId>,
    /// The job, and the run that holds it.
    pub(crate) held: (JobId, RunId),
}

/// What is taken.
#[derive(Debug)]
pub(crate) struct Places {
    of_pool: HashMap<&'static str, usize>,
    of_lane: HashMap<(&'static str, Arc<str>), usize>,
    of_org: HashMap<OrgId, HashMap<Arc<str>, usize>>,
    by_task: HashMap<Id, Place>,
    most_of_org: usize,
    /// Where the next look at a kind's lanes begins.
    after: HashMap<&'static str, String>,
}

/// Names whose places a kind uses.
pub(crate) fn pool(registered: &Registered) -> &'static str {
    match registered.doer {
        Doer::Inference(_) => "inference",
        Doer::Handler(_) => registered.spec.name,
    }
}

impl Places {
    pub(crate) fn new(most_of_org: usize) -> Self {
        Self {
            of_pool: HashMap::new(),
            of_lane: HashMap::new(),
            of_org: HashMap::new(),
            by_task: HashMap::new(),
            most_of_org,
            after: HashMap::new(),
        }
    }

    /// Returns how many places of a kind are free.
    pub(crate) fn free(&self, registered: &Registered) -> usize {
        let taken = self.of_pool.get(pool(registered)).copied().unwrap_or(0);
        registered.spec.places.saturating_sub(taken)
    }

    /// Returns how many have to be free before it is worth while to look as soon as a run has ended.
    pub(crate) fn wanted(registered: &Registered) -> usize {
        let spec = &registered.spec;
        spec.claimed_together.clamp(1, spec.places.max(1))
    }

    /// Returns how many more of a lane may run here, where answers with `due` lanes are waited for: each has its share of three quarters of
    /// the places, and the last quarter is left to lanes that have none, so that a slow model does not hold up another.
    pub(crate) fn of_lane(
        &self,
        registered: &Registered,
        lane: &Arc<str>,
        due: &BTreeSet<Arc<str>>,
    ) -> usize {
        let free = self.free(registered);
        if matches!(registered.doer, Doer::Handler(_)) {
            return free;
        }
        let pool = pool(registered);
        let holds = self
            .of_lane
            .get(&(pool, Arc::clone(lane)))
            .copied()
            .unwrap_or(0);
        if holds == 0 {
            return free.min(1);
        }
        let elsewhere = self
            .of_lane
            .keys()
            .filter(|(of, other)| *of == pool && !due.contains(other))
            .count();
        let places = registered.spec.places;
        let shared = places - last_quarter(places);
        let share = (shared / (due.len() + elsewhere).max(1)).max(1);
        share.saturating_sub(holds).min(free)
    }

    /// Returns the organisations that get no more of a lane: those that have all the places they may have, unless they have none of the
    /// lane. For such lanes there are a quarter more, so that a slow model does not hold up another of the same organisation either.
    pub(crate) fn full_orgs(&self, lane: &Arc<str>) -> Vec<OrgId> {
        let most = self.most_of_org;
        let beyond = most + last_quarter(most);
        let full = self.of_org.iter().filter(|(_, lanes)| {
            let holds: usize = lanes.values().sum();
            holds >= beyond || (holds >= most && lanes.contains_key(lane))
        });
        full.map(|(org, _)| *org).collect()
    }

    /// Takes a place for a task.
    pub(crate) fn take(&mut self, task: Id, place: Place) {
        *self.of_pool.entry(place.pool).or_default() += 1;
        *self
            .of_lane
            .entry((place.pool, Arc::clone(&place.lane)))
            .or_default() += 1;
        if let Some(org) = place.org {
            let lanes = self.of_org.entry(org).or_default();
            *lanes.entry(Arc::clone(&place.lane)).or_default() += 1;
        }
        self.by_task.insert(task, place);
    }

    /// Frees the place of a task. Returns what it held when it ended abnormally: nobody else lets go of it.
    pub(crate) fn release(&mut self, ended: Result<(Id, ()), JoinError>) -> Option<(JobId, RunId)> {
        let (task, error) = match ended {
            Ok((task, ())) => (task, None),
            Err(error) => (error.id(), Some(error)),
        };
        let place = self.by_task.remove(&task)?;
        less(&mut self.of_pool, &place.pool);
        if let Some(org) = place.org
            && let Some(lanes) = self.of_org.get_mut(&org)
        {
            less(lanes, &place.lane);
            if lanes.is_empty() {
                self.of_org.remove(&org);
            }
        }
        less(&mut self.of_lane, &(place.pool, place.lane));
        let error = error?;
        tracing::error!(%error, "a job's run ended abnormally: it is due again when its lease ends");
        Some(place.held)
    }

    pub(crate) fn looked_after(&self, kind: &'static str) -> String {
        self.after.get(kind).cloned().unwrap_or_default()
    }

    /// Notes where the next look at a kind's lanes begins; at the first one when absent.
    pub(crate) fn look_after(&mut self, kind: &'static str, lane: Option<String>) {
        self.after.insert(kind, lane.unwrap_or_default());
    }
}

/// Returns a quarter of some places, at least one of any: it is for those who have none.
const fn last_quarter(places: usize) -> usize {
    places.div_ceil(4)
}

/// Counts one less, and forgets what is nothing.
fn less<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}
