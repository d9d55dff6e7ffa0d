//! What each domain knows of people, and what it has sealed, told to those who export, erase and replace keys.

use std::sync::Arc;

use identity::{Identity, Resealed, Work};
use jobs::Jobs;
use primitives::Clock;
use store::{Db, StoreError};
use system::{Reseals, System};

/// What jobs hold is sealed.
struct SealedJobs(Jobs);

impl Reseals for SealedJobs {
    fn reseal(&self) -> Work<'_, Result<Resealed, StoreError>> {
        Box::pin(self.0.reseal())
    }
}

/// Joins them.
pub(super) fn join(
    identity: &Identity,
    system: &System,
    jobs: &Jobs,
    (db, clock): (&Db, &Arc<dyn Clock>),
) {
    identity.add_personal_data(gateway::RequestsOfPeople {
        db: db.clone(),
        clock: Arc::clone(clock),
    });
    identity.add_personal_data(jobs.clone());
    identity.add_personal_data(system.clone());
    system.set_sealed(Arc::new(SealedJobs(jobs.clone())));
}
