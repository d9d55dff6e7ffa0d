//! One part of a file on its way from the source to the model server here.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::unfold;
use http::StatusCode;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::time::{sleep, timeout};

use super::front::{FrontBody, Shared};
use super::source::NothingThere;

/// The waits before the source is asked again that broke off without having sent anything since.
const WAITS: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
];
/// The wait for a source that sends as much as it can, and how often there is one.
const BUSY_WAIT: Duration = Duration::from_secs(1);
const BUSY_WAITS: u32 = 60;
/// A source that sends nothing for so long has broken off; Ollama asks again after 30 s.
const SILENCE: Duration = Duration::from_secs(20);
/// Ollama first asks for the whole file, to see whether it is led elsewhere, and closes the connection without reading: the source is
/// asked when somebody still waits after this time.
const ONLY_LOOKING: Duration = Duration::from_secs(1);

/// A part of a file.
pub(super) struct Fetching {
    front: Arc<Shared>,
    hex: String,
    size: u64,
    at: u64,
    end: u64,
    is_whole: bool,
    open: Option<Incoming>,
    tries: usize,
    busy: u32,
}

impl Fetching {
    pub(super) fn new(
        front: Arc<Shared>,
        (hex, size): (&str, u64),
        (at, end): (u64, u64),
        status: StatusCode,
    ) -> Self {
        Self {
            front,
            hex: hex.to_owned(),
            size,
            at,
            end,
            is_whole: status == StatusCode::OK,
            open: None,
            tries: 0,
            busy: 0,
        }
    }

    /// Returns the part as a body, which breaks off when the source gives nothing any more: what came until then counts.
    pub(super) fn body(self) -> FrontBody {
        let pieces = unfold(Some(self), |fetching| async move {
            let mut fetching = fetching?;
            if fetching.is_whole {
                sleep(ONLY_LOOKING).await;
                fetching.is_whole = false;
            }
            match fetching.next().await {
                Ok(Some(piece)) => Some((Ok(Frame::data(piece)), Some(fetching))),
                Ok(None) => None,
                Err(why) => {
                    fetching.front.give_up(why.clone());
                    Some((Err(io::Error::other(why)), None))
                }
            }
        });
        StreamBody::new(pieces).boxed_unsync()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, String> {
        while self.at < self.end {
            let Some(body) = &mut self.open else {
                self.ask().await?;
                continue;
            };
            let piece = match timeout(SILENCE, body.frame()).await {
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(Some(Err(error))) => {
                    self.again(agent_proto::deepest(&error)).await?;
                    continue;
                }
                Ok(None) => {
                    self.again("it ended before the end".to_owned()).await?;
                    continue;
                }
                Err(_) => {
                    let why = format!("it sent nothing for {} s", SILENCE.as_secs());
                    self.again(why).await?;
                    continue;
                }
            };
            let length = piece.len() as u64;
            if length > self.end - self.at {
                return Err("it sends more than was asked for".to_owned());
            }
            if length == 0 {
                continue;
            }
            self.at += length;
            (self.tries, self.busy) = (0, 0);
            self.front.sharing.note_received(length);
            self.front.pace.take(piece.len()).await;
            return Ok(Some(piece));
        }
        Ok(None)
    }

    async fn ask(&mut self) -> Result<(), String> {
        let part = (self.at, self.end);
        match self.front.source.part(&self.hex, part, self.size).await {
            Ok(body) => self.open = Some(body),
            Err(NothingThere::Refused(why)) => return Err(why),
            Err(NothingThere::Broken(why)) => self.again(why).await?,
            Err(NothingThere::Busy) if self.busy >= BUSY_WAITS => {
                return Err("it sends as many files as it can".to_owned());
            }
            Err(NothingThere::Busy) => {
                self.busy += 1;
                sleep(BUSY_WAIT).await;
            }
        }
        Ok(())
    }

    /// Waits before the source is asked again, from where it broke off.
    async fn again(&mut self, why: String) -> Result<(), String> {
        self.open = None;
        let Some(wait) = WAITS.get(self.tries) else {
            return Err(why);
        };
        self.tries += 1;
        sleep(*wait).await;
        Ok(())
    }
}
