//! Reading a node's response as events, whichever operation it answers.

use crate::envelope::decode_error;
use crate::error::ApiError;
use crate::event::Event;
use crate::frame::payload;
use crate::operation::Operation;
use crate::template::TextTemplate;
use crate::{anthropic, ollama, openai};

/// Reads the frames of a streamed response.
#[derive(Debug)]
pub struct ResponseDecoder {
    operation: Operation,
    progress: Progress,
    template: Option<TextTemplate>,
    /// How often a template may still be learnt: streams whose frames keep changing are parsed.
    lessons_left: u8,
}

/// What a decoder remembers between frames.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The response said that it is complete.
    pub(crate) complete: bool,
    /// The last frame was an extra one with usage only.
    pub(crate) usage_only: bool,
    /// The response's id.
    pub(crate) id: Option<String>,
    /// Unix seconds of its creation.
    pub(crate) created: Option<i64>,
    /// The model as the node names it.
    pub(crate) model: Option<String>,
    /// Function calls seen so far. Where calls share the numbering of other blocks: the block of each call.
    pub(crate) tool_blocks: Vec<u32>,
    /// Usage that came in pieces, in the dialects that send it so.
    pub(crate) usage: Option<Box<crate::event::Usage>>,
    /// Where a half-sent answer stands, for dialects whose frames are numbered.
    pub(crate) position: Position,
}

/// Where a half-sent answer stands among numbered blocks and events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// Blocks (Anthropic) or output items (responses) begun so far.
    pub(crate) blocks: u32,
    /// The text block that is still open.
    pub(crate) open_text: Option<u32>,
    /// The id of the output item that is still open.
    pub(crate) item_id: Option<String>,
    /// The next sequence number.
    pub(crate) sequence: u64,
}

impl ResponseDecoder {
    /// Makes a decoder for a response of this operation.
    pub fn new(operation: Operation) -> Self {
        Self {
            operation,
            progress: Progress::default(),
            template: None,
            lessons_left: 8,
        }
    }

    /// Reads one frame as a [`crate::FrameSplitter`] returns it, and appends what it says.
    ///
    /// A frame that is not of the operation's format becomes an [`Event::Error`].
    pub fn push(&mut self, frame: &[u8], events: &mut Vec<Event>) {
        self.progress.usage_only = false;
        if let Some(text) = self
            .template
            .as_ref()
            .and_then(|template| template.text(frame))
        {
            if !text.is_empty() {
                events.push(Event::Text(text.into_owned()));
            }
            return;
        }
        let known = events.len();
        self.parse(frame, events);
        if let [Event::Text(text)] = &events[known..]
            && self.lessons_left > 0
        {
            self.lessons_left -= 1;
            // A frame that teaches nothing does not undo what another one taught.
            if let Some(template) = TextTemplate::learn(frame, text) {
                self.template = Some(template);
            }
        }
    }

    fn parse(&mut self, frame: &[u8], events: &mut Vec<Event>) {
        let Some(json) = payload(self.operation.framing(), frame) else {
            return;
        };
        let progress = &mut self.progress;
        let read = match self.operation {
            Operation::OllamaChat | Operation::OllamaGenerate => {
                ollama::read_frame(&json, progress, events)
            }
            Operation::OpenAiChat => openai::read_chat_frame(&json, progress, events),
            Operation::OpenAiCompletions => openai::read_completion_frame(&json, progress, events),
            Operation::OpenAiResponses => openai::responses::read_frame(&json, progress, events),
            Operation::AnthropicMessages => anthropic::read_frame(&json, progress, events),
            Operation::OllamaEmbed | Operation::OllamaEmbeddings | Operation::OpenAiEmbeddings => {
                Err(ApiError::upstream(
                    "the node streams embeddings, which no dialect does",
                ))
            }
        };
        if let Err(error) = read {
            events.push(Event::Error(error));
        }
    }

    /// Tells whether the response said that it is complete.
    pub const fn is_complete(&self) -> bool {
        self.progress.complete
    }

    /// Tells the decoder that the body has ended.
    ///
    /// # Errors
    /// When the response had not said that it is complete.
    pub fn finish(&self) -> Result<(), ApiError> {
        if self.progress.complete {
            Ok(())
        } else {
            Err(ApiError::truncated())
        }
    }

    pub(crate) const fn progress(&self) -> &Progress {
        &self.progress
    }
}

/// Reads a whole, not streamed response.
///
/// # Errors
/// The node's own error for a status of 400 and above; an upstream error when the body is not of the operation's format.
pub fn decode_whole(
    operation: Operation,
    status: u16,
    body: &[u8],
) -> Result<Vec<Event>, ApiError> {
    if status >= 400 {
        return Err(decode_error(operation.dialect(), status, body));
    }
    let mut progress = Progress::default();
    read_whole(operation, body, &mut progress)
}

/// Reads a whole response, with what it says about itself.
pub(crate) fn read_whole(
    operation: Operation,
    body: &[u8],
    progress: &mut Progress,
) -> Result<Vec<Event>, ApiError> {
    let mut events = Vec::new();
    match operation {
        Operation::OllamaChat | Operation::OllamaGenerate => {
            ollama::read_frame(body, progress, &mut events)
        }
        Operation::OllamaEmbed | Operation::OllamaEmbeddings => {
            ollama::read_embeddings(body, &mut events)
        }
        Operation::OpenAiChat => openai::read_chat_frame(body, progress, &mut events),
        Operation::OpenAiCompletions => openai::read_completion_frame(body, progress, &mut events),
        Operation::OpenAiEmbeddings => openai::read_embeddings(body, &mut events),
        Operation::OpenAiResponses => openai::responses::read_whole(body, progress, &mut events),
        Operation::AnthropicMessages => anthropic::read_whole(body, progress, &mut events),
    }?;
    match events
        .iter()
        .position(|event| matches!(event, Event::Error(_)))
    {
        Some(at) => match events.swap_remove(at) {
            Event::Error(error) => Err(error),
            _ => Ok(events),
        },
        None => Ok(events),
    }
}

/// Says that a node's frame or body is not of the operation's format.
pub(crate) fn malformed(error: &serde_json::Error) -> ApiError {
    ApiError::upstream(format!("the node's response cannot be read: {error}"))
}
