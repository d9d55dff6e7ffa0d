//! What every HTTP surface shares: problem responses, capped bodies, extractors, paging, OpenAPI assembly and the guarded outbound client.
//!
//! No domain rule stands here, and nothing here reads the database.

mod body;
mod conditional;
mod doorway;
mod extract;
mod hops;
mod kept;
mod openapi;
mod origins;
pub mod outbound;
mod paging;
mod problem;
mod repeated;
mod request_id;
mod security_headers;
mod surface;
pub mod tls;
mod turn;

pub use body::{ReadBodyError, read_capped};
pub use conditional::{ChangedMeanwhile, ETag, IF_MATCH, IfMatch, Tagged, Versioned};
pub use doorway::{Doorkeeper, Doorway, Visit};
pub use extract::{
    AfterBody, ClientAddress, JSON_LIMIT, JsonBody, PathParam, QueryParams, SMALL_BODY, json_object,
};
pub use hops::{
    HOPS_HEADER, Hops, HopsError, INSTANCE_HEADER, InstanceId, MAX_HOPS, ParseInstanceIdError,
};
pub use kept::{KeptAnswer, KeptAnswers};
pub use openapi::{assemble, json_response, repeatable_paths};
pub use origins::AllowedOrigins;
pub use paging::{PageBody, PageQuery, page_limit, page_offset, search_text};
pub use problem::Problem;
pub use repeated::IDEMPOTENCY_KEY;
pub use request_id::{REQUEST_ID_HEADER, current_request_id, with_request_id};
pub use security_headers::{SecureTransport, harden};
pub use surface::{api_surface, stamp};
pub use turn::Turn;
