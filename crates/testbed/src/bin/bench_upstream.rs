//! The model server of the gateway benchmark: as little work per answer as a single thread can do.
//!
//! It knows one model, answers every chat request with the same kilobyte or the same stream, writes every frame of a
//! stream by itself, and never looks at what it is asked beyond `stream`, `include_usage` and the words `[slow]`, `[pause]` and
//! `[open N]`: a stream that stops after its first text and says at `/left/N` when its client left.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use memchr::memmem;
use primitives::{Clock as _, SystemClock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Bytes of the answer in one piece.
const ANSWER_BYTES: usize = 1024;
/// Frames of a stream, `[DONE]` not counted.
const FRAMES: usize = 64;
/// Time between the frames of a slow stream, which has no end.
const SLOW: Duration = Duration::from_millis(500);
/// Time after the first text of a stream that pauses: writing the other frames at once would keep the load generator, which shares
/// the core, from seeing that text.
const PAUSE: Duration = Duration::from_millis(1);

/// How fast the frames of a stream come.
#[derive(Clone, Copy)]
enum Pace {
    /// Each as soon as the one before is written.
    AtOnce,
    /// The same, but for [`PAUSE`] after the first text.
    Pausing,
    /// [`SLOW`] apart, without an end.
    Slow,
}

/// Everything it can say, ready to be written.
struct Answers {
    models: Vec<u8>,
    not_found: Vec<u8>,
    whole: Vec<u8>,
    stream_head: Vec<u8>,
    frames: Vec<Vec<u8>>,
    usage: Vec<u8>,
    end: Vec<u8>,
    /// When the clients of open streams left, in microseconds since 1970.
    left: Mutex<HashMap<u64, i64>>,
}

impl Answers {
    fn left(&self) -> MutexGuard<'_, HashMap<u64, i64>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when the client of an open stream left; 0 while it is there.
    fn left_at(&self, id: u64) -> i64 {
        self.left().get(&id).copied().unwrap_or_default()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "listening on {}", listener.local_addr()?)?;
    // One for the life of the process: connections share it without counting.
    let answers: &'static Answers = Box::leak(Box::new(answers()));
    loop {
        let (stream, _) = listener.accept().await?;
        // A client that goes away ends its own connection only.
        tokio::spawn(async move { drop(serve(stream, answers).await) });
    }
}

async fn serve(mut stream: TcpStream, answers: &Answers) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = BytesMut::with_capacity(16 * 1024);
    loop {
        let Some((body_start, length)) = read_request(&mut stream, &mut buffer).await? else {
            return Ok(());
        };
        let (head, body) = (&buffer[..body_start], &buffer[body_start..length]);
        if head.starts_with(b"POST /v1/chat/completions") {
            let streams = memmem::find(body, b"\"stream\":true").is_some();
            if let Some(stream_id) = number_after(body, b"[open ") {
                keep_open(&mut stream, answers, stream_id).await?;
                return Ok(());
            }
            let usage = memmem::find(body, b"\"include_usage\":true").is_some();
            let pace = if memmem::find(body, b"[slow]").is_some() {
                Pace::Slow
            } else if memmem::find(body, b"[pause]").is_some() {
                Pace::Pausing
            } else {
                Pace::AtOnce
            };
            buffer.advance(length);
            if streams {
                write_stream(&mut stream, answers, usage, pace).await?;
            } else {
                stream.write_all(&answers.whole).await?;
            }
            continue;
        }
        if let Some(stream_id) = number_after(head, b"GET /left/") {
            let told = answers.left_at(stream_id).to_string();
            stream.write_all(&response("200 OK", &told)).await?;
        } else if head.starts_with(b"GET /v1/models ") {
            stream.write_all(&answers.models).await?;
        } else {
            stream.write_all(&answers.not_found).await?;
        }
        buffer.advance(length);
    }
}

