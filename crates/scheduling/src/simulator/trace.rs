//! Traces: recorded requests, read line by line in bounded memory, in the three formats there are.

use std::io::{BufRead, Read};

use primitives::Timestamp;
use serde::Deserialize;

use crate::hashing::absorb;
use crate::queue::Class;

/// One recorded request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceRequest {
    /// When it arrived, in microseconds from the first one.
    pub at_us: u64,
    /// The model asked for, where the trace says so.
    pub model: Option<String>,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the answer.
    pub output_tokens: u32,
    /// Who asked, where the trace says so.
    pub tenant: Option<u64>,
    /// Its class, where the trace says so.
    pub class: Class,
    /// Names of the prompt's successive blocks: equal names are the same reusable prefix.
    pub blocks: Vec<u64>,
}

/// Tokens in one block of a prompt: that of the Mooncake traces.
pub const BLOCK_TOKENS: u32 = 512;

/// The formats of traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceFormat {
    /// Azure LLM inference traces: `TIMESTAMP,ContextTokens,GeneratedTokens`.
    Azure,
    /// Mooncake: JSON lines with `timestamp` (milliseconds), `input_length`, `output_length` and `hash_ids`.
    Mooncake,
    /// Our own export of request records: JSON lines with `received_at`, `model`, `prompt_tokens` and `completion_tokens`.
    Export,
}

/// Why a trace cannot be read further.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct TraceError {
    /// The line, counted from 1.
    pub line: u64,
    /// What is wrong with it.
    pub kind: TraceErrorKind,
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum TraceErrorKind {
    /// The first line belongs to no known format.
    #[error(
        "not a trace: expected the Azure header `TIMESTAMP,ContextTokens,GeneratedTokens`, Mooncake JSON lines or an export of requests"
    )]
    UnknownFormat,
    /// The bytes could not be read.
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// More than a mebibyte without an end of line.
    #[error("longer than 1 MiB")]
    TooLong,
    /// Not text.
    #[error("not UTF-8 text")]
    NotText,
    /// Not the JSON that the format asks for.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// Not the columns that the format asks for.
    #[error("expected a time and two numbers, as in `2023-11-16 18:15:46.6805900,374,44`")]
    Columns,
    /// A time before the first request, or none at all.
    #[error("the time {0} is none, or before the trace begins")]
    Time(String),
    /// A time far before the one above it.
    #[error("the time goes back by {0:.0} s: sort the trace by time")]
    BackInTime(f64),
    /// A time far after the one above it.
    #[error("the time goes on by {0:.0} days: not one trace")]
    Gap(f64),
    /// A prompt or an answer that no model has.
    #[error("{0} tokens are more than any model takes")]
    TooManyTokens(u64),
}

/// The longest line.
const MAX_LINE: u64 = 1 << 20;
/// The most tokens of a prompt or an answer.
const MAX_TOKENS: u64 = 16_000_000;
/// How far a time may go back: records are written when requests end, not quite in the order of arrival.
const BACK_US: i64 = 60_000_000;
/// The longest pause within a trace.
const GAP_US: i64 = 31 * 86_400 * 1_000_000;

/// Reads a trace request by request. Ends at the first error.
#[derive(Debug)]
pub struct TraceReader<R> {
    input: R,
    format: Option<TraceFormat>,
    line: u64,
    buffer: Vec<u8>,
    first_us: Option<i64>,
    last_us: i64,
    failed: bool,
}

impl<R: BufRead> TraceReader<R> {
    /// Reads from `input` in the format that its first line shows.
    pub const fn new(input: R) -> Self {
        Self {
            input,
            format: None,
            line: 0,
            buffer: Vec::new(),
            first_us: None,
            last_us: 0,
            failed: false,
        }
    }

    fn read(&mut self) -> Result<Option<TraceRequest>, TraceErrorKind> {
        loop {
            self.buffer.clear();
            self.line += 1;
            let mut limited = self.input.by_ref().take(MAX_LINE + 1);
            if limited.read_until(b'\n', &mut self.buffer)? == 0 {
                return Ok(None);
            }
            if self.buffer.len() as u64 > MAX_LINE {
                return Err(TraceErrorKind::TooLong);
            }
            let line = str::from_utf8(&self.buffer)
                .map_err(|_| TraceErrorKind::NotText)?
                .trim();
            if line.is_empty() {
                continue;
            }
            let Some(format) = self.format else {
                let format = detect(line)?;
                self.format = Some(format);
                if format == TraceFormat::Azure {
                    continue;
                }
                let (at, request) = parse(format, line)?;
                return self.place(at, request).map(Some);
            };
            let (at, request) = parse(format, line)?;
            return self.place(at, request).map(Some);
        }
    }

