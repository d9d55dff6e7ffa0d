//! The embedded engine as a model server in the dialects of Ollama and OpenAI, over connections that never touch the network: what
//! an agent without a server beside it carries requests to.
//!
//! It is asked by the gateway of the control plane, so it knows no keys, no queue and no limits but the engine's own.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use dialects::{
    ApiError, Dialect, Event, Fields, Json, LoadedEntry, ModelDescription, ModelDetails,
    ModelEntry, Operation, Request as Asked, ResponseEncoder, ResponseMeta, decode_request,
    encode_whole, error_response, ollama_ps, ollama_show, ollama_tags, ollama_version,
    openai_models, response_id,
};
use engine::{Engine, Generation, ModelCard};
use futures_util::stream::unfold;
use http::{Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use primitives::{Clock, ErrorKind, RequestId, Timestamp};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::upstream::engine_call;

/// The largest request: as large as the largest that control planes pass on unless told otherwise.
const REQUEST_LIMIT: usize = 64 << 20;
const JSON: &str = "application/json; charset=utf-8";

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A model server whose models the embedded engine serves. Clones share the engine.
#[derive(Clone, Debug)]
pub struct EngineServer {
    engine: Engine,
    clock: Arc<dyn Clock>,
    /// When the models were found.
    since: Timestamp,
}

#[derive(Deserialize)]
struct ShowRequest {
    #[serde(alias = "name")]
    model: String,
}

impl EngineServer {
    /// Makes a server of an engine.
    pub fn new(engine: Engine, clock: Arc<dyn Clock>) -> Self {
        let since = clock.now();
        Self {
            engine,
            clock,
            since,
        }
    }

    /// Answers on one connection until either side ends it. Answers under way end with it, within one token.
    pub async fn serve<I>(self, io: I)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let answer = service_fn(move |request| {
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(io), answer)
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "a connection to the engine broke");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let answered = async {
            if matches!(head.method, Method::GET | Method::HEAD) {
                return self.list(&path).ok_or_else(|| unknown(&path));
            }
            let body = Limited::new(body, REQUEST_LIMIT)
                .collect()
                .await
                .map_err(|error| ApiError::invalid(format!("the request cannot be read: {error}")))?
                .to_bytes();
            match Operation::from_path(&path) {
                Some(operation) if head.method == Method::POST => {
                    self.infer(operation, &body).await
                }
                None if path == "/api/show" => self.show(&body),
                _ => Err(unknown(&path)),
            }
        };
        answered.await.unwrap_or_else(|error: ApiError| {
            let (status, kind, body) = error_response(Dialect::of_path(&path), &error, "");
            let mut response = whole(kind, body);
            *response.status_mut() =
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            response
        })
    }

    fn list(&self, path: &str) -> Option<Response<Body>> {
        let models = || self.engine.models().into_iter();
        let entries = || -> Vec<ModelEntry> { models().map(|card| self.entry(&card)).collect() };
        let body = match path {
            "/" => {
                return Some(whole(
                    "text/plain; charset=utf-8",
                    Bytes::from("Ollama is running"),
                ));
            }
            "/api/version" => ollama_version(env!("CARGO_PKG_VERSION")),
            "/api/tags" => ollama_tags(&entries()),
            "/api/ps" => {
                let loaded: Vec<LoadedEntry> = models()
                    .filter(|card| card.loaded)
                    .map(|card| LoadedEntry {
                        model: self.entry(&card),
                        expires_at: card.expires_at,
                        size_vram: 0,
                        context_length: card.context_length as u64,
                    })
                    .collect();
                ollama_ps(&loaded)
            }
            "/v1/models" => openai_models(&entries()),
            _ => return None,
        };
        Some(whole(JSON, body))
    }

    fn show(&self, body: &[u8]) -> Result<Response<Body>, ApiError> {
        let asked: ShowRequest = serde_json::from_slice(body)
            .map_err(|error| ApiError::invalid(format!("the request cannot be read: {error}")))?;
        let card = self.find(Operation::OllamaChat, &asked.model)?;
        let family = &card.family;
        let mut info = Fields::default();
        for (name, value) in [
            (
                "general.architecture".to_owned(),
                serde_json::Value::from(family.as_str()),
            ),
            (
                "general.parameter_count".to_owned(),
                card.parameter_count.into(),
            ),
            (
                format!("{family}.context_length"),
                card.context_length.into(),
            ),
            (
                format!("{family}.embedding_length"),
                card.embedding_length.into(),
            ),
        ] {
            if let Some(json) = Json::parse(&value.to_string()) {
                info.push(name, json);
            }
        }
        let description = ModelDescription {
            model: self.entry(&card),
            template: card.chat_template,
            model_info: info,
            ..ModelDescription::default()
        };
        Ok(whole(JSON, ollama_show(&description)))
    }

    async fn infer(&self, operation: Operation, body: &[u8]) -> Result<Response<Body>, ApiError> {
        let mut asked = decode_request(operation, body)?;
        let model = self.find(operation, asked.model())?.name;
        let received = self.clock.now();
        let id = response_id(operation, &RequestId::generate(received).to_string());
        let meta = ResponseMeta::for_request(&asked, id, received);
        asked.set_model(&model);
        let events = match (asked.residency(), &asked) {
            (Some(change), _) => {
                let keep = asked.keep_alive();
                engine_call::change_residency(&self.engine, &model, change, keep).await?;
                vec![Event::Finish(change.into())]
            }
            (None, Asked::Embed(embed)) => engine_call::embed(&self.engine, &model, embed).await?,
            (None, _) => {
                let mut generation = engine_call::generate(&self.engine, &model, &asked).await?;
                if asked.stream() {
                    return Ok(self.stream(operation, meta, generation));
                }
                let mut events = Vec::new();
                while let Some(event) = generation.next().await {
                    engine_call::events(event, &mut events);
                }
                events
            }
        };
        let failed = events.iter().find_map(|event| match event {
            Event::Error(error) => Some(error.clone()),
            _ => None,
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let body = encode_whole(operation, &meta, &events, self.clock.now())?;
        Ok(whole(JSON, body))
    }

    fn stream(
        &self,
        operation: Operation,
        meta: ResponseMeta,
        generation: Generation,
    ) -> Response<Body> {
        let writing = Writing {
            generation: Some(generation),
            encoder: ResponseEncoder::new(operation, meta),
            clock: Arc::clone(&self.clock),
        };
        let frames = unfold(writing, |mut writing| async move {
            let bytes = writing.next().await?;
            Some((Ok(Frame::data(bytes)), writing))
        });
        let kind = operation.framing().content_type();
        respond(kind, StreamBody::new(frames).boxed_unsync())
    }

    /// Finds a model by its name; the tag `latest` may be there or not.
    fn find(&self, operation: Operation, name: &str) -> Result<ModelCard, ApiError> {
        let plain = name.strip_suffix(":latest").unwrap_or(name);
        let mut models = self.engine.models().into_iter();
        models
            .find(|card| card.name == name || card.name == plain)
            .ok_or_else(|| ApiError::model_not_found(operation, name))
    }

    fn entry(&self, card: &ModelCard) -> ModelEntry {
        let capabilities = [
            (card.capabilities.completion, "completion"),
            (card.capabilities.embedding, "embedding"),
        ];
        ModelEntry {
            name: card.name.clone(),
            digest: card.digest.clone(),
            size: card.size_bytes,
            modified_at: self.since,
            details: ModelDetails {
                parent_model: String::new(),
                format: "gguf".to_owned(),
                family: card.family.clone(),
                parameter_size: cluster::parameter_size(card.parameter_count),
                quantization_level: card.quantization.clone(),
                context_length: Some(card.context_length as u64),
                embedding_length: Some(card.embedding_length as u64),
            },
            capabilities: capabilities
                .into_iter()
                .filter(|(can, _)| *can)
                .map(|(_, name)| name.to_owned())
                .collect(),
            owner: None,
        }
    }
}

/// A stream under way.
struct Writing {
    /// `None` after the end.
    generation: Option<Generation>,
    encoder: ResponseEncoder,
    clock: Arc<dyn Clock>,
}

impl Writing {
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = BytesMut::new();
        let mut events = Vec::new();
        while out.is_empty() {
            let generation = self.generation.as_mut()?;
            let Some(event) = generation.next().await else {
                self.generation = None;
                self.encoder.finish(self.clock.now(), &mut out);
                break;
            };
            engine_call::events(event, &mut events);
            for event in events.drain(..) {
                if let Event::Error(error) = &event {
                    self.encoder.error(error, &mut out);
                    self.generation = None;
                    break;
                }
                self.encoder.event(&event, self.clock.now(), &mut out);
            }
        }
        (!out.is_empty()).then(|| out.freeze())
    }
}

fn unknown(path: &str) -> ApiError {
    let path: String = path.chars().take(80).collect();
    ApiError::new(
        ErrorKind::NotFound,
        format!("an agent with its own engine does not have {path}: put model files beside it"),
    )
}

fn whole(kind: &'static str, body: Bytes) -> Response<Body> {
    respond(kind, Full::new(body).boxed_unsync())
}

fn respond(kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use engine::EngineConfig;
    use primitives::SystemClock;
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

    use super::*;

    fn connected() -> tokio::io::DuplexStream {
        let (engine, _) = Engine::start(&EngineConfig::default());
        let server = EngineServer::new(engine, Arc::new(SystemClock::new()));
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        tokio::spawn(server.serve(theirs));
        ours
    }

    async fn ask(method: &str, path: &str, body: &str) -> (String, String) {
        let mut io = connected();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        io.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        io.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    fn chat(stream: bool) -> String {
        format!(
            r#"{{"model":"remuda-demo:latest","stream":{stream},"messages":[{{"role":"user","content":"Hi"}}],"options":{{"num_predict":4,"seed":1}}}}"#
        )
    }

    #[tokio::test]
    async fn models_are_told_and_described_as_ollama_does() {
        for (path, has) in [
            ("/api/version", "version"),
            ("/api/tags", "remuda-demo"),
            ("/api/ps", "models"),
            ("/v1/models", "remuda-demo"),
        ] {
            let (head, body) = ask("GET", path, "").await;
            assert!(
                head.starts_with("HTTP/1.1 200") && body.contains(has),
                "{path}: {body}"
            );
        }
        let (_, shown) = ask("POST", "/api/show", r#"{"model":"remuda-demo"}"#).await;
        assert!(
            shown.contains(".context_length") && shown.contains("completion"),
            "{shown}"
        );
    }

    #[tokio::test]
    async fn answers_come_whole_or_as_a_stream_in_both_dialects() {
        let (_, body) = ask("POST", "/api/chat", &chat(false)).await;
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&answer["done"], &answer["eval_count"]),
            (&true.into(), &4.into()),
            "{body}"
        );
        let (head, body) = ask("POST", "/api/chat", &chat(true)).await;
        assert!(
            head.contains("application/x-ndjson") && body.contains("\"done\":true"),
            "{body}"
        );
        let openai =
            r#"{"model":"remuda-demo","max_tokens":4,"messages":[{"role":"user","content":"Hi"}]}"#;
        let (_, body) = ask("POST", "/v1/chat/completions", openai).await;
        assert!(body.contains("\"chat.completion\""), "{body}");
        let generate =
            r#"{"model":"remuda-demo","stream":false,"prompt":"Hi","options":{"num_predict":2}}"#;
        let (_, body) = ask("POST", "/api/generate", generate).await;
        assert!(body.contains("\"response\""), "{body}");
    }

    #[tokio::test]
    async fn what_it_does_not_have_is_refused_with_a_reason() {
        for (path, body, status, why) in [
            ("/api/pull", "{}", 404, "put model files beside it"),
            (
                "/api/chat",
                r#"{"model":"other","messages":[{"role":"user","content":"x"}]}"#,
                404,
                "not found",
            ),
            ("/api/chat", "{", 400, "error"),
            (
                "/api/chat",
                r#"{"model":"remuda-demo","messages":[{"role":"user","content":"x"}],"options":{"num_ctx":"2k"}}"#,
                400,
                "num_ctx must be a whole number",
            ),
            (
                "/api/chat",
                r#"{"model":"remuda-demo","messages":[{"role":"user","content":"x"}],"options":{"mirostat":2}}"#,
                400,
                "mirostat",
            ),
            ("/api/show", "[]", 400, "cannot be read"),
        ] {
            let (head, answer) = ask("POST", path, body).await;
            assert!(
                head.starts_with(&format!("HTTP/1.1 {status}")),
                "{path}: {head}"
            );
            assert!(answer.contains(why), "{path}: {answer}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_closes_ends_the_answer() {
        let (engine, _) = Engine::start(&EngineConfig {
            max_sequences: 1,
            ..EngineConfig::default()
        });
        let server = EngineServer::new(engine.clone(), Arc::new(SystemClock::new()));
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        tokio::spawn(server.serve(theirs));
        let mut io = BufReader::new(ours);
        let body = chat(true).replace("\"num_predict\":4", "\"num_predict\":100000");
        let request = format!(
            "POST /api/chat HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        io.write_all(request.as_bytes()).await.unwrap();
        let mut line = String::new();
        while !line.contains("content\"") {
            line.clear();
            assert!(io.read_line(&mut line).await.unwrap() > 0);
        }
        drop(io);
        // There is one place, and it is free again.
        let request = decode_request(Operation::OllamaChat, chat(false).as_bytes()).unwrap();
        let mut next = engine_call::generate(&engine, "remuda-demo", &request)
            .await
            .unwrap();
        assert!(next.next().await.is_some());
    }
}
