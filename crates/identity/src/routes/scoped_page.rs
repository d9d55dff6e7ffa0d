//! The parameters of lists that can be narrowed to one organisation.

use primitives::{OrgId, PageRequest};
use serde::Deserialize;
use utoipa::IntoParams;
use web::{page_limit, page_offset};

/// Which page of a list to show, and of whom.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScopedPageQuery {
    /// Items on the page, 1 to 500; 50 when absent.
    #[serde(default, deserialize_with = "page_limit")]
    #[param(minimum = 1, maximum = 500, example = 50)]
    pub(crate) limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
    /// Items to leave out at the start.
    #[serde(default, deserialize_with = "page_offset")]
    #[param(minimum = 0, maximum = 100_000)]
    pub(crate) offset: Option<u32>,
    /// Only what belongs to this organisation; everything that the caller may see when absent.
    #[param(value_type = Option<String>, format = Uuid)]
    pub(crate) org_id: Option<OrgId>,
}

impl ScopedPageQuery {
    /// Takes the two parts apart.
    pub(crate) fn split(self) -> (Option<OrgId>, PageRequest) {
        (
            self.org_id,
            PageRequest {
                limit: self.limit,
                cursor: self.cursor,
                offset: self.offset,
            },
        )
    }
}
