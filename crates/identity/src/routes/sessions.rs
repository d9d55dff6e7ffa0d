//! `GET` and `DELETE /api/v1/me/sessions`, `DELETE /api/v1/me/sessions/{id}`, `GET` and `DELETE /api/v1/users/{id}/sessions`.

use axum::extract::State;
use http::StatusCode;
use primitives::{SessionId, Timestamp, UserId};
use serde::Serialize;
use utoipa::ToSchema;
use web::{JsonBody, PageBody, PageQuery, PathParam, Problem, QueryParams};

use crate::extract::{Allowed, Caller, ManageUsers, ReadUsers};
use crate::identity::Identity;
use crate::sessions::Session;

/// A session.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionBody {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    id: SessionId,
    /// Whether the request comes with this one.
    current: bool,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it ends unless it is refreshed in its last hour.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// When it was last used; up to some seconds behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    /// The address that it began from.
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
    /// The program that it began with, as that calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
}

impl SessionBody {
    fn new(session: Session, current: Option<SessionId>) -> Self {
        Self {
            current: current == Some(session.id),
            id: session.id,
            created_at: session.created_at,
            expires_at: session.expires_at,
            last_used_at: session.last_used_at,
            ip: session.ip,
            user_agent: session.user_agent,
        }
    }
}

/// Lists one's sessions
///
/// In the order in which they began.
#[utoipa::path(
    get,
    path = "/api/v1/me/sessions",
    operation_id = "list_my_sessions",
    tag = "identity",
    security(("bearer" = [])),
    params(PageQuery),
    responses(
        (status = 200, description = "A page of sessions.", body = PageBody<SessionBody>),
        (status = 400, description = "The cursor or another parameter is not valid.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "The caller is no person.", body = Problem),
    )
)]
pub(crate) async fn list_mine(
    caller: Caller,
    State(identity): State<Identity>,
    query: QueryParams<PageQuery>,
) -> Result<JsonBody<PageBody<SessionBody>>, Problem> {
    let QueryParams(query) = query;
    let page = identity.list_sessions(&caller, &query.request()).await?;
    let current = caller.principal().session;
    Ok(JsonBody(
        PageBody::from(page).map(|session| SessionBody::new(session, current)),
    ))
}

/// Signs out everywhere
///
/// Ends all of one's sessions, the one that the request comes with too. API keys go on working.
#[utoipa::path(
    delete,
    path = "/api/v1/me/sessions",
    operation_id = "end_my_sessions",
    tag = "identity",
    security(("bearer" = [])),
    responses(
        (status = 204, description = "All sessions have ended."),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "The caller is no person.", body = Problem),
    )
)]
pub(crate) async fn end_all_mine(
    caller: Caller,
    State(identity): State<Identity>,
) -> Result<StatusCode, Problem> {
    identity.end_all_sessions(&caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends one of one's sessions
#[utoipa::path(
    delete,
    path = "/api/v1/me/sessions/{id}",
    operation_id = "end_my_session",
    tag = "identity",
    security(("bearer" = [])),
    params(("id" = String, Path, format = Uuid, description = "The session's id.")),
    responses(
        (status = 204, description = "The session has ended."),
        (status = 400, description = "Not an id.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "The caller is no person.", body = Problem),
        (status = 404, description = "There is no such session of the caller.", body = Problem),
    )
)]
pub(crate) async fn end_mine(
    caller: Caller,
    State(identity): State<Identity>,
    id: PathParam<SessionId>,
) -> Result<StatusCode, Problem> {
    let PathParam(id) = id;
    identity.end_session(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists a user's sessions
///
/// For administrators of their organisation.
#[utoipa::path(
    get,
    path = "/api/v1/users/{id}/sessions",
    operation_id = "list_user_sessions",
    tag = "identity",
    security(("bearer" = [])),
    params(("id" = String, Path, format = Uuid, description = "The user's id."), PageQuery),
    responses(
        (status = 200, description = "A page of sessions.", body = PageBody<SessionBody>),
        (status = 400, description = "Not an id, or a parameter is not valid.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not an administrator.", body = Problem),
        (status = 404, description = "There is no such user.", body = Problem),
    )
)]
pub(crate) async fn list_of_user(
    admin: Allowed<ReadUsers>,
    State(identity): State<Identity>,
    id: PathParam<UserId>,
    query: QueryParams<PageQuery>,
) -> Result<JsonBody<PageBody<SessionBody>>, Problem> {
    let (PathParam(id), QueryParams(query)) = (id, query);
    let page = identity
        .list_sessions_of(&admin, id, &query.request())
        .await?;
    let current = admin.principal().session;
    Ok(JsonBody(
        PageBody::from(page).map(|session| SessionBody::new(session, current)),
    ))
}

/// Signs a user out everywhere
///
/// For administrators of their organisation. API keys go on working.
#[utoipa::path(
    delete,
    path = "/api/v1/users/{id}/sessions",
    operation_id = "end_user_sessions",
    tag = "identity",
    security(("bearer" = [])),
    params(("id" = String, Path, format = Uuid, description = "The user's id.")),
    responses(
        (status = 204, description = "All sessions of the user have ended."),
        (status = 400, description = "Not an id.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not an administrator.", body = Problem),
        (status = 404, description = "There is no such user.", body = Problem),
    )
)]
pub(crate) async fn end_of_user(
    admin: Allowed<ManageUsers>,
    State(identity): State<Identity>,
    id: PathParam<UserId>,
) -> Result<StatusCode, Problem> {
    let PathParam(id) = id;
    identity.end_sessions_of(&admin, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
