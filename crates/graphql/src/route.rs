//! `POST /api/v1/graphql`.

use std::collections::BTreeMap;

use ::identity::{Caller, Role};
use async_graphql::parser::types::{DocumentOperations, OperationType};
use async_graphql::{Request, Response as Answer, Variables};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::request::Parts;
use primitives::ErrorKind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{JsonBody, Problem};

use crate::schema::{Api, builder};
use crate::session::{Services, Session};

/// The longest text of a query.
const LONGEST: usize = 32 << 10;

/// Put into the extensions of an answer whose request may have changed something.
#[derive(Clone, Copy, Debug)]
pub struct HasChanged;

/// What is asked.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GraphqlBody {
    /// The query, at most 32 KiB.
    #[schema(example = "{ me { name role } }", max_length = 32768)]
    query: String,
    /// Values of its variables.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    variables: Option<serde_json::Map<String, serde_json::Value>>,
    /// Which of its operations to carry out, where there are several.
    #[serde(default, rename = "operationName")]
    operation_name: Option<String>,
}

/// What is answered.
#[derive(Serialize, ToSchema)]
pub(crate) struct GraphqlAnswerBody {
    /// What was asked for, as far as it could be had.
    #[schema(value_type = Option<Object>)]
    data: serde_json::Value,
    /// What could not be had.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<GraphqlErrorBody>,
}

/// Why something could not be had.
#[derive(Serialize, ToSchema)]
pub(crate) struct GraphqlErrorBody {
    /// What is wrong, and what to do.
    message: String,
    /// Where in the query.
    #[schema(value_type = Vec<Object>)]
    locations: serde_json::Value,
    /// Which field of the answer.
    #[schema(value_type = Vec<Value>)]
    path: serde_json::Value,
    /// `code`, as the kinds of problems of the API, and `status`, as its answer would have.
    extensions: BTreeMap<String, serde_json::Value>,
}

/// Returns the route.
pub fn routes(services: Services) -> OpenApiRouter<()> {
    let api = builder().data(services.clone()).finish();
    OpenApiRouter::new()
        .routes(routes!(graphql))
        .with_state(Desk { api, services })
}

#[derive(Clone)]
struct Desk {
    api: Api,
    services: Services,
}

impl axum::extract::FromRef<Desk> for ::identity::Identity {
    fn from_ref(desk: &Desk) -> Self {
        desk.services.identity.clone()
    }
}

/// Answers GraphQL
///
/// The operations of this API in one request, with the same rights. The status is that of the first error when nothing could be had at
/// all, else 200. The schema is shown to administrators, by introspection.
#[utoipa::path(post, path = "/api/v1/graphql", operation_id = "graphql", tag = "operations", security((), ("bearer" = [])),
    request_body = GraphqlBody,
    responses(
        (status = 200, description = "What could be had.", body = GraphqlAnswerBody),
        (status = 400, description = "The query is not valid, or the request is not.",
            content((GraphqlAnswerBody = "application/json"), (Problem = "application/problem+json"))),
        (status = "4XX", description = "Nothing could be had.", body = GraphqlAnswerBody),
        (status = "5XX", description = "Nothing could be had.", body = GraphqlAnswerBody),
    ))]
async fn graphql(
    caller: Caller,
    State(desk): State<Desk>,
    parts: Parts,
    body: JsonBody<GraphqlBody>,
) -> Result<Response, Problem> {
    let JsonBody(body) = body;
    if body.query.len() > LONGEST {
        let message = format!(
            "the query has more than {} KiB: ask for less",
            LONGEST >> 10
        );
        return Err(Problem::new(ErrorKind::Invalid, message));
    }
    let mut request = Request::new(body.query).data(Session(parts));
    if let Some(variables) = body.variables {
        let variables = serde_json::Value::Object(variables);
        request = request.variables(Variables::from_json(variables));
    }
    if let Some(name) = body.operation_name {
        request = request.operation_name(name);
    }
    if caller.principal().role != Role::Admin {
        request = request.disable_introspection();
    }
    let changes = may_change(&mut request);
    let answer = desk.api.execute(request).await;
    let mut response = respond(answer);
    if changes {
        response.extensions_mut().insert(HasChanged);
    }
    Ok(response)
}

/// Tells whether any operation of the request is a change.
fn may_change(request: &mut Request) -> bool {
    let is_change = |kind: OperationType| kind == OperationType::Mutation;
    // What cannot be read is not carried out.
    request
        .parsed_query()
        .is_ok_and(|document| match &document.operations {
            DocumentOperations::Single(one) => is_change(one.node.ty),
            DocumentOperations::Multiple(all) => all.values().any(|one| is_change(one.node.ty)),
        })
}

fn respond(answer: Answer) -> Response {
    let data = answer.data.into_json().unwrap_or_default();
    let errors: Vec<GraphqlErrorBody> = answer.errors.into_iter().map(error).collect();
    let status = match errors.first() {
        Some(first) if data.is_null() => status_of(first),
        _ => StatusCode::OK,
    };
    (status, JsonBody(GraphqlAnswerBody { data, errors })).into_response()
}

fn error(error: async_graphql::ServerError) -> GraphqlErrorBody {
    let json = |value: serde_json::Result<serde_json::Value>| value.unwrap_or_default();
    let mut extensions = BTreeMap::new();
    for name in ["code", "status"] {
        let value = error.extensions.as_ref().and_then(|set| set.get(name));
        if let Some(value) = value.and_then(|value| value.clone().into_json().ok()) {
            extensions.insert(name.to_owned(), value);
        }
    }
    // What the query's text is refused for comes without.
    let invalid = ErrorKind::Invalid;
    extensions
        .entry("code".to_owned())
        .or_insert_with(|| invalid.as_str().into());
    extensions
        .entry("status".to_owned())
        .or_insert_with(|| invalid.status().into());
    GraphqlErrorBody {
        locations: json(serde_json::to_value(&error.locations)),
        path: json(serde_json::to_value(&error.path)),
        message: error.message,
        extensions,
    }
}

fn status_of(error: &GraphqlErrorBody) -> StatusCode {
    let status = error
        .extensions
        .get("status")
        .and_then(serde_json::Value::as_u64);
    status
        .and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok())
        .unwrap_or(StatusCode::BAD_REQUEST)
}
