//! Pages of lists, by cursor.

use async_graphql::{Error, OutputType, SimpleObject};
use primitives::{Page, PageRequest};

use crate::error::invalid;
use crate::fleet::{Model, Node};
use crate::identity::{AuditRecord, Key, Organisation, User};
use crate::inference::{Job, Request};

/// A part of a list.
#[derive(SimpleObject)]
#[graphql(concrete(name = "KeyPage", params(Key)))]
#[graphql(concrete(name = "UserPage", params(User)))]
#[graphql(concrete(name = "OrganisationPage", params(Organisation)))]
#[graphql(concrete(name = "AuditPage", params(AuditRecord)))]
#[graphql(concrete(name = "NodePage", params(Node)))]
#[graphql(concrete(name = "ModelPage", params(Model)))]
#[graphql(concrete(name = "RequestPage", params(Request)))]
#[graphql(concrete(name = "JobPage", params(Job)))]
pub(crate) struct PageOf<T: OutputType> {
    /// The items, in the list's order.
    pub(crate) items: Vec<T>,
    /// Give this as `after` for the next page; absent on the last one.
    pub(crate) next_cursor: Option<String>,
    /// How many items there are on all pages, where that is counted; 10,000 stands for so many or more.
    pub(crate) total: Option<u64>,
}

impl<T: OutputType> PageOf<T> {
    /// Converts each item of a page.
    pub(crate) fn of<D>(page: Page<D>, item: impl FnMut(D) -> T) -> Self {
        Self {
            items: page.items.into_iter().map(item).collect(),
            next_cursor: page.next_cursor,
            total: page.total,
        }
    }
}

/// Returns the page that is asked for.
pub(crate) fn wanted(first: Option<i32>, after: Option<String>) -> Result<PageRequest, Error> {
    let limit = match first {
        None => None,
        Some(first @ 1..=500) => u32::try_from(first).ok(),
        Some(_) => return Err(invalid("first must be 1 to 500")),
    };
    Ok(PageRequest {
        limit,
        cursor: after,
        offset: None,
    })
}

/// Checks what is searched for.
pub(crate) fn searched(contains: Option<String>) -> Result<Option<String>, Error> {
    match contains {
        Some(text) if text.chars().count() > 100 => {
            Err(invalid("contains has at most 100 characters"))
        }
        contains => Ok(contains),
    }
}
