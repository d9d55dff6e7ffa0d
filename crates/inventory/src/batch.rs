//! One transaction for the calls that wait.

use std::collections::HashSet;
use std::sync::Arc;

use ::store::StoreError;

use crate::decide::{Board, Verdict};
use crate::model::Operation;
use crate::refusal::{CallError, Refusal};
use crate::store;
use crate::surface::Inner;

/// What became of a call.
pub(crate) type Outcome = Result<(), CallError>;

/// Carries calls out together. The answer has a place for each, empty where the call waits for the next transaction.
pub(crate) async fn carry_out(inner: &Inner, operations: &[&Operation]) -> Vec<Option<Outcome>> {
    match try_together(inner, operations).await {
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
                    Err(Trouble::Commit(_)) => Some(Err(CallError::Unsure)),
                };
                outcomes.push(outcome);
            }
            outcomes
        }
        Err(Trouble::Commit(error)) => {
            tell(&error);
            same(operations.len(), &CallError::Unsure)
        }
    }
}

/// Where the database failed.
enum Trouble {
    /// Before the changes were to last.
    Before(StoreError),
    /// While they were made to.
    Commit(StoreError),
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
    let verdicts: Vec<Verdict> = operations
        .iter()
        .map(|operation| board.decide(operation))
        .collect();
    let mut new = HashSet::new();
    if board.is_unchanged() {
        // What was read is true now, and nothing needs to last.
        drop(tx.commit().await);
    } else {
        new = store::write_changes(&mut tx, &board, first_number).await?;
        tx.commit().await.map_err(Trouble::Commit)?;
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
