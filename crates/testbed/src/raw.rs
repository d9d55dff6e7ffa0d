//! Connections on which a test writes what no client would: half a head, a body that drips, nothing at all.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Bytes that are read at most.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// How long the server may be silent before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection without a protocol. Dropping it closes it.
pub struct RawConnection {
    stream: TcpStream,
}

impl RawConnection {
    /// Connects.
    ///
    /// # Errors
    /// Fails when the server cannot be reached.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("connecting")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// Fails when the server has closed the connection.
    pub async fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Writes a byte every `pause` until the server closes or answers, and returns what came back until the close.
    ///
    /// # Errors
    /// As [`Self::until_closed`]; also when all bytes are written and the server still waits for more.
    pub async fn drip(mut self, bytes: &[u8], pause: Duration) -> anyhow::Result<Vec<u8>> {
        let (mut reading, mut writing) = self.stream.split();
        let dripping = async {
            let mut ticks = tokio::time::interval(pause);
            for byte in bytes {
                ticks.tick().await;
                if writing.write_all(&[*byte]).await.is_err() {
                    // Closed: what the server said before is there to be read.
                    return;
                }
            }
        };
        let mut first = [0];
        let count = tokio::select! {
            count = reading.read(&mut first) => count.unwrap_or(0),
            () = dripping => anyhow::bail!("all {} bytes were taken", bytes.len()),
        };
        let mut answer = first[..count].to_vec();
        if count > 0 {
            answer.extend(self.until_closed().await?);
        }
        Ok(answer)
    }

    /// Returns what comes until the server closes.
    ///
    /// # Errors
    /// Fails when the server neither writes nor closes for 30 s.
    pub async fn until_closed(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let read = timeout(PATIENCE, self.stream.read(&mut buffer))
                .await
                .with_context(|| format!("not closed after {PATIENCE:?} of silence"))?;
            match read {
                // A reset is a close too.
                Ok(0) | Err(_) => return Ok(answer),
                Ok(count) => answer.extend_from_slice(&buffer[..count]),
            }
            anyhow::ensure!(
                answer.len() < MOST_BYTES,
                "an answer beyond {MOST_BYTES} bytes"
            );
        }
    }

    /// Sends a HEAD request for `path`, leaves the connection open, and returns the answer, or what came before a close.
    ///
    /// # Errors
    /// Fails when no answer comes for 30 s.
    pub async fn head_of(&mut self, path: &str) -> anyhow::Result<String> {
        let request = format!("HEAD {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
        // A server that refuses the connection may have closed it already; its answer still counts.
        drop(self.write(request.as_bytes()).await);
        let mut head = Vec::new();
        let mut buffer = [0; 4096];
        while !head.windows(4).any(|window| window == b"\r\n\r\n") {
            let read = timeout(PATIENCE, self.stream.read(&mut buffer))
                .await
                .with_context(|| format!("no answer after {PATIENCE:?}"))?;
            match read {
                Ok(0) | Err(_) => break,
                Ok(count) => head.extend_from_slice(&buffer[..count]),
            }
        }
        Ok(String::from_utf8_lossy(&head).into_owned())
    }
}

/// Sends bytes as they are and returns what comes back until the server closes.
///
/// # Errors
/// Fails when the server cannot be reached, or does not close for 30 s.
pub async fn send_raw(address: SocketAddr, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut connection = RawConnection::open(address).await?;
    // The server may refuse before it has read all; its answer still counts.
    drop(connection.write(bytes).await);
    connection.until_closed().await
}
