//! The OpenAPI document of the management API, put together from what the domains contribute.
//!
//! What the shared parts answer (extractors, the listener, the journal of repeated requests) is described here, once, for every
//! operation that has them: a handler describes only what is its own.

use std::collections::HashSet;

use axum::response::Response;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Content, InfoBuilder, ObjectBuilder, OpenApi, OpenApiBuilder, Ref, RefOr,
    Response as Answer, Tag, Type,
};

use crate::conditional::IF_MATCH;
use crate::repeated::IDEMPOTENCY_KEY;

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

/// The groups of operations, in the order in which they are shown.
const TAGS: [(&str, &str); 7] = [
    (
        "identity",
        "People, organisations, sessions, keys and the journal of changes.",
    ),
    ("nodes", "The servers of the fleet."),
    ("models", "The models of the fleet."),
    ("inference", "Requests: who waits, what was done and why."),
    (
        "inventory",
        "Parts with serial numbers, and how their ports are joined.",
    ),
    ("system", "Settings, the database and its care."),
    (
        "operations",
        "Whether each part is well, and what there is.",
    ),
];

/// Joins the documents of the domains and adds the title, the version, the `bearer` security scheme that they refer to, and what
/// the shared parts answer.
pub fn assemble(version: &str, parts: impl IntoIterator<Item = OpenApi>) -> OpenApi {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "An access token from `POST /api/v1/login`, or an API key.",
        ))
        .build();
    let mut document = OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Remuda")
                .version(version)
                .description(Some("Management API of the Remuda gateway."))
                .build(),
        )
        .components(Some(
            ComponentsBuilder::new()
                .security_scheme("bearer", SecurityScheme::Http(bearer))
                .build(),
        ))
        .build();
    for part in parts {
        document.merge(part);
    }
    document.tags = Some(
        TAGS.iter()
            .map(|(name, meaning)| {
                let mut tag = Tag::new(*name);
                tag.description = Some((*meaning).to_owned());
                tag
            })
            .collect(),
    );
    for (path, item) in &mut document.paths.paths {
        // These keep to an interface of elsewhere, errors included, and describe all that they answer.
        if path.starts_with("/rpc/") {
            continue;
        }
        let managed = path.starts_with("/api/v1/");
        for operation in operations(item) {
            complete(operation, managed);
        }
    }
    document
}

/// Returns the paths whose POST requests take a name by which they may be sent again.
pub fn repeatable_paths(document: &OpenApi) -> HashSet<String> {
    let takes_name = |operation: &Operation| {
        parameters(operation).any(|parameter| parameter.name == IDEMPOTENCY_KEY)
    };
    let all = document.paths.paths.iter();
    all.filter(|(_, item)| item.post.as_ref().is_some_and(takes_name))
        .map(|(path, _)| path.clone())
        .collect()
}

/// Answers with a JSON text that was made earlier.
pub fn json_response(text: String) -> Response {
    let mut response = Response::new(text.into());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.patch,
        &mut item.delete,
    ]
    .into_iter()
    .flatten()
}

/// Adds what the shared parts answer.
fn complete(operation: &mut Operation, managed: bool) {
    let secured = operation
        .security
        .as_ref()
        .is_some_and(|all| !all.is_empty());
    let body = operation.request_body.is_some();
    let asked = |name: &str| {
        parameters(operation).any(|parameter| parameter.name.eq_ignore_ascii_case(name))
    };
    let (conditional, repeatable) = (asked(IF_MATCH), asked(IDEMPOTENCY_KEY));
    let has_input = body
        || parameters(operation).any(|parameter| parameter.parameter_in != ParameterIn::Header);
    let mut add = |wanted: bool, status: &str, description: &str| {
        if wanted {
            let all = &mut operation.responses.responses;
            all.entry(status.to_owned())
                .or_insert_with(|| problem(description).into());
        }
    };
    add(has_input, "400", "A parameter or the body is not valid.");
    add(secured, "401", "No valid credential was presented.");
    add(repeatable, "409", "A request with this key is under way.");
    add(conditional, "412", "It is not as `If-Match` says any more.");
    add(body, "413", "The body is too large.");
    add(body, "415", "The body is not JSON.");
    add(
        repeatable,
        "422",
        "The idempotency key was used with another request.",
    );
    add(
        repeatable,
        "429",
        "Too many requests with idempotency keys are remembered.",
    );
    add(
        managed && (secured || body),
        "503",
        "The database is out of reach.",
    );
    add(body, "504", "The body did not arrive in time.");
    for (status, answer) in &mut operation.responses.responses {
        if let RefOr::T(answer) = answer
            && (status.starts_with('4') || status.starts_with('5'))
            && answer.content.get(JSON).is_some_and(is_problem)
            && let Some(content) = answer.content.shift_remove(JSON)
        {
            answer.content.insert(PROBLEM.to_owned(), content);
        }
    }
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter {
            describe(parameter);
        }
    }
}

