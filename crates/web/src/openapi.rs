//! The OpenAPI document of the management API, put together from what the domains contribute.

use axum::response::Response;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder};

/// Joins the documents of the domains and adds the title, the version and the `bearer` security scheme that they refer to.
pub fn assemble(version: &str, parts: impl IntoIterator<Item = OpenApi>) -> OpenApi {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "A session token from `POST /api/v1/login`, or an API key.",
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
    document
}

/// Answers with a JSON text that was made earlier.
pub fn json_response(text: String) -> Response {
    let mut response = Response::new(text.into());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
