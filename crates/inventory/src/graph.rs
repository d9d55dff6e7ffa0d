//! What hangs together: everything that can be reached from a widget, and the shortest way between two.

use std::collections::HashMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::list::{ReadError, WidgetBody, shown};
use crate::model::{Port, Widget};
use crate::store;
use crate::surface::Inventory;

/// The most widgets of a component that are shown.
pub(crate) const LARGEST_COMPONENT: u32 = 10_000;
/// The most widgets that are looked at for a way.
const LOOKED_AT: usize = 50_000;
/// The most steps of a way.
const LONGEST_WAY: usize = 1_000;

/// What hangs together with a widget.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ComponentBody {
    /// The widgets, the one that was asked for among them.
    pub(crate) widgets: Vec<WidgetBody>,
    /// Whether these are all; else only as many as were wanted are shown.
    pub(crate) complete: bool,
}

/// A step on a way.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct StepBody {
    /// Where it begins.
    pub(crate) from: String,
    /// Where it ends.
    pub(crate) to: String,
    /// A port that joins the two.
    pub(crate) port: Port,
}

/// The shortest way between two widgets.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PathBody {
    /// Whether there is one.
    pub(crate) found: bool,
    /// Its steps; none where both ends are the same, or where there is no way.
    pub(crate) steps: Vec<StepBody>,
    /// Whether everything that hangs together was looked at; else there may be a way although none was found.
    pub(crate) complete: bool,
}

impl Inventory {
    /// Finds what hangs together with a widget, as far as `most` widgets.
    pub(crate) async fn component(
        &self,
        serial: &str,
        most: u32,
    ) -> Result<ComponentBody, ReadError> {
        let mut tx = self.inner.db.read().await?;
        let found = store::find_widget(&mut tx, serial).await?;
        let start = found.ok_or_else(|| unknown(serial))?.widget.id;
        let mut reached = store::reach(&mut tx, start, most + 1).await?;
        let complete = reached.len() <= most as usize;
        reached.truncate(most as usize);
        let rows = store::widgets_by_ids(&mut tx, &reached).await?;
        let widgets = shown(&mut tx, rows).await?;
        tx.commit().await?;
        Ok(ComponentBody { widgets, complete })
    }

    /// Finds the shortest way between two widgets: breadth first, one query for all widgets of the same distance.
    pub(crate) async fn path(&self, from: &str, to: &str) -> Result<PathBody, ReadError> {
        let mut tx = self.inner.db.read().await?;
        let start = store::find_widget(&mut tx, from).await?;
        let start = start.ok_or_else(|| unknown(from))?.widget;
        let goal = store::find_widget(&mut tx, to).await?;
        let goal = goal.ok_or_else(|| unknown(to))?.widget;
        let mut seen: HashMap<i64, (Widget, Option<i64>)> = HashMap::new();
        let goal_id = goal.id;
        let mut edge = vec![start.clone()];
        seen.insert(start.id, (start, None));
        let mut complete = true;
        for _ in 0..LONGEST_WAY {
            if seen.contains_key(&goal_id) || edge.is_empty() {
                break;
            }
            if seen.len() > LOOKED_AT {
                complete = false;
                break;
            }
            let mut next: HashMap<i64, i64> = HashMap::new();
            for widget in &edge {
                for partner in widget.partners.into_iter().flatten() {
                    if !seen.contains_key(&partner) {
                        next.entry(partner).or_insert(widget.id);
                    }
                }
            }
            let ids: Vec<i64> = next.keys().copied().collect();
            let rows = store::widgets_by_ids(&mut tx, &ids).await?;
            edge = rows.into_iter().map(|named| named.widget).collect();
            for widget in &edge {
                let parent = next.get(&widget.id).copied();
                seen.insert(widget.id, (widget.clone(), parent));
            }
        }
        tx.commit().await?;
        let found = seen.contains_key(&goal_id);
        complete &= found || edge.is_empty();
        Ok(PathBody {
            found,
            steps: way_back(&seen, goal_id),
            complete,
        })
    }
}

fn unknown(serial: &str) -> ReadError {
    ReadError::Unknown(serial.chars().take(64).collect())
}

/// Goes back from the goal to where it came from.
fn way_back(seen: &HashMap<i64, (Widget, Option<i64>)>, goal: i64) -> Vec<StepBody> {
    let mut steps = Vec::new();
    let mut here = goal;
    while let Some((widget, Some(parent))) = seen.get(&here) {
        let Some((before, _)) = seen.get(parent) else {
            break;
        };
        let port = Port::ALL
            .into_iter()
            .find(|port| before.slot_with(*port, Some(here)).is_some());
        if let Some(port) = port {
            steps.push(StepBody {
                from: before.serial_number.to_string(),
                to: widget.serial_number.to_string(),
                port,
            });
        }
        here = *parent;
    }
    steps.reverse();
    steps
}
