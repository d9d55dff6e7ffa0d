//! What a scripted upstream is told to do: pace, framing, faults, kinds of reply.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::gate::Gate;

/// How an upstream behaves until told otherwise. A marker in the prompt or the header `x-testbed` overrides it for one
/// request; see [`super::directives`].
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// Time between the request and the response head.
    pub first_byte_delay: Duration,
    /// Time between the response head and the first token, as in a long prompt evaluation.
    pub first_token_delay: Duration,
    /// How fast prompts are read, one after the other; at once when absent.
    pub prefill_tokens_per_s: Option<f64>,
    /// Time before every token after the first.
    pub token_delay: Duration,
    /// Time a model takes to load when it is not resident or resident with another context length.
    pub load_delay: Duration,
    /// Most models that are loaded at once: a further one drives another out. No limit when absent.
    pub room: Option<usize>,
    /// What embeddings cost.
    pub embedding: EmbeddingPace,
    /// Tokens of every answer; the prompt decides when absent. Servers that continue each other need the same number.
    pub tokens: Option<usize>,
    /// Thinking tokens before the answer, sent when the request allows thinking.
    pub thinking: usize,
    /// Calls made in place of a text, when the request offers tools.
    pub tool_calls: Vec<ToolCall>,
    /// Streams wait at the gate once so many tokens are sent, answers in one piece and embeddings before they are made.
    pub gate: Option<(usize, Gate)>,
    /// Requests for text wait at the gate before anything is answered, be it an error.
    pub head_gate: Option<Gate>,
    /// How frames meet the wire.
    pub chunking: Chunking,
    /// How many requests wait, and what part of the cache is in use, as a vLLM says in its metrics.
    pub pressure: (u32, f32),
    /// Models that are pulled wait at the gate once 99 % are there; those with files before the last part of each.
    pub pull_gate: Option<Gate>,
    /// So many of the next pulls end once 99 % are there, without a word.
    pub broken_pulls: u32,
    /// Where models with files come from whose names say nothing else.
    pub registry: Option<SocketAddr>,
    /// Bytes that fit on the disk yet, for pulls of models with files. No limit when absent.
    pub disk_room: Option<u64>,
    /// What is answered to a POST on a path that the server does not have; its own 404 when absent.
    pub unknown_path: Option<CannedAnswer>,
    /// What goes wrong with every inference request.
    pub fault: Option<Fault>,
    /// What goes wrong with every other request (model lists, versions, health).
    pub probe_fault: Option<Fault>,
}

/// An answer that is the same whatever is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CannedAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The content type.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
}

/// What embedding calls cost a server that answers one of them at a time, as a runner with one context does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmbeddingPace {
    /// Time for every call, however small.
    pub call: Duration,
    /// Time for every input.
    pub input: Duration,
}

/// A tool call a scripted model makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// The function's name.
    pub name: String,
    /// The arguments as JSON text.
    pub arguments: String,
}

/// How frames are cut into pieces. Each piece is flushed by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chunking {
    /// One frame, one piece.
    #[default]
    Frames,
    /// Pieces of at most so many bytes, anywhere inside frames and characters.
    Bytes(usize),
    /// So many frames in one piece.
    Together(usize),
}

/// What goes wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The response head never comes.
    Hang,
    /// The connection is reset in place of a response.
    ResetBeforeFirstByte,
    /// The connection is closed in place of a response.
    CloseBeforeFirstByte,
    /// An error status.
    Status {
        /// The HTTP status.
        status: u16,
        /// The body; the server's own error envelope when absent.
        body: Option<String>,
        /// The `Retry-After` header in seconds.
        retry_after_s: Option<u64>,
    },
    /// The answer starts well.
    AfterTokens {
        /// Tokens sent before it goes wrong. With 0 the response head is sent, and what stands before the first token.
        tokens: usize,
        /// What happens then.
        ending: Ending,
    },
}

impl Fault {
    /// Returns an error status in the server's own envelope.
    pub fn status(status: u16) -> Self {
        Self::Status {
            status,
            body: None,
            retry_after_s: None,
        }
    }

    /// Returns a fault that strikes after `tokens` tokens.
    pub fn after(tokens: usize, ending: Ending) -> Self {
        Self::AfterTokens { tokens, ending }
    }
}

/// How an answer that has begun goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The connection is reset (RST).
    Reset,
    /// The connection is closed (FIN) inside the body.
    Close,
    /// The body ends as HTTP wants it, but without the dialect's final frame.
    End,
    /// Nothing comes any more; the connection stays.
    Stall,
    /// One frame is not JSON; the stream then goes on as if nothing had been.
    Malformed,
    /// An error in the stream's own dialect, then the body ends.
    Error(String),
}
