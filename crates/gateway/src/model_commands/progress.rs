//! Runs a command with progress on one or more nodes and merges what they report: bytes are added up per layer, and
//! `success` comes once, when all have succeeded.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use dialects::{ApiError, FrameSplitter, Framing};
use futures_util::StreamExt as _;
use futures_util::stream::SelectAll;
use http::{Method, Response};
use primitives::ErrorKind;
use serde::{Deserialize, Serialize};
use web::outbound::Answer;

use super::call;
use super::settle::{Change, settle};
use crate::body::ReplyBody;
use crate::fleet_view::RouteNode;
use crate::front::{Visit, reply::Reply};
use crate::shared::Shared;

/// Most layers whose progress is added up; real models have a handful.
const LAYERS: usize = 1_000;

/// One line of progress, as Ollama writes it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Line {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    completed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Runs the command.
pub(super) async fn run(
    visit: &Visit<'_>,
    path: &str,
    nodes: Vec<Arc<RouteNode>>,
    body: Bytes,
    stream: bool,
    model: &str,
) -> Result<Response<ReplyBody>, ApiError> {
    let started = futures_util::future::join_all(
        nodes
            .iter()
            .map(|node| call::start(visit, node, Method::POST, path, body.clone())),
    )
    .await;
    let mut reports = SelectAll::new();
    let mut merge = Merge::new(nodes.len());
    for (index, (node, answer)) in nodes.iter().zip(started).enumerate() {
        match answer {
            Ok(answer) => reports.push(Box::pin(lines(index, answer))),
            // With one node the client gets the node's own answer.
            Err(error) if nodes.len() == 1 => return Err(error),
            Err(error) => merge.failed(index, &node.view.name, &error.message),
        }
    }
    let names: Vec<Arc<str>> = nodes.iter().map(|n| n.view.name.clone()).collect();
    let shown = names.join(",");
    let finish = Finish {
        shared: visit.worker.shared.clone(),
        nodes,
        model: model.to_owned(),
    };
    let reply = Reply::new(visit.id).node(Some(&shown));
    if stream {
        let merged = futures_util::stream::unfold(
            (reports, merge, names, Some(finish)),
            |(mut reports, mut merge, names, finish)| async move {
                let finish = finish?;
                loop {
                    let Some((index, line)) = reports.next().await else {
                        let last = merge.last();
                        finish.settle(last.error.is_none()).await;
                        return Some((Ok(ndjson(&last)), (reports, merge, names, None)));
                    };
                    if let Some(line) = merge.line(index, names.get(index), line) {
                        return Some((
                            Ok::<_, std::io::Error>(ndjson(&line)),
                            (reports, merge, names, Some(finish)),
                        ));
                    }
                }
            },
        );
        return Ok(reply.stream(
            Framing::Ndjson.content_type(),
            ReplyBody::Boxed(axum::body::Body::from_stream(merged)),
            false,
        ));
    }
    while let Some((index, line)) = reports.next().await {
        merge.line(index, names.get(index), line);
    }
    let last = merge.last();
    finish.settle(last.error.is_none()).await;
    match last.error {
        Some(error) => Err(ApiError::new(ErrorKind::Bug, error)),
        None => Ok(reply.whole("application/json; charset=utf-8", ndjson(&last))),
    }
}

/// What is done when all nodes have reported, before the client hears that it is over.
struct Finish {
    shared: Arc<Shared>,
    nodes: Vec<Arc<RouteNode>>,
    model: String,
}

impl Finish {
    async fn settle(&self, succeeded: bool) {
        let model = if succeeded { self.model.as_str() } else { "" };
        settle(&self.shared, &self.nodes, &Change::Added(model)).await;
    }
}

