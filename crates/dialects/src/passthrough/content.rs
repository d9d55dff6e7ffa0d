//! Content and tools inside of a request that a route of Ollama's skips without a word.
//!
//! Most requests have none: they are searched for the names first, and read only where one is found.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::ApiError;
use crate::json::Text;

/// Blocks of Anthropic's that Ollama leaves out of the prompt.
const LOST_BLOCKS: [&str; 3] = ["document", "search_result", "container_upload"];
/// Tools of OpenAI's that OpenAI itself runs.
const HOSTED_TOOLS: [&str; 5] = [
    "file_search",
    "code_interpreter",
    "computer_use_preview",
    "mcp",
    "image_generation",
];

static LOST_BLOCK: LazyLock<[Finder<'static>; 3]> =
    LazyLock::new(|| LOST_BLOCKS.map(|name| Finder::new(&format!("\"{name}\"")).into_owned()));
static HOSTED_TOOL: LazyLock<[Finder<'static>; 5]> =
    LazyLock::new(|| HOSTED_TOOLS.map(|name| Finder::new(&format!("\"{name}\"")).into_owned()));
static FILE_ID: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"file_id\""));
/// The types of Anthropic's own tools end with a date.
static DATED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("_20"));

/// A message, an item, a block of content, or a tool: what they have in common.
#[derive(Deserialize)]
struct Piece<'a> {
    #[serde(borrow)]
    r#type: Option<Text<'a>>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    #[serde(borrow)]
    image_url: Option<&'a RawValue>,
}

/// Reads a list of pieces. Whatever is something else has none: the node will say what is wrong with it.
fn pieces(json: &str) -> Vec<Piece<'_>> {
    serde_json::from_str(json).unwrap_or_default()
}

fn content<'a>(piece: &Piece<'a>) -> Vec<Piece<'a>> {
    let content = piece.content.or(piece.output);
    content.map_or_else(Vec::new, |raw| pieces(raw.get()))
}

fn kind<'a>(piece: &'a Piece<'_>) -> &'a str {
    piece.r#type.as_ref().map_or("", |Text(kind)| kind)
}

/// Checks the `messages` of an Anthropic request, and what tools have answered in them.
pub(super) fn check_blocks(messages: &str) -> Result<(), ApiError> {
    if !LOST_BLOCK
        .iter()
        .any(|name| name.find(messages.as_bytes()).is_some())
    {
        return Ok(());
    }
    let check = |block: &Piece<'_>| match kind(block) {
        lost if LOST_BLOCKS.contains(&lost) => Err(ApiError::unsupported(
            "messages",
            &format!("Ollama leaves content of type '{lost}' out; send its text"),
        )),
        _ => Ok(()),
    };
    for message in pieces(messages) {
        for block in content(&message) {
            check(&block)?;
            content(&block).iter().try_for_each(check)?;
        }
    }
    Ok(())
}

/// Checks the `tools` of an Anthropic request. Ollama knows the search of the web and what is described by a schema.
pub(super) fn check_tools(tools: &str) -> Result<(), ApiError> {
    if DATED.find(tools.as_bytes()).is_none() {
        return Ok(());
    }
    let known = |kind: &str| matches!(kind, "" | "custom") || kind.starts_with("web_search");
    refuse_tool(tools, |kind| !known(kind))
}

/// Checks the `tools` of a Responses request.
pub(super) fn check_response_tools(tools: &str) -> Result<(), ApiError> {
    if !HOSTED_TOOL
        .iter()
        .any(|name| name.find(tools.as_bytes()).is_some())
    {
        return Ok(());
    }
    refuse_tool(tools, |kind| HOSTED_TOOLS.contains(&kind))
}

fn refuse_tool(tools: &str, refused: impl Fn(&str) -> bool) -> Result<(), ApiError> {
    match pieces(tools).iter().map(kind).find(|kind| refused(kind)) {
        None => Ok(()),
        Some(kind) => Err(ApiError::unsupported(
            "tools",
            &format!("Ollama has no tools of type '{kind}'; describe a function instead"),
        )),
    }
}

/// Checks the `input` of a Responses request: Ollama leaves out images that are named by a file of OpenAI's.
pub(super) fn check_response_input(input: &str) -> Result<(), ApiError> {
    if FILE_ID.find(input.as_bytes()).is_none() {
        return Ok(());
    }
    let lost = |part: &Piece<'_>| kind(part) == "input_image" && part.image_url.is_none();
    if pieces(input)
        .iter()
        .any(|item| content(item).iter().any(lost))
    {
        return Err(ApiError::unsupported(
            "input",
            "there are no files here; send the image in 'image_url', as a data URI",
        ));
    }
    Ok(())
}
