//! One transaction for the calls that wait.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ::store::StoreError;

use crate::decide::{Board, Verdict};
use crate::model::Operation;
use crate::refusal::{CallError, Refusal};
use crate::store;
use crate::surface::Inner;

/// What fails within this time may be done at once again. What fails later has waited for a database that does not answer.
const AGAIN_WITHIN: Duration = Duration::from_secs(3);

/// What became of a call.
pub(crate) type Outcome = Result<(), CallError>;

/// Carries calls out together. The answer has a place for each, empty where the call waits for the next transaction.
pub(crate) async fn carry_out(inner: &Inner, operations: &[&Operation]) -> Vec<Option<Outcome>> {
    let began = inner.clock.monotonic();
    let mut tried = try_together(inner, operations).await;
    if let Err(trouble) = &tried
        && let Some(error) = trouble.may_pass_at_once()
        && inner.clock.monotonic().since(began) < AGAIN_WITHIN
    {
        // Nothing was changed.
        tracing::warn!(
            error = error as &dyn std::error::Error,
            "calls of the inventory are carried out a second time"
        );
        tried = try_together(inner, operations).await;
    }
    match tried {
        Ok(outcomes) => outcomes,
        Err(Trouble::Before(error)) if error.is_passing() || operations.len() == 1 => {
            tell(&error);
            same(operations.len(), &CallError::failed(&error))
        }
        Err(Trouble::Before(error)) => {
            tell(&error);
            // One of them is the database's trouble, and the others must not suffer for it.
            let mut outcomes = Vec::with_capacity(operations.len());
            for operation in operations {
                let outcome = match try_together(inner, &[operation]).await {
                    Ok(outcome) => outcome.into_iter().next().flatten(),
                    Err(Trouble::Before(error)) => Some(Err(CallError::failed(&error))),
                    Err(Trouble::Undone(error)) => Some(Err(undone(error))),
                    Err(Trouble::Commit(_)) => Some(Err(CallError::Unsure)),
                };
                outcomes.push(outcome);
            }
            outcomes
        }
        Err(Trouble::Undone(error)) => {
            tell(&error);
            same(operations.len(), &undone(error))
        }
        Err(Trouble::Commit(error)) => {
            tell(&error);
            same(operations.len(), &CallError::Unsure)
        }
    }
}

/// Tells of calls whose transaction was undone.
fn undone(error: StoreError) -> CallError {
    CallError::failed(&StoreError::Unavailable(error.into()))
}

/// Where the database failed.
enum Trouble {
    /// Before the changes were to last.
    Before(StoreError),
    /// At the end of a transaction in which nothing was changed, or of which nothing lasts. What was read in it may be what others wrote
    /// in it.
    Undone(StoreError),
    /// While the changes were made to last: nobody knows whether they do.
    Commit(StoreError),
}

impl Trouble {
    /// Tells what an error means that came instead of the end of a transaction with changes.
    fn of_commit(error: StoreError) -> Self {
        if error.is_passing() || matches!(error, StoreError::Damaged(_)) {
            Self::Commit(error)
        } else {
            // The database has looked at it, and refused it.
            Self::Undone(error)
        }
    }

    /// Returns what went wrong, where nothing was changed and the same may work at once: a connection was lost on the way, or the
    /// database gave up one of two transactions.
    fn may_pass_at_once(&self) -> Option<&StoreError> {
        match self {
            Self::Before(error) => Some(error).filter(|error| error.is_unavailable()),
            Self::Undone(error) => Some(error),
            Self::Commit(_) => None,
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Before(error)
    }
}

fn same(count: usize, error: &CallError) -> Vec<Option<Outcome>> {
    (0..count).map(|_| Some(Err(error.clone()))).collect()
}

fn tell(error: &StoreError) {
    tracing::error!(
        error = error as &dyn std::error::Error,
        "calls of the inventory were not carried out together"
    );
}

async fn try_together(
    inner: &Inner,
    operations: &[&Operation],
) -> Result<Vec<Option<Outcome>>, Trouble> {
    let adds = operations
        .iter()
        .filter(|operation| matches!(operation, Operation::Add(_)))
        .count();
    let first_number = match adds {
        0 => 0,
        adds => inner.numbers.take(&inner.db, adds).await?,
    };
    let mut tx = inner.db.write().await?;
    let rows = store::lock_named(&mut tx, operations).await?;
    let mut board = Board::new(rows);
    let missing = board.missing_partners(operations);
    if !missing.is_empty() {
        // Joined while the lock was waited for, or named by a fault that `remuda inventory check` finds.
        let there = store::widgets_by_ids(&mut tx, &missing).await?;
        let there: HashSet<i64> = there.iter().map(|named| named.widget.id).collect();
        board.know_absent(missing.into_iter().filter(|id| !there.contains(id)));
    }
    let verdicts: Vec<Verdict> = operations
        .iter()
        .map(|operation| board.decide(operation))
        .collect();
    let mut new = HashSet::new();
    if board.is_unchanged() {
        // Nothing needs to last. But what was read may be what others have written in the same transaction, and true only with its end.
        tx.commit().await.map_err(Trouble::Undone)?;
    } else {
        new = store::write_changes(&mut tx, &board, first_number).await?;
        tx.commit().await.map_err(Trouble::of_commit)?;
    }
    let outcomes = verdicts.into_iter().zip(operations);
    Ok(outcomes
        .map(|(verdict, operation)| match verdict {
            Verdict::Done => Some(Ok(())),
            Verdict::IfNew => Some(was_new(operation, &new)),
            Verdict::Refused(refusal) => Some(Err(refusal.into())),
            Verdict::Later => None,
        })
        .collect())
}

/// Tells what became of a widget to be made, when these serial numbers were new.
fn was_new(operation: &Operation, new: &HashSet<String>) -> Outcome {
    match operation {
        Operation::Add(widget) if !new.contains(&*widget.serial_number) => {
            Err(Refusal::Taken(Arc::clone(&widget.serial_number)).into())
        }
        _ => Ok(()),
    }
}
