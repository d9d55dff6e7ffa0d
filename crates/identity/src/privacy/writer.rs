//! Writes an export piece by piece, so that it needs no memory however much there is.

use bytes::Bytes;
use http_body_util::channel::Sender;
use serde::Serialize;

/// How much is gathered before it is sent.
const PIECE: usize = 16 * 1024;

/// Nobody reads any more.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("nobody reads the export any more")]
pub struct Gone;

/// Writes one JSON object: a field for each section, with a list or a value.
#[derive(Debug)]
pub struct ExportWriter {
    to: Sender<Bytes, std::io::Error>,
    buffer: Vec<u8>,
    sections: u64,
    items: Option<u64>,
}

impl ExportWriter {
    pub(crate) fn new(to: Sender<Bytes, std::io::Error>) -> Self {
        Self {
            to,
            buffer: b"{".to_vec(),
            sections: 0,
            items: None,
        }
    }

    /// Begins a list; the one before it ends.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub async fn section(&mut self, name: &str) -> Result<(), Gone> {
        self.end_section();
        self.name(name);
        self.buffer.push(b'[');
        self.items = Some(0);
        self.send_full().await
    }

    /// Writes a field that is no list; a list before it ends.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub async fn value(&mut self, name: &str, value: &impl Serialize) -> Result<(), Gone> {
        self.end_section();
        self.name(name);
        self.json(value);
        self.send_full().await
    }

    /// Adds an item to the list.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub async fn item(&mut self, value: &impl Serialize) -> Result<(), Gone> {
        let items = self.items.get_or_insert(0);
        if *items > 0 {
            self.buffer.push(b',');
        }
        *items += 1;
        self.buffer.push(b'\n');
        self.json(value);
        self.send_full().await
    }

    /// Ends the export.
    pub(crate) async fn finish(mut self) -> Result<(), Gone> {
        self.end_section();
        self.buffer.extend_from_slice(b"}\n");
        self.send().await
    }

    /// Ends the answer so that its reader sees that it is not whole.
    pub(crate) fn break_off(self) {
        self.to.abort(std::io::Error::other("the export broke off"));
    }

    fn name(&mut self, name: &str) {
        if self.sections > 0 {
            self.buffer.push(b',');
        }
        self.sections += 1;
        self.buffer.push(b'\n');
        self.json(&name);
        self.buffer.push(b':');
    }

    fn end_section(&mut self) {
        if self.items.take().is_some() {
            self.buffer.push(b']');
        }
    }

    fn json(&mut self, value: &impl Serialize) {
        let before = self.buffer.len();
        if serde_json::to_writer(&mut self.buffer, value).is_err() {
            self.buffer.truncate(before);
            self.buffer.extend_from_slice(b"null");
        }
    }

    async fn send_full(&mut self) -> Result<(), Gone> {
        if self.buffer.len() < PIECE {
            return Ok(());
        }
        self.send().await
    }

    async fn send(&mut self) -> Result<(), Gone> {
        let piece = Bytes::from(std::mem::take(&mut self.buffer));
        self.to.send_data(piece).await.map_err(|_| Gone)
    }
}