/// Reads until a whole request is in the buffer; returns where its body starts and where it ends.
async fn read_request(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
) -> anyhow::Result<Option<(usize, usize)>> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        if let httparse::Status::Complete(body_start) = request.parse(buffer)? {
            let length = request
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case("content-length"));
            let chunked = request
                .headers
                .iter()
                .any(|header| header.name.eq_ignore_ascii_case("transfer-encoding"));
            if chunked {
                if let Some(end) = memmem::find(&buffer[body_start..], b"\r\n0\r\n\r\n") {
                    return Ok(Some((body_start, body_start + end + 7)));
                }
            } else {
                let length = match length {
                    Some(header) => std::str::from_utf8(header.value)?.trim().parse::<usize>()?,
                    None => 0,
                };
                if buffer.len() >= body_start + length {
                    return Ok(Some((body_start, body_start + length)));
                }
            }
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// Returns the number that follows these words.
fn number_after(text: &[u8], words: &[u8]) -> Option<u64> {
    let rest = text.get(memmem::find(text, words)? + words.len()..)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

/// Begins a stream, and notes when its client leaves.
async fn keep_open(stream: &mut TcpStream, answers: &Answers, id: u64) -> anyhow::Result<()> {
    stream.write_all(&answers.stream_head).await?;
    for frame in &answers.frames[..2] {
        stream.write_all(frame).await?;
    }
    while stream.read(&mut [0; 64]).await.is_ok_and(|count| count > 0) {}
    let now = SystemClock::new().now();
    answers.left().insert(id, now.as_micros());
    Ok(())
}

async fn write_stream(
    stream: &mut TcpStream,
    answers: &Answers,
    usage: bool,
    pace: Pace,
) -> std::io::Result<()> {
    stream.write_all(&answers.stream_head).await?;
    if matches!(pace, Pace::Slow) {
        for frame in answers.frames[..FRAMES - 1].iter().cycle() {
            stream.write_all(frame).await?;
            tokio::time::sleep(SLOW).await;
        }
    }
    for (at, frame) in answers.frames.iter().enumerate() {
        stream.write_all(frame).await?;
        // The first frame says only who speaks.
        if at == 1 && matches!(pace, Pace::Pausing) {
            tokio::time::sleep(PAUSE).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
    if usage {
        stream.write_all(&answers.usage).await?;
    }
    stream.write_all(&answers.end).await
}

fn answers() -> Answers {
    let frames = (0..FRAMES).map(|at| chunk(&frame(at))).collect();
    let usage = event(
        r#""choices":[],"usage":{"prompt_tokens":12,"completion_tokens":62,"total_tokens":74}"#,
    );
    Answers {
        models: response(
            "200 OK",
            r#"{"object":"list","data":[{"id":"bench-model","object":"model","created":1767225600,"owned_by":"bench"}]}"#,
        ),
        not_found: response("404 Not Found", r#"{"detail":"Not Found"}"#),
        whole: response("200 OK", &whole()),
        stream_head: b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
        frames,
        usage: chunk(&usage),
        end: [chunk("data: [DONE]\n\n"), b"0\r\n\r\n".to_vec()].concat(),
        left: Mutex::default(),
    }
}

fn response(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

fn chunk(data: &str) -> Vec<u8> {
    format!("{:x}\r\n{data}\r\n", data.len()).into_bytes()
}

/// Returns an answer of exactly [`ANSWER_BYTES`].
fn whole() -> String {
    let text = |content: &str| {
        format!(
            r#"{{"id":"chatcmpl-bench","object":"chat.completion","created":1767225600,"model":"bench-model","choices":[{{"index":0,"message":{{"role":"assistant","content":"{content}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":12,"completion_tokens":140,"total_tokens":152}}}}"#
        )
    };
    let missing = ANSWER_BYTES - text("").len();
    let content: String = "llamas hum softly ".chars().cycle().take(missing).collect();
    text(&content)
}

fn frame(at: usize) -> String {
    let (delta, finish) = match at {
        0 => (r#"{"role":"assistant","content":""}"#.to_owned(), "null"),
        last if last == FRAMES - 1 => ("{}".to_owned(), "\"stop\""),
        _ => (format!(r#"{{"content":" word{at:02}"}}"#), "null"),
    };
    event(&format!(
        r#""choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]"#
    ))
}

fn event(rest: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1767225600,\"model\":\"bench-model\",{rest}}}\n\n"
    )
}
