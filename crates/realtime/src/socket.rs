//! A WebSocket with patience: no write waits for ever, and an end is told before it comes.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message, Utf8Bytes};

use crate::closing::CloseReason;

/// How long a client may take to answer a close.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);
/// Bytes that are read and thrown away from a client that goes on sending after its connection was closed.
const THROWN_AWAY: usize = 1 << 20;
/// Bytes that are read at once. Clients say little, and this is held by every connection.
const READ_BUFFER: usize = 1 << 10;
/// Bytes that wait to be written: one message is written before the next is begun, and pongs come between.
const WRITE_BUFFER: usize = 1 << 20;

/// The server's end of a WebSocket.
pub(crate) struct Socket<S> {
    stream: WebSocketStream<S>,
    patience: Duration,
}

/// What came from the client.
pub(crate) enum Received {
    /// A text.
    Text(Utf8Bytes),
    /// A sign of life without content.
    Life,
    /// Nothing more will come.
    End(CloseReason),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Takes a connection after its handshake; `read` came with it already.
    pub(crate) async fn new(stream: S, read: Bytes, limit: usize, patience: Duration) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER)
            .max_message_size(Some(limit))
            .max_frame_size(Some(limit));
        let stream =
            WebSocketStream::from_partially_read(stream, read.to_vec(), Role::Server, Some(config))
                .await;
        Self { stream, patience }
    }

    /// Returns what comes next. Loses nothing when dropped before it is done.
    pub(crate) async fn receive(&mut self) -> Received {
        match self.stream.next().await {
            Some(Ok(Message::Text(text))) => Received::Text(text),
            Some(Ok(Message::Binary(_))) => Received::End(CloseReason::NotText),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Received::Life,
            Some(Ok(Message::Close(_))) | None => Received::End(CloseReason::Gone),
            Some(Err(error)) => Received::End(reason_of(&error)),
        }
    }

    /// Writes a text, as far as the client takes it in time.
    pub(crate) async fn send(&mut self, text: Utf8Bytes) -> Result<(), CloseReason> {
        self.write(Message::Text(text)).await
    }

    /// Asks for a sign of life.
    pub(crate) async fn ping(&mut self) -> Result<(), CloseReason> {
        self.write(Message::Ping(Bytes::new())).await
    }

    async fn write(&mut self, message: Message) -> Result<(), CloseReason> {
        match timeout(self.patience, self.stream.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(CloseReason::Gone),
            Err(_) => Err(CloseReason::Slow),
        }
    }

    /// Says why it ends, and waits a moment for the client to hear it: closed with bytes unread, the connection would be reset and
    /// the last words lost.
    pub(crate) async fn close(mut self, reason: CloseReason) {
        let farewell = async {
            if reason != CloseReason::Gone {
                self.stream.close(Some(reason.frame())).await?;
            }
            self.stream.flush().await?;
            let raw = self.stream.get_mut();
            raw.shutdown().await?;
            let mut rest = [0; 512];
            let mut thrown_away = 0;
            while thrown_away < THROWN_AWAY {
                match raw.read(&mut rest).await? {
                    0 => break,
                    count => thrown_away += count,
                }
            }
            Ok::<_, Error>(())
        };
        match Box::pin(timeout(CLOSE_PATIENCE, farewell)).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(error)) => tracing::trace!(%error, "a WebSocket ended without a farewell"),
        }
    }
}

fn reason_of(error: &Error) -> CloseReason {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => CloseReason::TooLarge,
        Error::Utf8(_) => CloseReason::NotText,
        // Went away without a farewell, as most clients do.
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => CloseReason::Gone,
        Error::Protocol(_) | Error::Capacity(_) | Error::AttackAttempt => CloseReason::Protocol,
        _ => CloseReason::Gone,
    }
}
