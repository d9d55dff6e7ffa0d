//! Pages of a list as they look on the wire.

use primitives::{Cursor, InvalidCursor, Page, PageRequest};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which page of a list to show.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// Items on the page, 1 to 500; 50 when absent.
    #[param(minimum = 1, maximum = 500, example = 50)]
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
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

    fn request(&self) -> PageRequest {
        PageRequest {
            limit: self.limit,
            cursor: None,
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
        }
    }
}

impl<T> From<Page<T>> for PageBody<T> {
    fn from(page: Page<T>) -> Self {
        Self {
            items: page.items,
            next_cursor: page.next_cursor,
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
        };
        assert_eq!(query.after(), Ok(Some("2".to_owned())));
        let last = PageBody::from_overfetched(vec![3], 2, ToString::to_string);
        assert_eq!(last.next_cursor, None);
    }
}
