//! Looking for what must not be: associations that stand on one side only.

use serde::Serialize;
use utoipa::ToSchema;

use crate::list::ReadError;
use crate::store;
use crate::surface::Inventory;

/// Numbers that one part looks at.
const PART: i64 = 100_000;
/// The most faults of a part; it is shorter where there are more.
const LISTED: u32 = 100;

/// A slot whose partner does not know of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FaultBody {
    /// The widget.
    pub(crate) serial_number: String,
    /// Its slot, from 1.
    pub(crate) slot: u32,
    /// The number of the partner that it names.
    pub(crate) partner_id: i64,
}

/// What a part of the check found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CheckBody {
    /// Widgets that were looked at in this part.
    pub(crate) checked: u64,
    /// What is wrong, at most 100 of a part.
    pub(crate) faults: Vec<FaultBody>,
    /// Give this as `after` for the next part; absent after the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<i64>,
}

impl Inventory {
    /// Checks the widgets whose numbers follow `after`, one part of them.
    pub(crate) async fn check(&self, after: i64) -> Result<CheckBody, ReadError> {
        let mut last = after.saturating_add(PART);
        let mut tx = self.inner.db.read().await?;
        let mut faults = store::one_sided(&mut tx, after, last, LISTED).await?;
        if faults.len() >= LISTED as usize
            && let Some(widget) = faults.last().map(|fault| fault.id)
        {
            // There may be more. The part ends before the last one's widget, so that the next one begins with all of it.
            last = widget - 1;
            faults.retain(|fault| fault.id <= last);
        }
        let checked = store::count_alike(&mut tx, after, last).await?;
        let highest = store::highest_id(&mut tx).await?;
        tx.commit().await?;
        Ok(CheckBody {
            checked: checked.iter().map(|alike| alike.count).sum(),
            faults: faults
                .into_iter()
                .map(|fault| FaultBody {
                    serial_number: fault.serial_number,
                    slot: fault.slot,
                    partner_id: fault.partner,
                })
                .collect(),
            next: (last < highest).then_some(last),
        })
    }
}
