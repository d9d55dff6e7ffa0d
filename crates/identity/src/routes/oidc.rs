//! `/api/v1/auth/oidc/…` and `/api/v1/me/identities`.

use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse, Response};
use http::header::{LOCATION, REFERRER_POLICY, SET_COOKIE};
use http::{HeaderMap, StatusCode};
use primitives::{Secret, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use web::{JsonBody, PathParam, Problem, QueryParams, SMALL_BODY};

use super::sign_in::SignInBody;
use crate::extract::Caller;
use crate::identity::Identity;
use crate::oidc::{Arrival, Departure, LinkedIdentity, OidcError, OidcProvider};
use crate::origin::Origin;

/// The providers that people may sign in by.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProvidersBody {
    /// In the order of the configuration; none when sign-in by providers is not set up.
    items: Vec<ProviderBody>,
}

/// A provider.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProviderBody {
    /// Its name in paths.
    #[schema(example = "corp")]
    name: String,
    /// What people read.
    #[schema(example = "Example Corp")]
    label: String,
}

impl From<&OidcProvider> for ProviderBody {
    fn from(provider: &OidcProvider) -> Self {
        Self {
            name: provider.name.clone(),
            label: provider
                .label
                .clone()
                .unwrap_or_else(|| provider.name.clone()),
        }
    }
}

/// How a journey begins.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct DepartQuery {
    /// The SHA-256 of a verifier that the client keeps, in base64url without padding.
    #[param(min_length = 43, max_length = 43)]
    challenge: String,
    /// Where the browser comes back to: a path of this server, or `http://127.0.0.1:PORT/…`; `/ui/` when absent.
    #[serde(default)]
    #[param(max_length = 500, example = "/ui/")]
    return_to: Option<String>,
}

/// What a provider sends a browser back with. Some send more, which is not looked at.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ArriveQuery {
    /// What was sent along.
    #[serde(default)]
    state: String,
    /// The code, if the provider said yes.
    #[serde(default)]
    code: Option<String>,
    /// Why not, if it said no.
    #[serde(default)]
    error: Option<String>,
    /// Which provider it is.
    #[serde(default)]
    iss: Option<String>,
}

/// A ticket and what proves that it is the client's.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TicketBody {
    /// What the browser came back with. Good for two minutes, once.
    #[schema(value_type = String, format = Password, max_length = 100)]
    ticket: Secret<String>,
    /// That of the challenge.
    #[schema(value_type = String, format = Password, max_length = 200)]
    verifier: Secret<String>,
}

/// As a ticket, with a code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TicketSignInBody {
    /// What the browser came back with. Good for two minutes, once.
    #[schema(value_type = String, format = Password, max_length = 100)]
    ticket: Secret<String>,
    /// That of the challenge.
    #[schema(value_type = String, format = Password, max_length = 200)]
    verifier: Secret<String>,
    /// A code of the person's authenticator, or a recovery code, where they have a second factor here.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password, max_length = 40, example = "123456")]
    code: Option<Secret<String>>,
}

/// Who the caller is at providers.
#[derive(Serialize, ToSchema)]
pub(crate) struct IdentitiesBody {
    /// One of each provider at most.
    items: Vec<IdentityBody>,
}

/// Who a person is at a provider.
#[derive(Serialize, ToSchema)]
pub(crate) struct IdentityBody {
    /// The provider's name.
    #[schema(example = "corp")]
    provider: String,
    /// The provider's issuer.
    #[schema(example = "https://login.example.org")]
    issuer: String,
    /// The person there.
    subject: String,
    /// The address that the provider had confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    /// When it was linked.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When the person signed in by it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_sign_in_at: Option<Timestamp>,
}

impl From<LinkedIdentity> for IdentityBody {
    fn from(identity: LinkedIdentity) -> Self {
        Self {
            provider: identity.provider,
            issuer: identity.issuer,
            subject: identity.subject,
            email: identity.email,
            created_at: identity.created_at,
            last_sign_in_at: identity.last_sign_in_at,
        }
    }
}

