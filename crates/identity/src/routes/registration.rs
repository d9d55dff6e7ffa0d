//! `POST /api/v1/register`, `GET` and `POST /api/v1/invitations`, `DELETE /api/v1/invitations/{id}`.

use axum::extract::State;
use http::StatusCode;
use primitives::{InvitationId, OrgId, Secret, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::{JsonBody, PageBody, PathParam, Problem, QueryParams, SMALL_BODY};

use super::scoped_page::ScopedPageQuery;
use super::users::UserBody;
use crate::extract::{Allowed, ManageInvitations};
use crate::identity::Identity;
use crate::invitations::{Invitation, InvitationRequest};
use crate::model::Role;
use crate::origin::Origin;
use crate::profile::ProfileEdit;
use crate::registration::{RegistrationError, RegistrationRequest};

/// Who registers.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegisterBody {
    /// The name to sign in with: 1 to 100 letters, digits or `.` `_` `-` `@`.
    #[schema(max_length = 100, example = "ann")]
    username: String,
    /// The password: at least 8 characters, none of the most common ones.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 1024)]
    password: Secret<String>,
    /// Where one is reached.
    #[serde(default)]
    #[schema(max_length = 254)]
    email: Option<String>,
    /// What one is called.
    #[serde(default)]
    #[schema(max_length = 100)]
    display_name: Option<String>,
    /// The invitation's secret, where registration takes one.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password, example = "rmi_…")]
    invitation: Option<Secret<String>>,
}

/// Whom to invite.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateInvitationBody {
    /// What who joins may do; `user` when absent.
    #[serde(default)]
    role: Option<Role>,
    /// The organisation to join; the caller's own when absent.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Uuid)]
    org_id: Option<OrgId>,
    /// Whom it is for, for administrators to know.
    #[serde(default)]
    #[schema(max_length = 200, example = "Ann of the lab")]
    note: Option<String>,
    /// When it ends: at most 90 days from now; 7 days when absent.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// An invitation without its secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct InvitationBody {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    id: InvitationId,
    /// The organisation to join.
    #[schema(value_type = String, format = Uuid)]
    org_id: OrgId,
    /// What who joins may do.
    role: Role,
    /// Whom it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl From<Invitation> for InvitationBody {
    fn from(invitation: Invitation) -> Self {
        Self {
            id: invitation.id,
            org_id: invitation.org_id,
            role: invitation.role,
            note: invitation.note,
            created_at: invitation.created_at,
            expires_at: invitation.expires_at,
        }
    }
}

/// A new invitation with its secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct CreatedInvitationBody {
    /// The invitation.
    #[serde(flatten)]
    invitation: InvitationBody,
    /// The secret for `POST /api/v1/register`. It works once, and is not shown again.
    #[schema(example = "rmi_…")]
    token: String,
}

/// Makes one's own account
///
/// Who may is configured (`auth.registration`): nobody, who has an invitation, or everybody. The role is the invitation's, else `user`
/// of the first organisation; it cannot be chosen.
#[utoipa::path(
    post,
    path = "/api/v1/register",
    operation_id = "register",
    tag = "identity",
    request_body = RegisterBody,
    responses(
        (status = 201, description = "The account exists: sign in with it.", body = UserBody),
        (status = 400, description = "The name, the password or the address cannot be used.", body = Problem),
        (status = 403, description = "Registration is closed, or the invitation is missing or not valid.", body = Problem),
        (status = 409, description = "The name or the address is taken, or there are too many people.", body = Problem),
        (status = 429, description = "Too many people register from the same address.", body = Problem),
    )
)]
pub(crate) async fn register(
    State(identity): State<Identity>,
    origin: Origin,
    body: JsonBody<RegisterBody, SMALL_BODY>,
) -> Result<(StatusCode, JsonBody<UserBody>), Problem> {
    let JsonBody(body) = body;
    let request = RegistrationRequest {
        username: body.username,
        password: body.password,
        profile: ProfileEdit {
            email: body.email,
            display_name: body.display_name,
        },
        invitation: body.invitation,
        origin,
    };
    match identity.register(request).await {
        Ok(user) => Ok((StatusCode::CREATED, JsonBody(user.into()))),
        Err(RegistrationError::TooManyAttempts { wait }) => {
            Err(Problem::from(RegistrationError::TooManyAttempts { wait }).retry_after(wait))
        }
        Err(error) => Err(error.into()),
    }
}

/// Lists invitations
///
/// Shows those that stand; never their secrets. Administrators of the platform see all, others those of their organisation.
#[utoipa::path(
    get,
    path = "/api/v1/invitations",
    operation_id = "list_invitations",
    tag = "identity",
    security(("bearer" = [])),
    params(ScopedPageQuery),
    responses(
        (status = 200, description = "A page of invitations.", body = PageBody<InvitationBody>),
        (status = 400, description = "The cursor or another parameter is not valid.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not an administrator.", body = Problem),
        (status = 404, description = "There is no such organisation.", body = Problem),
    )
)]
pub(crate) async fn list_invitations(
    admin: Allowed<ManageInvitations>,
    State(identity): State<Identity>,
    query: QueryParams<ScopedPageQuery>,
) -> Result<JsonBody<PageBody<InvitationBody>>, Problem> {
    let QueryParams(query) = query;
    let (org_id, page) = query.split();
    let found = identity.list_invitations(&admin, org_id, &page).await?;
    Ok(JsonBody(PageBody::from(found).map(InvitationBody::from)))
}

/// Invites somebody
///
/// The answer holds the invitation's secret, which is stored only as a hash and cannot be shown again.
#[utoipa::path(
    post,
    path = "/api/v1/invitations",
    operation_id = "create_invitation",
    tag = "identity",
    security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = CreateInvitationBody,
    responses(
        (status = 201, description = "The invitation stands.", body = CreatedInvitationBody),
        (status = 400, description = "The note or the end cannot be used.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not an administrator.", body = Problem),
        (status = 404, description = "There is no such organisation.", body = Problem),
        (status = 409, description = "Registration is closed, or there are too many invitations.", body = Problem),
    )
)]
pub(crate) async fn create_invitation(
    admin: Allowed<ManageInvitations>,
    State(identity): State<Identity>,
    body: JsonBody<CreateInvitationBody, SMALL_BODY>,
) -> Result<(StatusCode, JsonBody<CreatedInvitationBody>), Problem> {
    let JsonBody(body) = body;
    let request = InvitationRequest {
        role: body.role.unwrap_or(Role::User),
        org_id: body.org_id,
        note: body.note,
        expires_at: body.expires_at,
    };
    let (invitation, token) = identity.create_invitation(&admin, request).await?;
    let created = CreatedInvitationBody {
        invitation: invitation.into(),
        token: token.expose().clone(),
    };
    Ok((StatusCode::CREATED, JsonBody(created)))
}

/// Withdraws an invitation
#[utoipa::path(
    delete,
    path = "/api/v1/invitations/{id}",
    operation_id = "withdraw_invitation",
    tag = "identity",
    security(("bearer" = [])),
    params(("id" = String, Path, format = Uuid, description = "The invitation's id.")),
    responses(
        (status = 204, description = "Nobody can use it any more."),
        (status = 400, description = "Not an id.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not an administrator.", body = Problem),
        (status = 404, description = "There is no such invitation.", body = Problem),
    )
)]
pub(crate) async fn withdraw_invitation(
    admin: Allowed<ManageInvitations>,
    State(identity): State<Identity>,
    id: PathParam<InvitationId>,
) -> Result<StatusCode, Problem> {
    let PathParam(id) = id;
    identity.withdraw_invitation(&admin, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