fn ndjson(line: &Line) -> Bytes {
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

/// Reads one node's report line by line; an unreadable or broken one ends with an error line.
fn lines(index: usize, answer: Answer) -> impl futures_util::Stream<Item = (usize, Line)> + Send {
    let splitter = FrameSplitter::new(Framing::Ndjson).with_max_frame_bytes(1 << 20);
    futures_util::stream::unfold(Some((answer, splitter)), move |state| async move {
        let (mut answer, mut splitter) = state?;
        loop {
            let frame = match splitter.next_frame() {
                Ok(Some(frame)) => Some(frame),
                Ok(None) => None,
                Err(error) => return Some(((index, broken(&error.to_string())), None)),
            };
            if let Some(frame) = frame {
                if let Ok(line) = serde_json::from_slice::<Line>(&frame) {
                    return Some(((index, line), Some((answer, splitter))));
                }
                continue;
            }
            match answer.chunk().await {
                Ok(Some(chunk)) => splitter.push(chunk),
                Ok(None) => {
                    let rest = splitter.take_rest()?;
                    let line = serde_json::from_slice::<Line>(&rest).ok()?;
                    return Some(((index, line), None));
                }
                Err(_) => return Some(((index, broken("the connection to the node broke")), None)),
            }
        }
    })
}

fn broken(why: &str) -> Line {
    Line {
        error: Some(why.to_owned()),
        ..Line::default()
    }
}

/// Merges the reports of several nodes.
struct Merge {
    succeeded: Vec<bool>,
    errors: Vec<String>,
    layers: BTreeMap<String, Vec<(u64, u64)>>,
}

impl Merge {
    fn new(nodes: usize) -> Self {
        Self {
            succeeded: vec![false; nodes],
            errors: Vec::new(),
            layers: BTreeMap::new(),
        }
    }

    fn failed(&mut self, index: usize, node: &str, why: &str) {
        if self.succeeded.len() > 1 {
            self.errors.push(format!("{node}: {why}"));
        } else {
            self.errors.push(why.to_owned());
        }
        if let Some(done) = self.succeeded.get_mut(index) {
            *done = false;
        }
    }

    /// Takes a node's line in; returns the line that the client gets, if any.
    fn line(&mut self, index: usize, node: Option<&Arc<str>>, line: Line) -> Option<Line> {
        if let Some(error) = line.error {
            self.failed(index, node.map_or("?", |n| n), &error);
            return None;
        }
        if line.status == "success" {
            if let Some(done) = self.succeeded.get_mut(index) {
                *done = true;
            }
            return None;
        }
        let (Some(digest), Some(total)) = (&line.digest, line.total) else {
            return Some(line);
        };
        if self.layers.len() >= LAYERS && !self.layers.contains_key(digest) {
            return Some(line);
        }
        let nodes = self.succeeded.len();
        let parts = self
            .layers
            .entry(digest.clone())
            .or_insert_with(|| vec![(0, 0); nodes]);
        if let Some(part) = parts.get_mut(index) {
            *part = (total, line.completed.unwrap_or(0));
        }
        let (total, completed) = parts.iter().fold((0, 0), |(t, c), (total, completed)| {
            (t + total, c + completed)
        });
        Some(Line {
            total: Some(total),
            completed: line
                .completed
                .map(|_| completed)
                .or((completed > 0).then_some(completed)),
            ..line
        })
    }

    /// Returns the last line.
    fn last(&self) -> Line {
        if self.errors.is_empty() && self.succeeded.iter().all(|done| *done) {
            return Line {
                status: "success".to_owned(),
                ..Line::default()
            };
        }
        let why = if self.errors.is_empty() {
            "a node ended its report without success".to_owned()
        } else {
            self.errors.join("; ")
        };
        broken(&why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(lines: &[Line]) -> String {
        let all: Vec<u8> = lines.iter().flat_map(ndjson).collect();
        String::from_utf8(all).unwrap()
    }

    fn layer(total: u64, completed: u64) -> Line {
        Line {
            status: "pulling abc".to_owned(),
            digest: Some("sha256:abc".to_owned()),
            total: Some(total),
            completed: Some(completed),
            error: None,
        }
    }

    fn status(text: &str) -> Line {
        Line {
            status: text.to_owned(),
            ..Line::default()
        }
    }

    #[test]
    fn bytes_add_up_and_success_comes_once() {
        let names: [Arc<str>; 2] = ["a".into(), "b".into()];
        let mut merge = Merge::new(2);
        let mut shown = Vec::new();
        for (index, line) in [
            (0, layer(10, 4)),
            (1, layer(10, 1)),
            (0, status("success")),
            (1, layer(10, 10)),
            (1, status("success")),
        ] {
            shown.extend(merge.line(index, names.get(index), line));
        }
        shown.push(merge.last());
        assert_eq!(
            text(&shown),
            "{\"status\":\"pulling abc\",\"digest\":\"sha256:abc\",\"total\":10,\"completed\":4}\n\
             {\"status\":\"pulling abc\",\"digest\":\"sha256:abc\",\"total\":20,\"completed\":5}\n\
             {\"status\":\"pulling abc\",\"digest\":\"sha256:abc\",\"total\":20,\"completed\":14}\n\
             {\"status\":\"success\"}\n"
        );
    }

    #[test]
    fn one_failure_is_named_and_the_whole_is_no_success() {
        let names: [Arc<str>; 2] = ["a".into(), "b".into()];
        let mut merge = Merge::new(2);
        merge.line(0, names.first(), status("success"));
        merge.line(1, names.get(1), broken("no space left on device"));
        assert_eq!(
            text(&[merge.last()]),
            "{\"error\":\"b: no space left on device\"}\n"
        );
    }

    #[test]
    fn a_report_that_just_ends_is_no_success() {
        let mut merge = Merge::new(1);
        merge.line(0, None, status("pulling manifest"));
        assert!(merge.last().error.is_some());
    }
}
