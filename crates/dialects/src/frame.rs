//! Cutting a byte stream into frames without copying what arrived in one piece.

use bytes::{Bytes, BytesMut};
use memchr::memchr_iter;

use crate::operation::Framing;

/// A frame is larger than the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of the response is larger than {max_bytes} bytes")]
pub struct FrameTooLarge {
    /// The bound.
    pub max_bytes: usize,
}

/// Cuts a response body into frames: lines for NDJSON, events up to and including their blank line for SSE.
///
/// Frames keep their line ends, so that frames joined are the body again.
#[derive(Debug)]
pub struct FrameSplitter {
    framing: Framing,
    max_frame_bytes: usize,
    /// The beginning of a frame that earlier chunks brought.
    partial: BytesMut,
    /// The rest of the last chunk.
    chunk: Bytes,
    /// Whether the line at the end of `partial` has had nothing (but a carriage return) so far.
    line_is_blank: bool,
}

impl FrameSplitter {
    /// The largest frame unless told otherwise: tool calls and images come in one event.
    pub const DEFAULT_MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;

    /// Makes a splitter.
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            max_frame_bytes: Self::DEFAULT_MAX_FRAME_BYTES,
            partial: BytesMut::new(),
            chunk: Bytes::new(),
            line_is_blank: true,
        }
    }

    /// Returns the splitter with another bound.
    #[must_use]
    pub const fn with_max_frame_bytes(mut self, max_frame_bytes: usize) -> Self {
        self.max_frame_bytes = max_frame_bytes;
        self
    }

    /// Takes the next chunk of the body. Call [`FrameSplitter::next_frame`] until it returns `None` before the next push.
    pub fn push(&mut self, chunk: Bytes) {
        if self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            let mut joined = BytesMut::with_capacity(self.chunk.len() + chunk.len());
            joined.extend_from_slice(&self.chunk);
            joined.extend_from_slice(&chunk);
            self.chunk = joined.freeze();
        }
    }

    /// Returns the next complete frame.
    ///
    /// # Errors
    /// When a frame is larger than the bound; the stream cannot be used any further.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameTooLarge> {
        let Some(end) = self.find_end() else {
            self.partial.extend_from_slice(&self.chunk);
            self.chunk = Bytes::new();
            return self.bounded(self.partial.len()).map(|()| None);
        };
        self.line_is_blank = true;
        let rest = self.chunk.split_to(end);
        self.bounded(self.partial.len() + rest.len())?;
        if self.partial.is_empty() {
            return Ok(Some(rest));
        }
        self.partial.extend_from_slice(&rest);
        Ok(Some(self.partial.split().freeze()))
    }

    /// Returns what is left when the body has ended: a frame without its line end, or nothing.
    pub fn take_rest(&mut self) -> Option<Bytes> {
        self.partial.extend_from_slice(&self.chunk);
        self.chunk = Bytes::new();
        self.line_is_blank = true;
        (!self.partial.is_empty()).then(|| self.partial.split().freeze())
    }

    fn bounded(&self, len: usize) -> Result<(), FrameTooLarge> {
        if len > self.max_frame_bytes {
            return Err(FrameTooLarge {
                max_bytes: self.max_frame_bytes,
            });
        }
        Ok(())
    }

    /// Finds where in `chunk` the present frame ends, and remembers the state of its last line when it does not.
    fn find_end(&mut self) -> Option<usize> {
        let chunk = &self.chunk[..];
        if self.framing == Framing::Ndjson {
            return memchr::memchr(b'\n', chunk).map(|at| at + 1);
        }
        let mut line_start = 0;
        for at in memchr_iter(b'\n', chunk) {
            let blank = is_blank(&chunk[line_start..at]) && self.line_is_blank;
            if blank {
                return Some(at + 1);
            }
            self.line_is_blank = true;
            line_start = at + 1;
        }
        self.line_is_blank &= is_blank(&chunk[line_start..]);
        None
    }
}

/// Tells whether a line has nothing but carriage returns.
fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| *byte == b'\r')
}

/// Returns the payload of a frame: the line without its end for NDJSON, the joined `data` fields for SSE. `None` when there
/// is none (comments, pings, blank lines).
pub(crate) fn payload(framing: Framing, frame: &[u8]) -> Option<std::borrow::Cow<'_, [u8]>> {
    use std::borrow::Cow;

    if framing == Framing::Ndjson {
        let line = frame.trim_ascii();
        return (!line.is_empty()).then_some(Cow::Borrowed(line));
    }
    let mut data: Option<Cow<'_, [u8]>> = None;
    for line in frame.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(value) = line.strip_prefix(b"data:") else { continue };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &mut data {
            None => data = Some(Cow::Borrowed(value)),
            Some(joined) => {
                let joined = joined.to_mut();
                joined.push(b'\n');
                joined.extend_from_slice(value);
            }
        }
    }
    data
}
