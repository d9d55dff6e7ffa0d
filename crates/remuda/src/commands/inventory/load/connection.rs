//! A connection of HTTP/1.1 that makes one call after the other, with as little work as can be: the load shares the machine with what it
//! measures. Its buffers are used again for each call, and an answer without a body is read where it lies.

use std::io;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest answer that is read.
const LARGEST: usize = 1 << 20;

/// What is called.
#[derive(Clone)]
pub(super) struct Target {
    address: Arc<str>,
    /// The path before the function's name.
    path: Arc<str>,
    /// The version, and the headers that every call has.
    headers: Arc<str>,
}

/// An open connection.
pub(super) struct Connection {
    stream: TcpStream,
    /// The call as it is sent.
    sent: Vec<u8>,
    /// The answer as it comes.
    buffer: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Target {
    pub(super) fn new(url: &Url, authorization: Option<&str>) -> Result<Self, String> {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err("the server's address has no host".to_owned());
        };
        if url.scheme() != "http" {
            return Err(
                "the load speaks plain HTTP: give the address of the server itself, as http://127.0.0.1:11440"
                    .to_owned(),
            );
        }
        let authorization =
            authorization.map_or(String::new(), |value| format!("authorization: {value}\r\n"));
        Ok(Self {
            address: format!("{host}:{port}").into(),
            path: format!("POST {}rpc/", url.path()).into(),
            headers: format!(
                " HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n{authorization}content-length: "
            )
            .into(),
        })
    }
}

impl Connection {
    pub(super) async fn open(target: &Target) -> io::Result<Self> {
        let opening = timeout(PATIENCE, TcpStream::connect(&*target.address));
        let stream = opening.await.map_err(|_| io::ErrorKind::TimedOut)??;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            sent: Vec::with_capacity(1024),
            buffer: Vec::with_capacity(1024),
        })
    }

    /// Makes a call.
    pub(super) async fn call(
        &mut self,
        target: &Target,
        function: &str,
        body: &[u8],
    ) -> io::Result<Answer> {
        self.sent.clear();
        for part in [&*target.path, function, &*target.headers] {
            self.sent.extend_from_slice(part.as_bytes());
        }
        write!(self.sent, "{}\r\n\r\n", body.len())?;
        self.sent.extend_from_slice(body);
        let calling = async {
            self.stream.write_all(&self.sent).await?;
            self.answer().await
        };
        let answered = timeout(PATIENCE, calling).await;
        answered.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    async fn answer(&mut self) -> io::Result<Answer> {
        self.buffer.clear();
        let head = loop {
            self.more().await?;
            if let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
        };
        let status = self
            .buffer
            .get(9..12)
            .and_then(|digits| str::from_utf8(digits).ok())
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| malformed("no status"))?;
        // No body, whatever the head says (RFC 9112, section 6.3).
        let body = if status == 204 {
            Vec::new()
        } else {
            self.body(head).await?
        };
        Ok(Answer { status, body })
    }

    async fn body(&mut self, head: usize) -> io::Result<Vec<u8>> {
        let text = str::from_utf8(self.buffer.get(..head).unwrap_or_default())
            .map_err(|_| malformed("a head"))?;
        let header = |name: &str| {
            text.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        if let Some(length) = header("content-length") {
            let length: usize = length.parse().map_err(|_| malformed("a length"))?;
            while self.buffer.len() < head + length {
                self.more().await?;
            }
            let body = self.buffer.get(head..head + length);
            return Ok(body.unwrap_or_default().to_vec());
        }
        if header("transfer-encoding").is_some() {
            while !self.buffer.ends_with(b"\r\n0\r\n\r\n") {
                self.more().await?;
            }
            // Pieces with their lengths: enough to show what went wrong.
            return Ok(self.buffer.get(head..).unwrap_or_default().to_vec());
        }
        Ok(Vec::new())
    }

    async fn more(&mut self) -> io::Result<()> {
        if self.buffer.len() > LARGEST {
            return Err(malformed("an answer of more than 1 MiB"));
        }
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the answer has {what} that cannot be read"),
    )
}