/// Tells whether an answer is of the shape that errors of most surfaces have.
fn is_problem(content: &RefOr<Content>) -> bool {
    let RefOr::T(content) = content else {
        return false;
    };
    matches!(&content.schema, Some(RefOr::Ref(schema)) if schema.ref_location.ends_with("/Problem"))
}

fn parameters(operation: &Operation) -> impl Iterator<Item = &Parameter> {
    let all = operation.parameters.iter().flatten();
    all.filter_map(|parameter| match parameter {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    })
}

fn describe(parameter: &mut Parameter) {
    let (meaning, pattern) = match parameter.name.as_str() {
        IF_MATCH => (
            "Only change it while its `ETag` is one of these, or while it exists (`*`); otherwise 412.",
            "^[ -~]*$",
        ),
        IDEMPOTENCY_KEY => (
            "1 to 255 visible characters that name this request, as a UUID: sent again within 24 hours it has no second effect, and the answer is the first one.",
            "^[!-~]{1,255}$",
        ),
        _ => return,
    };
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(pattern))
        .build();
    parameter.schema = Some(text.into());
    parameter
        .description
        .get_or_insert_with(|| meaning.to_owned());
}

fn problem(description: &str) -> Answer {
    let mut answer = Answer::new(description);
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    answer.content.insert(PROBLEM.to_owned(), content.into());
    answer
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use utoipa::openapi::PathsBuilder;
    use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder};
    use utoipa::openapi::request_body::RequestBody;
    use utoipa::openapi::security::SecurityRequirement;

    use super::*;

    fn described(operation: OperationBuilder) -> Value {
        let item = PathItem::new(HttpMethod::Post, operation);
        let part = OpenApiBuilder::new()
            .paths(PathsBuilder::new().path("/api/v1/things", item))
            .build();
        let document = serde_json::to_value(assemble("1", [part])).unwrap();
        document["paths"]["/api/v1/things"]["post"].clone()
    }

    fn statuses(operation: &Value) -> Vec<&String> {
        operation["responses"].as_object().unwrap().keys().collect()
    }

    #[test]
    fn an_operation_describes_what_the_shared_parts_answer() {
        let bare = described(OperationBuilder::new());
        assert!(statuses(&bare).is_empty());
        let parameter = |name: &str| {
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Header)
        };
        let all = described(
            OperationBuilder::new()
                .security(SecurityRequirement::new("bearer", [""; 0]))
                .parameter(parameter("Idempotency-Key"))
                .parameter(parameter("If-Match"))
                .request_body(Some(RequestBody::new())),
        );
        let expected = [
            "400", "401", "409", "412", "413", "415", "422", "429", "503", "504",
        ];
        assert_eq!(statuses(&all), expected);
        let reference = json!({"$ref": "#/components/schemas/Problem"});
        assert_eq!(
            all["responses"]["415"]["content"][PROBLEM]["schema"],
            reference
        );
        assert!(all["parameters"][0]["description"].is_string());
    }

    #[test]
    fn what_a_handler_says_of_an_answer_stays_and_problems_have_their_type() {
        let mut own = Answer::new("Its own words.");
        let content = Content::new(Some(Ref::from_schema_name("Problem")));
        own.content.insert(JSON.to_owned(), content.into());
        let operation = described(OperationBuilder::new().response("503", own));
        assert_eq!(
            operation["responses"]["503"]["description"],
            "Its own words."
        );
        let types = operation["responses"]["503"]["content"]
            .as_object()
            .unwrap();
        assert_eq!(types.keys().collect::<Vec<_>>(), [PROBLEM]);
    }
}
