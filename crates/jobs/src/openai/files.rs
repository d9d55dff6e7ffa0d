//! `/v1/files`: uploaded as a form, stored in pieces as they come; listed, read, deleted.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::unfold;
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use multer::{Constraints, Multipart, SizeLimit};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::fault::{Client, Fault};
use crate::files::{File, FileError, FileId, Purpose, Writing};
use crate::model::Owner;
use crate::surface::Jobs;

/// What a form may have beside its file, in bytes.
const FORM: u64 = 64 << 10;
/// Pieces that are ready before the client takes them.
const READ_AHEAD: usize = 2;
/// The most files on a page.
const PAGE: u32 = 1_000;

/// Which files to list.
#[derive(Debug, Deserialize)]
pub(super) struct FilesQuery {
    purpose: Option<String>,
    limit: Option<u32>,
    after: Option<String>,
}

fn shown(file: &File) -> Value {
    json!({
        "id": file.id.0,
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created_at.as_secs(),
        "expires_at": file.expires_at.as_secs(),
        "filename": file.name,
        "purpose": file.purpose.as_str(),
        "status": "processed",
    })
}

fn owner(client: &Client) -> Owner {
    Owner::of(client.0.principal())
}

pub(super) async fn list_files(
    client: Client,
    State(jobs): State<Jobs>,
    Query(query): Query<FilesQuery>,
) -> Result<Json<Value>, Fault> {
    let purpose = match query.purpose.as_deref() {
        None => None,
        Some(name) => match Purpose::from_name(name) {
            Some(purpose) => Some(purpose),
            // Of other purposes there are none.
            None => return Ok(Json(page(&[], 1))),
        },
    };
    let limit = query.limit.unwrap_or(PAGE).clamp(1, PAGE);
    let after = query.after.as_deref();
    let found = jobs
        .list_files(owner(&client), purpose, after, limit + 1)
        .await?;
    let items: Vec<Value> = found.iter().map(shown).collect();
    Ok(Json(page(&items, limit as usize)))
}

/// Makes a page of what was found, one item more than are shown.
pub(super) fn page(found: &[Value], limit: usize) -> Value {
    let items = found.get(..limit).unwrap_or(found);
    let id = |item: Option<&Value>| item.and_then(|item| item.get("id")).cloned();
    json!({
        "object": "list",
        "data": items,
        "first_id": id(items.first()),
        "last_id": id(items.last()),
        "has_more": found.len() > items.len(),
    })
}

pub(super) async fn show_file(
    client: Client,
    State(jobs): State<Jobs>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Fault> {
    let file = jobs.load_file(owner(&client), &id).await?;
    Ok(Json(shown(&file)))
}

pub(super) async fn delete_file(
    client: Client,
    State(jobs): State<Jobs>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Fault> {
    jobs.delete_file(owner(&client), &id).await?;
    Ok(Json(json!({"id": id, "object": "file", "deleted": true})))
}

pub(super) async fn read_file(
    client: Client,
    State(jobs): State<Jobs>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let file = jobs.load_file(owner(&client), &id).await?;
    // An answer's body is read where the connection is served, and the database is not for those threads.
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    tokio::spawn(read_pieces(jobs, file.id.clone(), file.pieces, sender));
    let content = unfold(receiver, |mut receiver| async move {
        let piece: Result<Bytes, FileError> = receiver.recv().await?;
        Some((piece, receiver))
    });
    let mut response = Response::new(Body::from_stream(content));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(file.bytes));
    Ok(response)
}

/// Hands on the pieces of a file, until the client goes away.
async fn read_pieces(
    jobs: Jobs,
    id: FileId,
    pieces: i64,
    sender: mpsc::Sender<Result<Bytes, FileError>>,
) {
    for number in 1..=pieces {
        let piece = match jobs.read_piece(&id, number).await {
            Ok(Some(piece)) => Ok(piece),
            // Deleted meanwhile: the answer breaks off, and its length tells.
            Ok(None) => Err(FileError::Unknown(id.0.clone())),
            Err(error) => Err(error),
        };
        let failed = piece.is_err();
        if sender.send(piece).await.is_err() || failed {
            return;
        }
    }
}

pub(super) async fn upload_file(
    client: Client,
    State(jobs): State<Jobs>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Fault> {
    let form = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let Some(boundary) = form.and_then(|form| multer::parse_boundary(form).ok()) else {
        let message = "send a form (multipart/form-data) with the fields purpose and file";
        return Err(Fault::invalid("file", message));
    };
    let limit = jobs.inner.config.file_limit;
    let sizes = SizeLimit::new()
        .whole_stream(limit + FORM)
        .for_field("purpose", 1 << 10);
    let constraints = Constraints::new().size_limit(sizes);
    let mut form = Multipart::with_constraints(body.into_data_stream(), boundary, constraints);
    let mut purpose = None;
    let mut writing = None;
    let outcome = take_form(&jobs, owner(&client), &mut form, &mut purpose, &mut writing).await;
    let problem = match (outcome, purpose.as_deref(), writing.is_some()) {
        (Err(error), ..) => Some(Fault::from(error)),
        (Ok(()), _, false) => Some(Fault::invalid("file", "the form has no field file")),
        (Ok(()), Some("batch"), true) => None,
        (Ok(()), ..) => Some(Fault::invalid(
            "purpose",
            "purpose must be \"batch\": nothing else is done with files here",
        )),
    };
    match (problem, writing) {
        (None, Some(writing)) => Ok(Json(shown(&writing.complete().await?))),
        (problem, writing) => {
            if let Some(writing) = writing {
                writing.give_up().await;
            }
            let none = || Fault::invalid("file", "the form has no field file");
            Err(problem.unwrap_or_else(none))
        }
    }
}

/// Reads the fields of a form in whatever order they come; the file is stored as it comes.
async fn take_form(
    jobs: &Jobs,
    owner: Owner,
    form: &mut Multipart<'static>,
    purpose: &mut Option<String>,
    writing: &mut Option<Writing>,
) -> Result<(), FileError> {
    let broken = |error: multer::Error| match error {
        multer::Error::StreamSizeExceeded { .. } => {
            FileError::TooLarge(jobs.inner.config.file_limit)
        }
        error => FileError::Upload(format!("the form cannot be read ({error}): send it again")),
    };
    while let Some(mut field) = form.next_field().await.map_err(broken)? {
        match field.name() {
            Some("purpose") => *purpose = Some(field.text().await.map_err(broken)?),
            Some("file") if writing.is_none() => {
                let name = field.file_name().unwrap_or("file").to_owned();
                let begun = jobs.begin_file(owner, &name, Purpose::Batch).await?;
                let writing = writing.insert(begun);
                while let Some(chunk) = field.chunk().await.map_err(broken)? {
                    writing.write(&chunk).await?;
                }
            }
            // Other fields say what does not hold here: files go in their time.
            _ => while field.chunk().await.map_err(broken)?.is_some() {},
        }
    }
    Ok(())
}
