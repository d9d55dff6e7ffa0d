//! `remuda graphql`: asks the control plane in GraphQL.

use std::io::Read as _;

use clap::Args;
use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use crate::output::remark;

/// The longest query that the server takes.
const LONGEST: u64 = 32 << 10;

/// Asks the control plane in GraphQL, and prints the answer as JSON.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda graphql '{ me { name role } }'
  remuda graphql '{ keys(first: 5) { items { name status } nextCursor } }' | jq .keys
  remuda graphql --variables '{\"id\": \"…\"}' 'mutation($id: ID!) { revokeKey(id: $id) }'
  remuda graphql - < query.graphql")]
pub(super) struct Graphql {
    /// The query; `-` reads it from standard input.
    query: String,
    /// Values of its variables, as a JSON object.
    #[arg(long, value_name = "JSON")]
    variables: Option<String>,
}

impl Graphql {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut query = self.query;
        if query == "-" {
            query.clear();
            // One more than fits, so that the server says so.
            let mut input = std::io::stdin().take(LONGEST + 1);
            input
                .read_to_string(&mut query)
                .map_err(|error| Failure::Usage(format!("standard input: {error}")))?;
        }
        let variables: Value = match &self.variables {
            None => json!({}),
            Some(text) => serde_json::from_str(text)
                .map_err(|error| Failure::Usage(format!("--variables is not JSON: {error}")))?,
        };
        let body = json!({"query": query, "variables": variables});
        let (_, answer) = context.api()?.post_any("/api/v1/graphql", &body).await?;
        let data = answer.get("data").unwrap_or(&Value::Null);
        if !data.is_null() {
            context.out.json(data)?;
        }
        let errors = answer.get("errors").and_then(Value::as_array);
        let mut failed = false;
        for error in errors.into_iter().flatten() {
            failed = true;
            let message = error.get("message").and_then(Value::as_str);
            remark(&format!("error: {}", message.unwrap_or_default()));
        }
        // A problem, as of one who is not signed in.
        if let Some(detail) = answer.get("detail").and_then(Value::as_str) {
            return Err(Failure::Refused(detail.to_owned()));
        }
        if failed { Err(Failure::Told) } else { Ok(()) }
    }
}
