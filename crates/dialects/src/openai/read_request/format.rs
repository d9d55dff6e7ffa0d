//! The shape an answer must have.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::canonical::Format;
use crate::error::ApiError;
use crate::json::{Json, field};

#[derive(Deserialize)]
struct WireFormat {
    r#type: String,
    json_schema: Option<WireSchema>,
}

/// A named schema; the Responses API writes it flat.
#[derive(Deserialize)]
pub(crate) struct WireSchema {
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) schema: Option<Json>,
    pub(crate) strict: Option<bool>,
}

pub(super) fn response_format(raw: &RawValue) -> Result<Option<Format>, ApiError> {
    let wire: WireFormat = field("response_format", raw)?;
    named_format(&wire.r#type, wire.json_schema, "response_format")
}

pub(crate) fn named_format(
    kind: &str,
    wire: Option<WireSchema>,
    name: &str,
) -> Result<Option<Format>, ApiError> {
    match (kind, wire) {
        ("text", _) => Ok(None),
        ("json_object", _) => Ok(Some(Format::Json)),
        (
            "json_schema",
            Some(WireSchema {
                schema: Some(schema),
                name,
                description,
                strict,
            }),
        ) => Ok(Some(Format::Schema {
            schema,
            name,
            description,
            strict,
        })),
        ("json_schema", _) => Err(ApiError::invalid_field(
            name,
            format!("'{name}' has no schema"),
        )),
        _ => Err(ApiError::unsupported(
            name,
            "use 'text', 'json_object' or 'json_schema'",
        )),
    }
}
