//! Messages from one process to all that serve with it.

use std::fmt;

use futures_util::future::BoxFuture;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::error::BusError;

/// The most messages that wait for one who listens; who is further behind hears of a gap.
pub(crate) const BACKLOG: usize = 1_024;

/// What one hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A message, one's own ones included.
    Message {
        /// Its topic.
        topic: String,
        /// What it says.
        text: String,
    },
    /// Messages may have been missed before this moment.
    Gap,
}

/// Hears what is published from now on.
#[derive(Debug)]
pub struct Listening(pub(crate) broadcast::Receiver<Heard>);

impl Listening {
    /// Waits for the next message; `None` when there will be none.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.0.recv().await {
            Ok(heard) => Some(heard),
            Err(RecvError::Lagged(_)) => Some(Heard::Gap),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Carries messages to all processes. They are heard at most once, and in the order of their publication by one process.
pub trait Messages: Send + Sync + fmt::Debug {
    /// Publishes a message. Others hear it within milliseconds while they are in reach.
    ///
    /// # Errors
    /// When it could not be handed on; it may have been heard all the same.
    fn publish(&self, topic: &str, text: String) -> BoxFuture<'_, Result<(), BusError>>;

    /// Hears what is published from now on, on every topic.
    fn listen(&self) -> Listening;

    /// Returns a number that changes whenever messages may have been missed; `None` while messages of others do not come. It is behind
    /// the truth by 2 s at most: so long does a connection that has silently broken go unnoticed.
    fn continuity(&self) -> Option<u64>;
}
