//! Writing JSON, NDJSON lines and server-sent events into one growing buffer.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

use crate::json::Fields;

/// Appends a value as JSON.
pub(crate) fn json<T: Serialize>(out: &mut BytesMut, value: &T) {
    let start = out.len();
    // Our own wire types have string keys only and the buffer grows: neither way to fail exists.
    if serde_json::to_writer((&mut *out).writer(), value).is_err() {
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

/// Appends a value as one NDJSON line.
pub(crate) fn ndjson<T: Serialize>(out: &mut BytesMut, value: &T) {
    json(out, value);
    out.put_u8(b'\n');
}

/// Appends a value as one server-sent event without a name.
pub(crate) fn sse<T: Serialize>(out: &mut BytesMut, value: &T) {
    out.put_slice(b"data: ");
    json(out, value);
    out.put_slice(b"\n\n");
}

/// Appends a value as one named server-sent event.
pub(crate) fn sse_event<T: Serialize>(out: &mut BytesMut, name: &str, value: &T) {
    out.put_slice(b"event: ");
    out.put_slice(name.as_bytes());
    out.put_slice(b"\n");
    sse(out, value);
}

/// The end mark of OpenAI streams.
pub(crate) const SSE_DONE: &[u8] = b"data: [DONE]\n\n";

/// Writes one JSON object field by field, so that each body has the order and the absent fields its server expects.
pub(crate) struct ObjectWriter {
    out: BytesMut,
}

impl ObjectWriter {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        let mut out = BytesMut::with_capacity(bytes);
        out.put_u8(b'{');
        Self { out }
    }

    /// Writes a field. A field of the same name that was written before stays; callers write each name once.
    pub(crate) fn put<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        if self.out.len() > 1 {
            self.out.put_u8(b',');
        }
        json(&mut self.out, &name);
        self.out.put_u8(b':');
        json(&mut self.out, &value);
    }

    /// Writes a field when there is a value.
    pub(crate) fn put_some<T: Serialize>(&mut self, name: &str, value: Option<T>) {
        if let Some(value) = value {
            self.put(name, &value);
        }
    }

    /// Writes fields that are kept as text.
    pub(crate) fn put_all(&mut self, fields: &Fields) {
        for (name, value) in fields.iter() {
            self.put(name, value);
        }
    }

    /// Ends the object.
    pub(crate) fn finish(mut self) -> Bytes {
        self.out.put_u8(b'}');
        self.out.freeze()
    }
}
