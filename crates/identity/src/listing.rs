//! How a list is sorted, searched and cut into pages.

use primitives::{Cursor, InvalidCursor, Page, PageRequest};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a list is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum Sort {
    /// In the order in which things were made.
    #[default]
    #[serde(rename = "created_at")]
    Oldest,
    /// The newest first.
    #[serde(rename = "-created_at")]
    Newest,
    /// By name.
    #[serde(rename = "name")]
    Name,
    /// By name, from the end.
    #[serde(rename = "-name")]
    NameDown,
}

impl Sort {
    /// Tells cursors of one order from those of another.
    const fn mark(self) -> char {
        match self {
            Self::Oldest => 'o',
            Self::Newest => 'n',
            Self::Name => 'a',
            Self::NameDown => 'z',
        }
    }
}

/// Which part of a list to show.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The page.
    pub page: PageRequest,
    /// The order.
    pub sort: Sort,
    /// Only things with this in their name; case makes no difference.
    pub contains: Option<String>,
}

/// Where a page begins, as a query wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The name after (or before) which it begins.
    pub(crate) name: String,
    /// The id after (or before) which it begins, among those of the same name or among all.
    pub(crate) id: String,
    /// How many are fetched: one more than are shown.
    pub(crate) fetched: u32,
    /// How many are left out.
    pub(crate) skipped: u32,
}

/// Sorts after every name and id.
const LAST: &str = "\u{10ffff}";
/// The length of an id as text.
const ID: usize = 36;

impl Listing {
    /// Returns where the page begins.
    pub(crate) fn position(&self) -> Result<Position, InvalidCursor> {
        let (name, id) = match self.page.cursor.as_deref().map(Cursor::key).transpose()? {
            Some(key) => {
                let rest = key.strip_prefix(self.sort.mark()).ok_or(InvalidCursor)?;
                let (id, name) = rest.split_at_checked(ID).ok_or(InvalidCursor)?;
                (name.to_owned(), id.to_owned())
            }
            None => match self.sort {
                Sort::Oldest | Sort::Name => (String::new(), String::new()),
                Sort::Newest | Sort::NameDown => (LAST.to_owned(), LAST.to_owned()),
            },
        };
        Ok(Position {
            name,
            id,
            fetched: self.page.size() + 1,
            skipped: self.page.skipped(),
        })
    }

    /// Returns what is searched for as a pattern of `LIKE` with the escape character `\`, in lower case.
    pub(crate) fn pattern(&self) -> Option<String> {
        let wanted = self.contains.as_deref()?;
        let mut pattern = String::from("%");
        for letter in wanted.chars() {
            if matches!(letter, '%' | '_' | '\\') {
                pattern.push('\\');
            }
            pattern.push(letter.to_ascii_lowercase());
        }
        pattern.push('%');
        Some(pattern)
    }

    /// Makes the page of what was fetched.
    pub(crate) fn page<T>(
        &self,
        found: Vec<T>,
        total: u64,
        key: impl Fn(&T) -> (String, &str),
    ) -> Page<T> {
        let mark = self.sort.mark();
        Page::from_overfetched(found, self.page.size(), |item| {
            let (id, name) = key(item);
            format!("{mark}{id}{name}")
        })
        .of_total(total)
    }
}

/// Words a list for each order: what comes before the place and the order, the column of ids and the column of names. The
/// parameters `$1` to `$4` are the position's name, id, length and offset.
macro_rules! sorted {
    ($sort:expr, $select:literal, $id:literal, $name:literal) => {
        match $sort {
            $crate::listing::Sort::Oldest => concat!(
                $select,
                " AND CAST($1 AS TEXT) IS NOT NULL AND ",
                $id,
                " > $2 ORDER BY ",
                $id,
                " LIMIT $3 OFFSET $4"
            ),
            $crate::listing::Sort::Newest => concat!(
                $select,
                " AND CAST($1 AS TEXT) IS NOT NULL AND ",
                $id,
                " < $2 ORDER BY ",
                $id,
                " DESC LIMIT $3 OFFSET $4"
            ),
            $crate::listing::Sort::Name => concat!(
                $select,
                " AND (",
                $name,
                ", ",
                $id,
                ") > ($1, $2) ORDER BY ",
                $name,
                ", ",
                $id,
                " LIMIT $3 OFFSET $4"
            ),
            $crate::listing::Sort::NameDown => concat!(
                $select,
                " AND (",
                $name,
                ", ",
                $id,
                ") < ($1, $2) ORDER BY ",
                $name,
                " DESC, ",
                $id,
                " DESC LIMIT $3 OFFSET $4"
            ),
        }
    };
}
pub(crate) use sorted;

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: &str = "0198c0de-0000-7000-8000-000000000001";

    #[test]
    fn a_page_leads_to_the_next_one_in_its_own_order_only() {
        let by_name = Listing {
            page: PageRequest {
                limit: Some(1),
                ..PageRequest::default()
            },
            sort: Sort::Name,
            contains: None,
        };
        let page = by_name.page(vec!["a/b", "c"], 2, |name| (SOME.to_owned(), *name));
        assert_eq!(page.total, Some(2));
        let next = PageRequest {
            cursor: page.next_cursor,
            ..PageRequest::default()
        };
        let after = |sort| {
            let listing = Listing {
                page: next.clone(),
                sort,
                contains: None,
            };
            listing.position()
        };
        let position = after(Sort::Name).unwrap();
        assert_eq!((&*position.name, &*position.id), ("a/b", SOME));
        assert_eq!(after(Sort::NameDown), Err(InvalidCursor));
    }

    #[test]
    fn what_is_searched_for_is_no_pattern() {
        let listing = Listing {
            contains: Some("A_b%\\é".to_owned()),
            ..Listing::default()
        };
        assert_eq!(listing.pattern().as_deref(), Some("%a\\_b\\%\\\\é%"));
    }
}
