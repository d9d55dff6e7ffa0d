//! `remuda batch`: many requests from a file, answered in their own time.

use std::io::Write as _;
use std::path::PathBuf;

use bytes::Bytes;
use clap::{Args, Subcommand};
use primitives::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::id_path::id_path;
use crate::client::Api;
use crate::output::{Columns, Tone, ago, remark};

const BATCHES: &str = "/v1/batches";
const FILES: &str = "/v1/files";
/// What separates the parts of a form: nothing that stands in a line of JSON.
const BOUNDARY: &str = "remuda-form-7d1c0f5b9e3a4c28";

/// Has the requests of a file answered, in the format of the `OpenAI` batch API.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda batch submit requests.jsonl
  remuda batch submit texts.jsonl --endpoint /v1/embeddings
  remuda batch list
  remuda batch show batch_0198c0de000070008000000000000000
  remuda batch output batch_0198c0de000070008000000000000000 > answers.jsonl
  remuda batch cancel batch_0198c0de000070008000000000000000

A line of the file is {\"custom_id\": \"1\", \"method\": \"POST\", \"url\": \"/v1/chat/completions\", \"body\": {…}}.")]
pub(super) struct Batch {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Upload a file of requests and have them answered.
    Submit {
        /// The file: one JSON object a line.
        file: PathBuf,
        /// The endpoint of all its lines.
        #[arg(long, default_value = "/v1/chat/completions")]
        endpoint: String,
    },
    /// List your batches, the newest first.
    #[command(visible_alias = "ls")]
    List,
    /// Show a batch, and what is wrong with its lines.
    Show {
        /// The batch's id.
        id: String,
    },
    /// Print the answers of a batch that has ended.
    Output {
        /// The batch's id.
        id: String,
        /// Print what went wrong instead.
        #[arg(long)]
        errors: bool,
    },
    /// Call a batch off; what was answered stays.
    Cancel {
        /// The batch's id.
        id: String,
    },
}

#[derive(Deserialize)]
struct Row {
    id: String,
    status: String,
    endpoint: String,
    created_at: i64,
    request_counts: Counts,
    output_file_id: Option<String>,
    error_file_id: Option<String>,
    errors: Option<Faults>,
}

#[derive(Deserialize)]
struct Counts {
    total: u64,
    completed: u64,
    failed: u64,
}

#[derive(Deserialize)]
struct Faults {
    data: Vec<LineFault>,
}

#[derive(Deserialize)]
struct LineFault {
    message: String,
    line: Option<u64>,
}

impl Batch {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let api = context.api()?;
        match self.action {
            Action::Submit { file, endpoint } => submit(context, &api, &file, &endpoint).await,
            Action::List => list(context, &api).await,
            Action::Show { id } => show(context, &api, &id).await,
            Action::Output { id, errors } => output(&api, &id, errors).await,
            Action::Cancel { id } => {
                let batch = api.poke(&format!("{}/cancel", path(&id)?)).await?;
                if context.out.is_json() {
                    return Ok(context.out.json(&batch)?);
                }
                Ok(context.out.line(format!("Called off {id}."))?)
            }
        }
    }
}

fn path(id: &str) -> Result<String, Failure> {
    id_path(BATCHES, id, "a batch", "remuda batch list")
}

async fn submit(
    context: &Context,
    api: &Api,
    file: &PathBuf,
    endpoint: &str,
) -> Result<(), Failure> {
    let lines = std::fs::read(file)
        .map_err(|error| Failure::Refused(format!("cannot read {}: {error}", file.display())))?;
    let name: String = file
        .file_name()
        .map(|name| name.to_string_lossy().replace(['"', '\r', '\n', '\\'], "_"))
        .unwrap_or_default();
    let mut form = format!(
        "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--{BOUNDARY}\r\n\
         content-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\ncontent-type: application/jsonl\r\n\r\n"
    )
    .into_bytes();
    form.extend_from_slice(&lines);
    form.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let uploaded = api.post_form(FILES, &kind, Bytes::from(form)).await?;
    let wish = json!({
        "input_file_id": uploaded.get("id"), "endpoint": endpoint, "completion_window": "24h",
    });
    let batch = api.post(BATCHES, &wish).await?;
    if context.out.is_json() {
        return Ok(context.out.json(&batch)?);
    }
    let batch: Row = api.decode(batch)?;
    context.out.line(&batch.id)?;
    remark(&format!(
        "it will be carried out; see how far it is with `remuda batch show {}`",
        batch.id
    ));
    Ok(())
}

fn tone(status: &str) -> Tone {
    match status {
        "failed" | "expired" => Tone::Bad,
        "completed" => Tone::Good,
        _ => Tone::Faint,
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds.saturating_mul(1_000_000))
}

async fn list(context: &Context, api: &Api) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Page {
        data: Vec<Row>,
    }
    let page = api.get(BATCHES).await?;
    if context.out.is_json() {
        return Ok(context.out.json(&page)?);
    }
    let now = context.now();
    let mut table = Columns::new(
        [
            "STATUS", "WHEN", "ENDPOINT", "LINES", "DONE", "FAILED", "ID",
        ],
        "You have no batches (`remuda batch submit FILE` makes one).",
    )
    .dispensing_with(&["ENDPOINT"]);
    for batch in api.decode::<Page>(page)?.data {
        let counts = batch.request_counts;
        table.row_marked(
            0,
            tone(&batch.status),
            [
                batch.status,
                ago(at(batch.created_at), now),
                batch.endpoint,
                counts.total.to_string(),
                counts.completed.to_string(),
                counts.failed.to_string(),
                batch.id,
            ],
        );
    }
    Ok(table.print(context.out)?)
}

async fn show(context: &Context, api: &Api, id: &str) -> Result<(), Failure> {
    let batch = api.get(&path(id)?).await?;
    let out = context.out;
    if out.is_json() {
        return Ok(out.json(&batch)?);
    }
    let batch: Row = api.decode(batch)?;
    let counts = batch.request_counts;
    out.line(format!(
        "{}  {}: {} of {} lines answered, {} failed, accepted {}",
        out.paint(tone(&batch.status), &batch.status),
        batch.endpoint,
        counts.completed,
        counts.total,
        counts.failed,
        ago(at(batch.created_at), context.now())
    ))?;
    for fault in batch.errors.into_iter().flat_map(|faults| faults.data) {
        let line = fault
            .line
            .map_or(String::new(), |line| format!("line {line}: "));
        out.line(format!("{line}{}", fault.message))?;
    }
    Ok(())
}

async fn output(api: &Api, id: &str, errors: bool) -> Result<(), Failure> {
    let batch: Value = api.get(&path(id)?).await?;
    let batch: Row = api.decode(batch)?;
    let file = if errors {
        batch.error_file_id
    } else {
        batch.output_file_id
    };
    let Some(file) = file else {
        let status = batch.status;
        return Err(Failure::Refused(format!(
            "there is no such file: the batch is {status} (`remuda batch show {id}`)"
        )));
    };
    let mut content = api.download(&format!("{FILES}/{file}/content")).await?;
    let mut out = std::io::stdout().lock();
    while let Some(piece) = content.next().await? {
        out.write_all(&piece)?;
    }
    Ok(out.flush()?)
}
