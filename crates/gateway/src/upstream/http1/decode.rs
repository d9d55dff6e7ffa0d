//! Takes bodies out of their framing. Pure: works on the bytes that have arrived.

use bytes::{Buf as _, Bytes, BytesMut};

use super::head::Framing;

/// Longest line with a chunk's size and extensions, or of the trailer section.
const MAX_LINE: usize = 8 << 10;

/// The body is not framed as its head said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body of the response is malformed")]
pub(crate) struct Malformed;

/// Where a body's decoding stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Decoder {
    /// So many bytes are left.
    Length(u64),
    /// A chunk's size line is next.
    Size,
    /// So many bytes of a chunk are left.
    Chunk(u64),
    /// The line end after a chunk's data is next.
    AfterChunk,
    /// The last chunk has come; trailer lines up to an empty one are next.
    Trailers,
    /// Everything until the end of the connection.
    UntilClose,
    /// The body has ended.
    Done,
}

impl Decoder {
    pub(in crate::upstream) const fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(0) => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Size,
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Tells whether the body has ended.
    pub(in crate::upstream) const fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Tells whether the end of the connection is the body's proper end.
    pub(in crate::upstream) const fn ends_with_connection(&self) -> bool {
        matches!(self, Self::UntilClose | Self::Done)
    }

    /// Takes all payload that has arrived off the front of `buffer`, as one piece. Empty: more bytes are needed, or the
    /// body is done.
    pub(in crate::upstream) fn decode(
        &mut self,
        buffer: &mut BytesMut,
    ) -> Result<Bytes, Malformed> {
        match self {
            Self::Done => return Ok(Bytes::new()),
            Self::UntilClose => return Ok(buffer.split().freeze()),
            Self::Length(left) => {
                let take = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len());
                *left -= take as u64;
                let done = *left == 0;
                let piece = buffer.split_to(take).freeze();
                if done {
                    *self = Self::Done;
                }
                return Ok(piece);
            }
            Self::Size | Self::Chunk(_) | Self::AfterChunk | Self::Trailers => {}
        }
        // Payloads are moved together over the framing between them, so that many small chunks become one piece
        // without another buffer.
        let (mut read, mut kept) = (0, 0);
        loop {
            let rest = buffer.get(read..).unwrap_or_default();
            match *self {
                Self::Size => match line(rest)? {
                    None => break,
                    Some((size, used)) => {
                        read += used;
                        *self = match chunk_size(size)? {
                            0 => Self::Trailers,
                            size => Self::Chunk(size),
                        };
                    }
                },
                Self::Chunk(left) => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    if take == 0 {
                        break;
                    }
                    if read != kept {
                        buffer.copy_within(read..read + take, kept);
                    }
                    read += take;
                    kept += take;
                    *self = match left - take as u64 {
                        0 => Self::AfterChunk,
                        left => Self::Chunk(left),
                    };
                }
                Self::AfterChunk => match line(rest)? {
                    None => break,
                    Some(([], used)) => {
                        read += used;
                        *self = Self::Size;
                    }
                    Some(_) => return Err(Malformed),
                },
                Self::Trailers => match line(rest)? {
                    None => break,
                    Some((text, used)) => {
                        read += used;
                        if text.is_empty() {
                            *self = Self::Done;
                            break;
                        }
                    }
                },
                Self::Length(_) | Self::UntilClose | Self::Done => break,
            }
        }
        let piece = buffer.split_to(kept).freeze();
        buffer.advance(read - kept);
        Ok(piece)
    }
}

/// Returns the first line without its end, and its length with it.
fn line(rest: &[u8]) -> Result<Option<(&[u8], usize)>, Malformed> {
    let Some(end) = memchr::memchr(b'\n', rest) else {
        return if rest.len() > MAX_LINE {
            Err(Malformed)
        } else {
            Ok(None)
        };
    };
    if end > MAX_LINE {
        return Err(Malformed);
    }
    let text = rest.get(..end).unwrap_or_default();
    Ok(Some((text.strip_suffix(b"\r").unwrap_or(text), end + 1)))
}

/// Reads a chunk's size, ignoring extensions.
fn chunk_size(line: &[u8]) -> Result<u64, Malformed> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let digits = digits.trim_ascii_end();
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Malformed);
    }
    let text = std::str::from_utf8(digits).map_err(|_| Malformed)?;
    u64::from_str_radix(text, 16).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(framing: Framing, pieces: &[&[u8]]) -> Result<(Vec<u8>, Decoder, usize), Malformed> {
        let (mut decoder, mut buffer, mut body) =
            (Decoder::new(framing), BytesMut::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            body.extend_from_slice(&decoder.decode(&mut buffer)?);
        }
        Ok((body, decoder, buffer.len()))
    }

    #[test]
    fn many_chunks_become_one_piece() {
        let mut decoder = Decoder::new(Framing::Chunked);
        let mut buffer = BytesMut::from(&b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nt: v\r\n\r\nnext"[..]);
        assert_eq!(
            decoder.decode(&mut buffer),
            Ok(Bytes::from_static(b"abcde"))
        );
        assert!(decoder.is_done());
        assert_eq!(&buffer[..], b"next");
    }

    #[test]
    fn lengths_stop_where_they_say() {
        let (body, decoder, left) = all(Framing::Length(3), &[b"a", b"bcd"]).unwrap();
        assert_eq!(
            (body.as_slice(), decoder.is_done(), left),
            (&b"abc"[..], true, 1)
        );
        assert!(Decoder::new(Framing::Length(0)).is_done());
    }

    #[test]
    fn wrong_sizes_and_endless_lines_are_refused() {
        for body in [
            &b"x\r\n"[..],
            b"-1\r\n",
            b"\r\n",
            b"3\r\nabcX\r\n",
            b"fffffffffffffffff\r\n",
        ] {
            assert!(all(Framing::Chunked, &[body]).is_err(), "{body:?}");
        }
        let endless = vec![b'1'; MAX_LINE + 2];
        assert!(all(Framing::Chunked, &[&endless]).is_err());
    }

    proptest! {
        #[test]
        fn chunks_cut_anywhere_give_the_same_body(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..12),
            cuts in prop::collection::vec(1_usize..9, 1..200),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let mut pieces = Vec::new();
            let mut rest = wire.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            let (body, decoder, left) = all(Framing::Chunked, &pieces).unwrap();
            prop_assert_eq!(body, chunks.concat());
            prop_assert!(decoder.is_done());
            prop_assert_eq!(left, 0);
        }

        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            let (mut decoder, mut buffer) = (Decoder::new(Framing::Chunked), BytesMut::from(&noise[..]));
            let _decoded = decoder.decode(&mut buffer);
        }
    }
}