/// Lists sign-in providers
#[utoipa::path(
    get,
    path = "/api/v1/auth/oidc",
    operation_id = "list_providers",
    tag = "identity",
    responses((status = 200, description = "The providers, for anybody.", body = ProvidersBody))
)]
pub(crate) async fn list_providers(State(identity): State<Identity>) -> JsonBody<ProvidersBody> {
    let oidc = identity.inner.oidc.as_ref();
    let items = oidc.map(|oidc| oidc.list().map(ProviderBody::from).collect());
    JsonBody(ProvidersBody {
        items: items.unwrap_or_default(),
    })
}

/// Begins a sign-in by a provider
///
/// For browsers: leads to the provider's page. The client keeps the verifier of `challenge`; the browser comes back to `return_to` with
/// `#ticket=…` (a path) or `?ticket=…` (loopback), or with `error=…`.
#[utoipa::path(
    get,
    path = "/api/v1/auth/oidc/{provider}/start",
    operation_id = "begin_sign_in",
    tag = "identity",
    params(("provider" = String, Path, description = "The provider's name."), DepartQuery),
    responses(
        (status = 303, description = "To the provider."),
        (status = 400, description = "The challenge or the address to return to cannot be used.", body = Problem),
        (status = 404, description = "There is no such provider.", body = Problem),
        (status = 429, description = "Too many sign-ins begin at the same address.", body = Problem),
        (status = 502, description = "The provider does not answer as it should.", body = Problem),
    )
)]
pub(crate) async fn begin_sign_in(
    State(identity): State<Identity>,
    origin: Origin,
    provider: PathParam<String>,
    query: QueryParams<DepartQuery>,
) -> Result<Response, Problem> {
    let (PathParam(provider), QueryParams(query)) = (provider, query);
    let return_to = query.return_to.as_deref().unwrap_or("/ui/");
    let departure = identity
        .oidc_depart(&provider, &query.challenge, return_to, &origin)
        .await
        .map_err(problem)?;
    Ok(sent_on(departure))
}

/// Takes a browser back from a provider
#[utoipa::path(
    get,
    path = "/api/v1/auth/oidc/{provider}/callback",
    operation_id = "end_sign_in",
    tag = "identity",
    params(("provider" = String, Path, description = "The provider's name."), ArriveQuery),
    responses(
        (status = 303, description = "To where the sign-in began, with a ticket or the reason why there is none."),
        (status = 400, description = "The sign-in did not begin in this browser, or too long ago.", body = Problem),
        (status = 404, description = "There is no such provider.", body = Problem),
    )
)]
pub(crate) async fn end_sign_in(
    State(identity): State<Identity>,
    headers: HeaderMap,
    provider: PathParam<String>,
    query: QueryParams<ArriveQuery>,
) -> Result<Response, Problem> {
    let (PathParam(provider), QueryParams(query)) = (provider, query);
    let arrival = Arrival {
        state: query.state,
        code: query.code,
        error: query.error,
        issuer: query.iss,
        headers,
    };
    let departure = identity
        .oidc_arrive(&provider, arrival)
        .await
        .map_err(problem)?;
    Ok(sent_on(departure))
}

/// Signs a person in with a ticket
///
/// Answers as `POST /api/v1/login` does. Who has a second factor here gives a `code` too; without it the answer is 401 with the reason
/// `code_required`, and the ticket stays good.
#[utoipa::path(
    post,
    path = "/api/v1/auth/oidc/token",
    operation_id = "sign_in_with_ticket",
    tag = "identity",
    request_body = TicketSignInBody,
    responses(
        (status = 200, description = "Signed in.", body = SignInBody),
        (status = 400, description = "The body is not valid.", body = Problem),
        (status = 401, description = "The ticket, the verifier or the code is not right.", body = Problem),
        (status = 403, description = "No account is linked to this identity.", body = Problem),
        (status = 404, description = "Sign-in by providers is not set up.", body = Problem),
        (status = 409, description = "No account can be made.", body = Problem),
        (status = 429, description = "Too many wrong codes.", body = Problem),
    )
)]
pub(crate) async fn sign_in_with_ticket(
    State(identity): State<Identity>,
    origin: Origin,
    body: JsonBody<TicketSignInBody, SMALL_BODY>,
) -> Result<JsonBody<SignInBody>, Problem> {
    let JsonBody(body) = body;
    let (ticket, verifier) = (body.ticket.expose(), body.verifier.expose());
    let sign_in = identity
        .oidc_sign_in(ticket, verifier, body.code, &origin)
        .await
        .map_err(problem)?;
    let now = identity.inner.clock.now();
    Ok(JsonBody(SignInBody::new(&sign_in, now)))
}

