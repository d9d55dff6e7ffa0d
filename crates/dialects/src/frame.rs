//! Cutting a byte stream into frames without copying what arrived in one piece.

use std::borrow::Cow;

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
pub(crate) fn payload(framing: Framing, frame: &[u8]) -> Option<Cow<'_, [u8]>> {
    if framing == Framing::Ndjson {
        let line = frame.trim_ascii();
        return (!line.is_empty()).then_some(Cow::Borrowed(line));
    }
    let mut data: Option<Cow<'_, [u8]>> = None;
    for line in frame.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(value) = line.strip_prefix(b"data:") else {
            continue;
        };
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

#[cfg(test)]
mod tests {
    use proptest::prelude::{
        Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
    };

    use super::*;

    fn split(framing: Framing, chunks: &[&[u8]]) -> (Vec<Bytes>, Option<Bytes>) {
        let mut splitter = FrameSplitter::new(framing);
        let mut frames = Vec::new();
        for chunk in chunks {
            splitter.push(Bytes::copy_from_slice(chunk));
            while let Some(frame) = splitter.next_frame().unwrap() {
                frames.push(frame);
            }
        }
        (frames, splitter.take_rest())
    }

    #[test]
    fn events_end_with_their_blank_line_whatever_the_line_ends() {
        let (frames, rest) = split(
            Framing::Sse,
            &[b"data: a\n\nda", b"ta: b\r", b"\n\r\n: ping\n\ndata: c"],
        );
        assert_eq!(
            frames,
            [&b"data: a\n\n"[..], b"data: b\r\n\r\n", b": ping\n\n"]
        );
        assert_eq!(rest.unwrap(), &b"data: c"[..]);
    }

    #[test]
    fn lines_end_with_their_line_end() {
        let (frames, rest) = split(Framing::Ndjson, &[b"{}\n{\"a\"", b":1}\n"]);
        assert_eq!(frames, [&b"{}\n"[..], b"{\"a\":1}\n"]);
        assert_eq!(rest, None);
    }

    #[test]
    fn a_frame_in_one_chunk_is_not_copied() {
        let chunk = Bytes::from_static(b"data: a\n\ndata: b\n\n");
        let mut splitter = FrameSplitter::new(Framing::Sse);
        splitter.push(chunk.clone());
        let first = splitter.next_frame().unwrap().unwrap();
        assert_eq!(first.as_ptr(), chunk.as_ptr());
    }

    #[test]
    fn endless_frames_are_refused() {
        let mut splitter = FrameSplitter::new(Framing::Ndjson).with_max_frame_bytes(8);
        splitter.push(Bytes::from_static(b"12345"));
        assert_eq!(splitter.next_frame(), Ok(None));
        splitter.push(Bytes::from_static(b"6789"));
        assert_eq!(splitter.next_frame(), Err(FrameTooLarge { max_bytes: 8 }));
    }

    #[test]
    fn payloads_join_the_data_lines_and_skip_comments() {
        let sse =
            |frame: &'static str| payload(Framing::Sse, frame.as_bytes()).map(Cow::into_owned);
        assert_eq!(
            sse("event: x\ndata: {\"a\":\r\ndata:1}\r\n\r\n").unwrap(),
            b"{\"a\":\n1}"
        );
        assert_eq!(sse(": ping\n\n"), None);
        assert_eq!(payload(Framing::Ndjson, b" \n"), None);
    }

    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(&b"data: {}"[..]),
            Just(&b"\n"[..]),
            Just(&b"\r\n"[..]),
            Just(&b"\n\n"[..]),
            Just(&b": ping"[..]),
            Just(&b"\r"[..]),
        ];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_does_not_matter(body in pieces(), cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8)) {
            for framing in [Framing::Sse, Framing::Ndjson] {
                let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
                at.extend([0, body.len()]);
                at.sort_unstable();
                let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect();
                let whole = split(framing, &[&body]);
                let cut = split(framing, &chunks);
                prop_assert_eq!(&whole, &cut);
                let joined: Vec<u8> = cut.0.iter().chain(&cut.1).flat_map(|frame| frame.iter().copied()).collect();
                prop_assert!(joined == body);
            }
        }
    }
}
