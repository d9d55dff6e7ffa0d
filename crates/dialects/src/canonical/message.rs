//! Messages of a conversation, with their media and function calls, and the functions that are offered.

use crate::json::Json;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Whoever runs the application.
    System,
    /// The same, in OpenAI's newer word.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A function that answers the model.
    Tool,
}

impl Role {
    /// Returns the role's name in Ollama and OpenAI.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }

    /// Finds the role by its name, without case. OpenAI's old `function` is not one of them.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::System,
            Self::Developer,
            Self::User,
            Self::Assistant,
            Self::Tool,
        ]
        .into_iter()
        .find(|role| name.eq_ignore_ascii_case(role.as_str()))
    }
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// Text and media, in order.
    pub parts: Vec<Part>,
    /// What the model thought before it spoke.
    pub thinking: Option<String>,
    /// Functions the model called.
    pub tool_calls: Vec<ToolCall>,
    /// The call that a tool message answers.
    pub tool_call_id: Option<String>,
    /// The function that a tool message answers for.
    pub tool_name: Option<String>,
    /// The speaker's name, among several of one role.
    pub name: Option<String>,
}

impl Message {
    /// Makes an empty message.
    pub const fn new(role: Role) -> Self {
        Self {
            role,
            parts: Vec::new(),
            thinking: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
            tool_name: None,
            name: None,
        }
    }

    /// Makes a message of one text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self {
            parts: vec![Part::Text(text.into())],
            ..Self::new(role)
        }
    }

    /// Returns all text of the message, one part a line.
    pub fn joined_text(&self) -> String {
        let texts: Vec<&str> = self
            .parts
            .iter()
            .filter_map(|part| match part {
                Part::Text(text) => Some(text.as_str()),
                _ => None,
            })
            .collect();
        texts.join("\n")
    }
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text.
    Text(String),
    /// An image in the request itself.
    Image {
        /// As `image/png`; guessed from the data where the dialect does not say it.
        media_type: String,
        /// Base64, without a `data:` prefix.
        data: String,
        /// OpenAI's resolution hint.
        detail: Option<String>,
    },
    /// An image that the server is to fetch.
    ImageUrl {
        /// Where it lies.
        url: String,
        /// OpenAI's resolution hint.
        detail: Option<String>,
    },
    /// Sound in the request itself.
    Audio {
        /// Base64.
        data: String,
        /// As `wav`.
        format: String,
    },
}

/// A function call that the model made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// The call's id, to which the tool message refers.
    pub id: Option<String>,
    /// The function's name.
    pub name: String,
    /// The arguments as JSON text, normally an object.
    pub arguments: String,
}

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// The function's name.
    pub name: String,
    /// What it does, for the model.
    pub description: Option<String>,
    /// JSON schema of its arguments, word for word.
    pub parameters: Option<Json>,
    /// Whether arguments must follow the schema exactly.
    pub strict: Option<bool>,
}

/// Which function the model must call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// None.
    None,
    /// At least one, whichever.
    Required,
    /// This one.
    Named(String),
}
