//! One keep-alive connection, read with as little work as the checks allow.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::Context;
use bytes::{Buf as _, BytesMut};
use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What stands before the text of a stream's frame.
const CONTENT: &[u8] = b"\"content\":\"";

pub(crate) struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
}

/// How a body is delimited.
enum Framing {
    Length(usize),
    Chunked,
}

impl Connection {
    pub(crate) async fn open(target: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(target).await.context("connecting")?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: BytesMut::with_capacity(32 * 1024),
        })
    }

    /// Sends a request and reads the whole response into `body`. Returns when the first text of a stream, or the first byte of
    /// an answer in one piece, was there.
    pub(crate) async fn exchange(
        &mut self,
        request: &[u8],
        body: &mut Vec<u8>,
    ) -> anyhow::Result<Instant> {
        self.send(request).await?;
        body.clear();
        match self.head().await? {
            Framing::Length(length) => {
                while self.buffer.is_empty() {
                    self.fill().await?;
                }
                let first = Instant::now();
                while self.buffer.len() < length {
                    self.fill().await?;
                }
                body.extend_from_slice(&self.buffer[..length]);
                self.buffer.advance(length);
                Ok(first)
            }
            Framing::Chunked => {
                let mut first = None;
                while self.chunk(body).await? {
                    if first.is_none() && has_text(body) {
                        first = Some(Instant::now());
                    }
                }
                first.context("a stream without text")
            }
        }
    }

    /// Sends a request and reads the response head.
    pub(crate) async fn begin(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.send(request).await?;
        self.head().await?;
        Ok(())
    }

    /// Adds the next chunk to `body`; returns false after the last.
    pub(crate) async fn chunk(&mut self, body: &mut Vec<u8>) -> anyhow::Result<bool> {
        loop {
            if let Some(line) = memmem::find(&self.buffer, b"\r\n") {
                let digits = self.buffer[..line]
                    .split(|byte| *byte == b';')
                    .next()
                    .unwrap_or_default();
                let size = usize::from_str_radix(std::str::from_utf8(digits)?.trim(), 16)
                    .context("a chunk's size")?;
                let whole = line + 2 + size + 2;
                if self.buffer.len() >= whole {
                    body.extend_from_slice(&self.buffer[line + 2..line + 2 + size]);
                    self.buffer.advance(whole);
                    return Ok(size > 0);
                }
            }
            self.fill().await?;
        }
    }

    async fn send(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(request).await.context("sending")
    }

    async fn head(&mut self) -> anyhow::Result<Framing> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut response = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(length) = response.parse(&self.buffer)? {
                let status = response.code.unwrap_or_default();
                anyhow::ensure!(
                    status == 200,
                    "status {status}: {}",
                    String::from_utf8_lossy(&self.buffer[length..])
                );
                let content_length = response
                    .headers
                    .iter()
                    .find(|header| header.name.eq_ignore_ascii_case("content-length"));
                let framing = match content_length {
                    Some(header) => {
                        Framing::Length(std::str::from_utf8(header.value)?.trim().parse()?)
                    }
                    None => Framing::Chunked,
                };
                self.buffer.advance(length);
                return Ok(framing);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        let count = self
            .stream
            .read_buf(&mut self.buffer)
            .await
            .context("reading")?;
        anyhow::ensure!(count > 0, "the connection was closed inside a response");
        Ok(())
    }
}

/// Tells whether one of the frames has text.
fn has_text(frames: &[u8]) -> bool {
    memmem::find_iter(frames, CONTENT).any(|at| {
        frames
            .get(at + CONTENT.len())
            .is_some_and(|byte| *byte != b'"')
    })
}
