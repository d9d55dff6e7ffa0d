//! What chat and completions have in common: sampling, streaming, the shape of the answer.

use serde::Serialize;

use crate::canonical::{Format, Generation};
use crate::error::ApiError;
use crate::hints::drop_extensions;
use crate::json::Json;
use crate::operation::Operation;
use crate::target::{ServerKind, Target};
use crate::wire::ObjectWriter;

#[derive(Serialize)]
struct WireFormat<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    json_schema: Option<WireSchema<'a>>,
    /// Where llama-cpp-python looks for a schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<&'a Json>,
}

#[derive(Serialize)]
struct WireSchema<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    schema: &'a Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

pub(super) fn write_generation(
    body: &mut ObjectWriter,
    source: Operation,
    target: Target,
    generation: &Generation,
) -> Result<(), ApiError> {
    let server = target.server;
    let sampling = &generation.sampling;
    let known = |name: &str| match name {
        "logit_bias" => server != ServerKind::Ollama,
        // Only a response that passes unread may have several choices.
        "n" => source == target.operation && server != ServerKind::Ollama,
        "top_k" | "min_p" | "typical_p" | "repeat_penalty" | "repeat_last_n" => {
            server.extra_sampling().contains(&name)
        }
        _ => true,
    };
    if let Some(name) = sampling.used().find(|name| !known(name)) {
        return Err(ApiError::unsupported(name, "the node has no such setting"));
    }
    body.put("stream", &generation.stream);
    if generation.stream && generation.include_usage {
        body.put(
            "stream_options",
            &StreamOptions {
                include_usage: true,
            },
        );
    }
    for (name, value) in [
        ("temperature", sampling.temperature),
        ("top_p", sampling.top_p),
        ("presence_penalty", sampling.presence_penalty),
        ("frequency_penalty", sampling.frequency_penalty),
        ("min_p", sampling.min_p),
        ("typical_p", sampling.typical_p),
        ("repeat_penalty", sampling.repeat_penalty),
    ] {
        body.put_some(server.sampling_name(name), value.filter(|_| known(name)));
    }
    for (name, value) in [
        ("seed", sampling.seed),
        // Ollama's negative limits mean none.
        (
            "max_tokens",
            sampling.max_tokens.filter(|limit| *limit >= 0),
        ),
        ("top_k", sampling.top_k),
        ("repeat_last_n", sampling.repeat_last_n),
    ] {
        body.put_some(server.sampling_name(name), value.filter(|_| known(name)));
    }
    if !sampling.stop.is_empty() {
        body.put("stop", &sampling.stop);
    }
    body.put_some("n", sampling.n.filter(|n| *n > 1));
    body.put_some("logit_bias", sampling.logit_bias.as_ref());
    write_format(body, server, generation.format.as_ref());
    if source == target.operation {
        body.put_all(&generation.extensions);
        return Ok(());
    }
    drop_extensions(source, &generation.extensions)
}

fn write_format(body: &mut ObjectWriter, server: ServerKind, format: Option<&Format>) {
    let wire = match format {
        None => return,
        Some(Format::Json) => WireFormat {
            r#type: "json_object",
            json_schema: None,
            schema: None,
        },
        Some(Format::Schema { schema, .. }) if server == ServerKind::LlamaCppPython => WireFormat {
            r#type: "json_object",
            json_schema: None,
            schema: Some(schema),
        },
        Some(Format::Schema {
            schema,
            name,
            description,
            strict,
        }) => WireFormat {
            r#type: "json_schema",
            json_schema: Some(WireSchema {
                name: name.as_deref().unwrap_or("response"),
                description: description.as_deref(),
                schema,
                strict: *strict,
            }),
            schema: None,
        },
    };
    body.put("response_format", &wire);
}
