//! `GET` and `POST /api/v1/organisations`.

use axum::extract::State;
use http::StatusCode;
use primitives::{OrgId, PageRequest, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use web::{
    JsonBody, PageBody, Problem, QueryParams, SMALL_BODY, page_limit, page_offset, search_text,
};

use crate::extract::{Admin, OrgAdmin};
use crate::identity::Identity;
use crate::listing::{Listing, Sort};
use crate::organisations::Organisation;

/// What a new organisation shall be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateOrganisationBody {
    /// What it is called; no other has the name.
    #[schema(min_length = 1, max_length = 100, example = "research")]
    name: String,
}

/// An organisation.
#[derive(Serialize, ToSchema)]
pub(crate) struct OrganisationBody {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    id: OrgId,
    /// What it is called.
    name: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Organisation> for OrganisationBody {
    fn from(organisation: Organisation) -> Self {
        Self {
            id: organisation.id,
            name: organisation.name,
            created_at: organisation.created_at,
        }
    }
}

/// Which organisations to show.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrganisationsQuery {
    /// Items on the page, 1 to 500; 50 when absent.
    #[serde(default, deserialize_with = "page_limit")]
    #[param(minimum = 1, maximum = 500, example = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Items to leave out at the start.
    #[serde(default, deserialize_with = "page_offset")]
    #[param(minimum = 0, maximum = 100_000)]
    offset: Option<u32>,
    /// The order; `created_at` when absent.
    #[serde(default)]
    #[param(inline)]
    sort: Sort,
    /// Only what has this in its name; case makes no difference.
    #[serde(default, deserialize_with = "search_text")]
    #[param(max_length = 100)]
    q: Option<String>,
}

impl OrganisationsQuery {
    fn listing(self) -> Listing {
        Listing {
            page: PageRequest {
                limit: self.limit,
                cursor: self.cursor,
                offset: self.offset,
            },
            sort: self.sort,
            contains: self.q,
        }
    }
}

/// Lists organisations
///
/// Administrators of the platform see all, others their own.
#[utoipa::path(
    get,
    path = "/api/v1/organisations",
    operation_id = "list_organisations",
    tag = "identity",
    security(("bearer" = [])),
    params(OrganisationsQuery),
    responses(
        (status = 200, description = "A page of organisations.", body = PageBody<OrganisationBody>),
        (status = 400, description = "The cursor or another parameter is not valid.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not an administrator.", body = Problem),
    )
)]
pub(crate) async fn list_organisations(
    admin: OrgAdmin,
    State(identity): State<Identity>,
    query: QueryParams<OrganisationsQuery>,
) -> Result<JsonBody<PageBody<OrganisationBody>>, Problem> {
    let QueryParams(query) = query;
    let page = identity
        .list_organisations(&admin, &query.listing())
        .await?;
    Ok(JsonBody(PageBody::from(page).map(OrganisationBody::from)))
}

/// Makes an organisation
///
/// For administrators of the platform. It has nobody yet: make a user with its id and the role `admin`.
#[utoipa::path(
    post,
    path = "/api/v1/organisations",
    operation_id = "create_organisation",
    tag = "identity",
    security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = CreateOrganisationBody,
    responses(
        (status = 201, description = "The organisation exists.", body = OrganisationBody),
        (status = 400, description = "The name cannot be used.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 409, description = "Another organisation has the name.", body = Problem),
    )
)]
pub(crate) async fn create_organisation(
    admin: Admin,
    State(identity): State<Identity>,
    body: JsonBody<CreateOrganisationBody, SMALL_BODY>,
) -> Result<(StatusCode, JsonBody<OrganisationBody>), Problem> {
    let JsonBody(CreateOrganisationBody { name }) = body;
    let organisation = identity.create_organisation(&admin, &name).await?;
    Ok((StatusCode::CREATED, JsonBody(organisation.into())))
}