    /// Turns the line's time into one from the first request, in order.
    fn place(
        &mut self,
        at_us: i64,
        mut request: TraceRequest,
    ) -> Result<TraceRequest, TraceErrorKind> {
        let first = *self.first_us.get_or_insert(at_us);
        if first == at_us && self.last_us == 0 {
            self.last_us = at_us;
        }
        let step = at_us.saturating_sub(self.last_us);
        if step < -BACK_US {
            return Err(TraceErrorKind::BackInTime(-step as f64 / 1e6));
        }
        if step > GAP_US {
            return Err(TraceErrorKind::Gap(step as f64 / 86_400e6));
        }
        self.last_us = self.last_us.max(at_us);
        request.at_us = u64::try_from(self.last_us.saturating_sub(first)).unwrap_or(0);
        Ok(request)
    }
}

impl<R: BufRead> Iterator for TraceReader<R> {
    type Item = Result<TraceRequest, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        self.read()
            .map_err(|kind| {
                self.failed = true;
                TraceError {
                    line: self.line,
                    kind,
                }
            })
            .transpose()
    }
}

fn detect(line: &str) -> Result<TraceFormat, TraceErrorKind> {
    if line
        .trim_start_matches('\u{feff}')
        .eq_ignore_ascii_case("TIMESTAMP,ContextTokens,GeneratedTokens")
    {
        Ok(TraceFormat::Azure)
    } else if !line.starts_with('{') {
        Err(TraceErrorKind::UnknownFormat)
    } else if line.contains("\"received_at\"") {
        Ok(TraceFormat::Export)
    } else if line.contains("\"input_length\"") {
        Ok(TraceFormat::Mooncake)
    } else {
        Err(TraceErrorKind::UnknownFormat)
    }
}

fn parse(format: TraceFormat, line: &str) -> Result<(i64, TraceRequest), TraceErrorKind> {
    match format {
        TraceFormat::Azure => parse_azure(line),
        TraceFormat::Mooncake => parse_mooncake(line),
        TraceFormat::Export => parse_export(line),
    }
}

fn tokens(count: u64) -> Result<u32, TraceErrorKind> {
    if count > MAX_TOKENS {
        return Err(TraceErrorKind::TooManyTokens(count));
    }
    // What has no tokens was still a request.
    Ok(count.max(1) as u32)
}

fn parse_azure(line: &str) -> Result<(i64, TraceRequest), TraceErrorKind> {
    let mut columns = line.split(',');
    let (Some(time), Some(prompt), Some(output), None) = (
        columns.next(),
        columns.next(),
        columns.next(),
        columns.next(),
    ) else {
        return Err(TraceErrorKind::Columns);
    };
    let number = |text: &str| {
        text.trim()
            .parse::<u64>()
            .map_err(|_| TraceErrorKind::Columns)
    };
    let at = Timestamp::parse_rfc3339(&format!("{}Z", time.trim()))
        .ok_or_else(|| TraceErrorKind::Time(time.to_owned()))?;
    let request = TraceRequest {
        prompt_tokens: tokens(number(prompt)?)?,
        output_tokens: tokens(number(output)?)?,
        ..TraceRequest::default()
    };
    Ok((at.as_micros(), request))
}

#[derive(Deserialize)]
struct MooncakeLine {
    timestamp: f64,
    input_length: u64,
    output_length: u64,
    #[serde(default)]
    hash_ids: Vec<u64>,
}

fn parse_mooncake(line: &str) -> Result<(i64, TraceRequest), TraceErrorKind> {
    let line: MooncakeLine = serde_json::from_str(line)?;
    if !(0.0..1e15).contains(&line.timestamp) {
        return Err(TraceErrorKind::Time(format!("{} ms", line.timestamp)));
    }
    let request = TraceRequest {
        prompt_tokens: tokens(line.input_length)?,
        output_tokens: tokens(line.output_length)?,
        blocks: line.hash_ids,
        ..TraceRequest::default()
    };
    Ok(((line.timestamp * 1_000.0) as i64, request))
}

#[derive(Deserialize)]
struct ExportLine {
    received_at: String,
    model: Option<String>,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    caller_id: Option<String>,
    caller: Option<String>,
    #[serde(default)]
    class: Class,
}

fn parse_export(line: &str) -> Result<(i64, TraceRequest), TraceErrorKind> {
    let line: ExportLine = serde_json::from_str(line)?;
    let at = Timestamp::parse_rfc3339(&line.received_at)
        .ok_or(TraceErrorKind::Time(line.received_at))?;
    let caller = line.caller_id.or(line.caller);
    let request = TraceRequest {
        model: line.model,
        prompt_tokens: tokens(line.prompt_tokens.unwrap_or(0))?,
        output_tokens: tokens(line.completion_tokens.unwrap_or(0))?,
        tenant: caller.map(|name| absorb(0, name.as_bytes())),
        class: line.class,
        ..TraceRequest::default()
    };
    Ok((at.as_micros(), request))
}
