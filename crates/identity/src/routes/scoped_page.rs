//! The parameters of lists that can be narrowed to one organisation.

use primitives::{OrgId, PageRequest};
use serde::Deserialize;
use utoipa::IntoParams;

/// Which page of a list to show, and of whom.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScopedPageQuery {
    /// Items on the page, 1 to 500; 50 when absent.
    #[param(minimum = 1, maximum = 500, example = 50)]
    pub(crate) limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
    /// Only what belongs to this organisation; everything that the caller may see when absent.
    #[param(value_type = Option<String>)]
    pub(crate) org_id: Option<OrgId>,
}

impl ScopedPageQuery {
    /// Takes the two parts apart.
    pub(crate) fn split(self) -> (Option<OrgId>, PageRequest) {
        let page = PageRequest {
            limit: self.limit,
            cursor: self.cursor,
        };
        (self.org_id, page)
    }
}
