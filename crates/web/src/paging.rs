//! Pages of a list as they look on the wire.

use primitives::{COUNTED, Cursor, InvalidCursor, Page, PageRequest};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which page of a list to show.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// Items on the page, 1 to 500; 50 when absent.
    #[serde(default, deserialize_with = "page_limit")]
    #[param(minimum = 1, maximum = 500, example = 50)]
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Items to leave out at the start, at most 100,000; a cursor is quicker and misses nothing while the list changes.
    #[serde(default, deserialize_with = "page_offset")]
    #[param(minimum = 0, maximum = 100_000)]
    pub offset: Option<u32>,
}

/// The most items on a page.
const LARGEST_PAGE: u32 = 500;
/// The most items that are left out at the start.
const FARTHEST: u32 = 100_000;

/// Reads the number of items on a page, for lists with parameters of their own.
///
/// # Errors
/// When it is not 1 to 500.
pub fn page_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    within(deserializer, 1, LARGEST_PAGE, "limit")
}

/// Reads the number of items to leave out, likewise.
///
/// # Errors
/// When it is more than 100,000.
pub fn page_offset<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    within(deserializer, 0, FARTHEST, "offset")
}

/// The most characters that are searched for.
const LONGEST_SEARCH: usize = 100;

/// Reads what is searched for in names.
///
/// # Errors
/// When it has more than 100 characters.
pub fn search_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.chars().count() <= LONGEST_SEARCH {
        Ok(Some(text))
    } else {
        Err(serde::de::Error::custom(format!(
            "q has at most {LONGEST_SEARCH} characters"
        )))
    }
}

fn within<'de, D: Deserializer<'de>>(
    deserializer: D,
    least: u32,
    most: u32,
    name: &str,
) -> Result<Option<u32>, D::Error> {
    let value = u32::deserialize(deserializer)?;
    if (least..=most).contains(&value) {
        Ok(Some(value))
    } else {
        Err(serde::de::Error::custom(format!(
            "{name} must be {least} to {most}"
        )))
    }
}

impl PageQuery {
    /// Returns the number of items to show, within 1 to 500.
    pub fn size(&self) -> u32 {
        self.request().size()
    }

    /// Returns the sort key of the last item of the page before.
    pub fn after(&self) -> Result<Option<String>, InvalidCursor> {
        self.cursor.as_deref().map(Cursor::key).transpose()
    }

    /// Returns the page that is asked for.
    pub fn request(&self) -> PageRequest {
        PageRequest {
            limit: self.limit,
            cursor: self.cursor.clone(),
            offset: self.offset,
        }
    }
}

/// One page of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PageBody<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Give this as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// How many items there are on all pages, where that is counted; 10,000 stands for so many or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 10_000)]
    pub total: Option<u64>,
}

impl<T> PageBody<T> {
    /// Makes the page of at most `size` items from a list fetched one item longer, naming the next page by its last item's `key`.
    pub fn from_overfetched(items: Vec<T>, size: u32, key: impl Fn(&T) -> String) -> Self {
        Page::from_overfetched(items, size, key).into()
    }

    /// Converts each item, for example from a domain type to its wire form.
    pub fn map<U>(self, convert: impl FnMut(T) -> U) -> PageBody<U> {
        PageBody {
            items: self.items.into_iter().map(convert).collect(),
            next_cursor: self.next_cursor,
            total: self.total,
        }
    }

    /// Tells how many items there are on all pages.
    #[must_use]
    pub fn of_total(mut self, total: u64) -> Self {
        self.total = Some(total.min(COUNTED));
        self
    }
}

impl<T> From<Page<T>> for PageBody<T> {
    fn from(page: Page<T>) -> Self {
        Self {
            items: page.items,
            next_cursor: page.next_cursor,
            total: page.total,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_leads_to_the_next_one() {
        let page = PageBody::from_overfetched(vec![1, 2, 3], 2, ToString::to_string);
        assert_eq!(page.items, [1, 2]);
        let query = PageQuery {
            limit: None,
            cursor: page.next_cursor,
            offset: None,
        };
        assert_eq!(query.after(), Ok(Some("2".to_owned())));
        let last = PageBody::from_overfetched(vec![3], 2, ToString::to_string);
        assert_eq!(last.next_cursor, None);
    }
}
