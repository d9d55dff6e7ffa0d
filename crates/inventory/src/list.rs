//! Looking at widgets: one, or lists of them.

use std::collections::HashMap;

use ::store::{StoreError, Tx};
use primitives::{Classify, Cursor, ErrorKind, InvalidCursor, Page};
use serde::Serialize;
use utoipa::ToSchema;

use crate::model::Port;
use crate::refusal::CallError;
use crate::store::{self, NamedWidget};
use crate::surface::Inventory;

/// Serial numbers that one page looks at. A page of a rare filter may be short, or empty, and leads on.
const LOOKED_AT: u32 = 20_000;
/// What stands behind every serial number.
const END: &str = "\u{10ffff}\u{10ffff}";

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such widget.
    #[error("there is no widget with serial number {0}")]
    Unknown(String),
    /// There is no such node.
    #[error("there is no node {0}")]
    UnknownNode(String),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The cursor is none of ours.
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Calls that an import makes were not carried out.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl Classify for ReadError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown(_) | Self::UnknownNode(_) => ErrorKind::NotFound,
            Self::Invalid(_) | Self::Cursor(_) => ErrorKind::Invalid,
            Self::Store(error) => error.kind(),
            Self::Call(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Store(error) => error.public_message(),
            Self::Call(error) => error.public_message(),
            Self::Unknown(_) => {
                format!("{self}: GET /api/v1/inventory/widgets lists them")
            }
            Self::UnknownNode(_) => format!("{self}: GET /api/v1/nodes lists them"),
            other => other.to_string(),
        }
    }
}

/// Which widgets to list. Absent: all.
#[derive(Clone, Debug, Default)]
pub(crate) struct WidgetFilter {
    /// The serial number begins so.
    pub(crate) prefix: Option<String>,
    /// The name is this.
    pub(crate) name: Option<String>,
    /// There is a slot with this port.
    pub(crate) port: Option<Port>,
    /// There is a free slot with this port.
    pub(crate) free: Option<Port>,
    /// Whether it is joined with anything.
    pub(crate) associated: Option<bool>,
}

/// A slot as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct SlotBody {
    /// Its type of port.
    pub(crate) port: Port,
    /// The serial number of the widget that it is joined with; `null` when it is free.
    #[schema(required)]
    pub(crate) partner: Option<String>,
}

/// A widget as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct WidgetBody {
    /// Its serial number.
    #[schema(example = "NIC-0001")]
    pub(crate) serial_number: String,
    /// Its name.
    pub(crate) name: String,
    /// Its slots in their order, at most three.
    #[schema(max_items = 3)]
    pub(crate) slots: Vec<SlotBody>,
}

/// Names the partners of widgets.
pub(crate) async fn shown(
    tx: &mut Tx,
    widgets: Vec<NamedWidget>,
) -> Result<Vec<WidgetBody>, StoreError> {
    let partners = widgets.iter().flat_map(|named| named.widget.partners);
    let mut partners: Vec<i64> = partners.flatten().collect();
    partners.sort_unstable();
    partners.dedup();
    let found = store::widgets_by_ids(tx, &partners).await?;
    let serials: HashMap<i64, String> = found
        .into_iter()
        .map(|named| (named.widget.id, named.widget.serial_number.to_string()))
        .collect();
    Ok(widgets
        .into_iter()
        .map(|NamedWidget { widget, name }| WidgetBody {
            serial_number: widget.serial_number.to_string(),
            name,
            slots: widget
                .ports
                .iter()
                .zip(widget.partners)
                .map(|(port, partner)| SlotBody {
                    port,
                    partner: partner.and_then(|partner| serials.get(&partner).cloned()),
                })
                .collect(),
        })
        .collect())
}

impl Inventory {
    /// Tells whether there is a widget of this serial number.
    pub(crate) async fn is_there(&self, serial: &str) -> Result<bool, CallError> {
        let find = async {
            let mut tx = self.inner.db.read_by_keys().await?;
            let found = store::find_widget(&mut tx, serial).await?;
            tx.commit().await?;
            Ok(found.is_some())
        };
        find.await
            .map_err(|error: StoreError| CallError::failed(&error))
    }

    /// Finds a widget.
    pub(crate) async fn widget(&self, serial: &str) -> Result<WidgetBody, ReadError> {
        let mut tx = self.inner.db.read().await?;
        let found = store::find_widget(&mut tx, serial).await?;
        let shown = shown(&mut tx, found.into_iter().collect()).await?;
        tx.commit().await?;
        let first = shown.into_iter().next();
        first.ok_or_else(|| ReadError::Unknown(serial.chars().take(64).collect()))
    }

    /// Lists the widgets that a widget is joined with, each once.
    pub(crate) async fn neighbours(&self, serial: &str) -> Result<Vec<WidgetBody>, ReadError> {
        let mut tx = self.inner.db.read().await?;
        let found = store::find_widget(&mut tx, serial).await?;
        let unknown = || ReadError::Unknown(serial.chars().take(64).collect());
        let partners = found.ok_or_else(unknown)?.widget.partners;
        let partners: Vec<i64> = partners.into_iter().flatten().collect();
        let found = store::widgets_by_ids(&mut tx, &partners).await?;
        let shown = shown(&mut tx, found).await?;
        tx.commit().await?;
        Ok(shown)
    }

    /// Lists widgets in the order of their serial numbers.
    pub(crate) async fn list(
        &self,
        filter: &WidgetFilter,
        cursor: Option<&str>,
        size: u32,
    ) -> Result<Page<WidgetBody>, ReadError> {
        let prefix = filter.prefix.as_deref().unwrap_or_default();
        let end = format!("{prefix}{END}");
        let from = match cursor.map(Cursor::key).transpose()? {
            // The next text behind one is that text with the least character there is.
            Some(after) => format!("{after}\u{1}"),
            None => prefix.to_owned(),
        };
        let range = (from.as_str(), end.as_str());
        let mut tx = self.inner.db.read().await?;
        let found = store::list_widgets(&mut tx, filter, range, (LOOKED_AT, size + 1)).await?;
        let whole = found.len() > size as usize;
        let shown = shown(&mut tx, found).await?;
        let mut page = Page::from_overfetched(shown, size, |widget| widget.serial_number.clone());
        if !whole && let Some(last) = store::last_looked_at(&mut tx, range, LOOKED_AT).await? {
            page.next_cursor = Some(Cursor::after(&last).as_str().to_owned());
        }
        tx.commit().await?;
        Ok(page)
    }
}
