//! Pages of a list: a bounded size and an opaque cursor.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// Where the next page starts. Opaque to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(String);

/// The cursor was not made by this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not valid: start again without it")]
pub struct InvalidCursor;

impl Cursor {
    /// Makes a cursor from the sort key of the last item shown.
    pub fn after(key: &str) -> Self {
        Self(URL_SAFE_NO_PAD.encode(key))
    }

    /// Returns the text to give to a client.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the sort key out of a cursor that a client sent.
    pub fn key(text: &str) -> Result<String, InvalidCursor> {
        URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or(InvalidCursor)
    }
}

/// The most items that a total counts: a larger one says so many or more, so that counting stays cheap.
pub const COUNTED: u64 = 10_000;

/// What a client asks for.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PageRequest {
    /// Items on the page, 1 to 500; 50 when absent.
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Items to leave out at the start, in place of a cursor.
    pub offset: Option<u32>,
}

impl PageRequest {
    /// Returns the number of items to fetch, within 1 to 500.
    pub fn size(&self) -> u32 {
        self.limit.unwrap_or(50).clamp(1, 500)
    }

    /// Returns the number of items to leave out at the start.
    pub fn skipped(&self) -> u32 {
        self.offset.unwrap_or(0)
    }
}

/// One page of a list.
#[derive(Clone, Debug, Serialize)]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Give this as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// How many items there are on all pages, where that is counted; [`COUNTED`] stands for so many or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

impl<T> Page<T> {
    /// Makes the page of at most `size` items from a list fetched one item longer, naming the next page by its last item's `key`.
    pub fn from_overfetched(mut items: Vec<T>, size: u32, key: impl Fn(&T) -> String) -> Self {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let more = items.len() > size;
        items.truncate(size);
        let next_cursor = items
            .last()
            .filter(|_| more)
            .map(|last| Cursor::after(&key(last)).0);
        Self {
            items,
            next_cursor,
            total: None,
        }
    }

    /// Tells how many items there are on all pages.
    #[must_use]
    pub fn of_total(mut self, total: u64) -> Self {
        self.total = Some(total);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_round_trip_and_reject_noise() {
        assert_eq!(
            Cursor::key(Cursor::after("k/1").as_str()),
            Ok("k/1".to_owned())
        );
        assert_eq!(Cursor::key("***"), Err(InvalidCursor));
    }

    #[test]
    fn the_cursor_names_the_last_shown_item_and_is_absent_at_the_end() {
        let page = Page::from_overfetched(vec![1, 2, 3], 2, ToString::to_string);
        assert_eq!(page.items, [1, 2]);
        let cursor = page.next_cursor.unwrap();
        assert_eq!(Cursor::key(&cursor), Ok("2".to_owned()));
        let last = Page::from_overfetched(vec![3], 2, ToString::to_string);
        assert_eq!(last.next_cursor, None);
    }
}