/// Links an identity to one's account
///
/// The caller is signed in, and signs in by the provider from then on.
#[utoipa::path(
    post,
    path = "/api/v1/me/identities",
    operation_id = "link_identity",
    tag = "identity",
    security(("bearer" = [])),
    request_body = TicketBody,
    responses(
        (status = 201, description = "Linked.", body = IdentityBody),
        (status = 400, description = "The body is not valid.", body = Problem),
        (status = 401, description = "Not signed in, or the ticket or the verifier is not right.", body = Problem),
        (status = 403, description = "The caller is no person.", body = Problem),
        (status = 404, description = "Sign-in by providers is not set up.", body = Problem),
        (status = 409, description = "The identity is another account's, or the account has one of this provider.", body = Problem),
    )
)]
pub(crate) async fn link_identity(
    caller: Caller,
    State(identity): State<Identity>,
    body: JsonBody<TicketBody, SMALL_BODY>,
) -> Result<(StatusCode, JsonBody<IdentityBody>), Problem> {
    let JsonBody(body) = body;
    let (ticket, verifier) = (body.ticket.expose(), body.verifier.expose());
    let linked = identity
        .oidc_link(&caller, ticket, verifier)
        .await
        .map_err(problem)?;
    Ok((StatusCode::CREATED, JsonBody(linked.into())))
}

/// Lists one's identities at providers
#[utoipa::path(
    get,
    path = "/api/v1/me/identities",
    operation_id = "list_identities",
    tag = "identity",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The identities.", body = IdentitiesBody),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "The caller is no person.", body = Problem),
    )
)]
pub(crate) async fn list_identities(
    caller: Caller,
    State(identity): State<Identity>,
) -> Result<JsonBody<IdentitiesBody>, Problem> {
    let found = identity.list_identities(&caller).await?;
    let items = found.into_iter().map(IdentityBody::from).collect();
    Ok(JsonBody(IdentitiesBody { items }))
}

/// Unlinks an identity
#[utoipa::path(
    delete,
    path = "/api/v1/me/identities/{provider}",
    operation_id = "unlink_identity",
    tag = "identity",
    security(("bearer" = [])),
    params(("provider" = String, Path, description = "The provider's name.")),
    responses(
        (status = 204, description = "Unlinked. Sessions go on."),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "The caller is no person.", body = Problem),
        (status = 404, description = "There is no identity of this provider.", body = Problem),
        (status = 409, description = "It is the only way to sign in.", body = Problem),
    )
)]
pub(crate) async fn unlink_identity(
    caller: Caller,
    State(identity): State<Identity>,
    provider: PathParam<String>,
) -> Result<StatusCode, Problem> {
    let PathParam(provider) = provider;
    identity.unlink_identity(&caller, &provider).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn sent_on(departure: Departure) -> Response {
    let headers = AppendHeaders([
        (LOCATION, departure.location),
        (SET_COOKIE, departure.cookie),
        // The address of this page has a code in it.
        (REFERRER_POLICY, "no-referrer".to_owned()),
    ]);
    (StatusCode::SEE_OTHER, headers).into_response()
}

fn problem(error: OidcError) -> Problem {
    let (reason, wait) = (error.reason(), error.wait());
    let problem = Problem::from(error).reason(reason);
    match wait {
        Some(wait) => problem.retry_after(wait),
        None => problem,
    }
}
