//! What every HTTP surface shares: problem responses, capped bodies, extractors, paging, OpenAPI assembly and the guarded outbound client.
//!
//! No domain rule stands here, and nothing here reads the database.

mod body;
mod extract;
mod hops;
mod openapi;
pub mod outbound;
mod paging;
mod problem;
mod request_id;
mod surface;

pub use body::{ReadBodyError, read_capped};
pub use extract::{AfterBody, ClientAddress, JsonBody, PathParam, QueryParams};
pub use hops::{
    HOPS_HEADER, Hops, HopsError, INSTANCE_HEADER, InstanceId, MAX_HOPS, ParseInstanceIdError,
};
pub use openapi::{assemble, json_response};
pub use paging::{PageBody, PageQuery};
pub use problem::Problem;
pub use request_id::{REQUEST_ID_HEADER, current_request_id, with_request_id};
pub use surface::api_surface;
