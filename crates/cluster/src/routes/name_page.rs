//! Pages of what is at hand in memory, sorted by name.

use primitives::{InvalidCursor, PageRequest};
use serde::Deserialize;
use utoipa::ToSchema;
use web::{PageBody, PageQuery};

/// How a list is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
pub(super) enum NameOrder {
    /// By name.
    #[default]
    #[serde(rename = "name")]
    Up,
    /// By name, from the end.
    #[serde(rename = "-name")]
    Down,
}

/// Tells whether a name has the wanted text in it.
pub(super) fn contains(name: &str, wanted: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| {
        let wanted = wanted.to_lowercase();
        name.to_lowercase().contains(&wanted)
    })
}

/// Cuts the wanted page out of all items.
pub(super) fn name_page<T>(
    items: impl Iterator<Item = T>,
    query: &PageQuery,
    order: NameOrder,
    name: impl Fn(&T) -> &str,
) -> Result<PageBody<T>, InvalidCursor> {
    let after = query.after()?;
    let page: PageRequest = query.request();
    let mut items: Vec<T> = items.collect();
    items.sort_by(|a, b| match order {
        NameOrder::Up => name(a).cmp(name(b)),
        NameOrder::Down => name(b).cmp(name(a)),
    });
    let total = items.len() as u64;
    items.retain(|item| match (after.as_deref(), order) {
        (None, _) => true,
        (Some(after), NameOrder::Up) => name(item) > after,
        (Some(after), NameOrder::Down) => name(item) < after,
    });
    let shown = items.into_iter().skip(page.skipped() as usize);
    let shown = shown.take(page.size() as usize + 1).collect();
    let page = PageBody::from_overfetched(shown, page.size(), |item| name(item).to_owned());
    Ok(page.of_total(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(query: &PageQuery, order: NameOrder) -> PageBody<&'static str> {
        name_page(["b", "c", "a"].into_iter(), query, order, |name| name).unwrap()
    }

    #[test]
    fn every_item_stands_on_one_page_in_both_orders() {
        for (order, expected) in [
            (NameOrder::Up, ["a", "b", "c"]),
            (NameOrder::Down, ["c", "b", "a"]),
        ] {
            let mut query = PageQuery {
                limit: Some(1),
                ..PageQuery::default()
            };
            let mut seen = Vec::new();
            loop {
                let page = names(&query, order);
                assert_eq!(page.total, Some(3));
                seen.extend(page.items);
                query.cursor = page.next_cursor;
                if query.cursor.is_none() {
                    break;
                }
            }
            assert_eq!(seen, expected);
            let skipping = PageQuery {
                offset: Some(2),
                ..PageQuery::default()
            };
            assert_eq!(names(&skipping, order).items, expected[2..]);
        }
    }
}
