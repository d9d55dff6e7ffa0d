//! Playing a plan: frames in the script's pace and pieces, until its end or its fault.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::plan::Plan;
use super::record::Flight;
use super::script::{Chunking, Ending, Fault, Script};
use super::server::{Connection, HangUp};
use super::wire::Wire;

/// What the player hands to the connection.
pub(super) enum Item {
    /// Bytes, and the tokens in them.
    Data(Bytes, usize),
    /// The last bytes.
    Last(Bytes, usize),
    /// The end of the connection.
    HangUp(HangUp),
}

/// A response body that the player feeds. Dropped before its last item, the request counts as cancelled.
pub(super) struct ScriptedBody {
    items: mpsc::Receiver<Item>,
    flight: Flight,
    connection: Connection,
    hang_up: Option<HangUp>,
    flushed: bool,
    length: Option<u64>,
}

impl ScriptedBody {
    /// Makes a body; a known `length` becomes the `Content-Length`.
    pub(super) fn new(
        flight: Flight,
        connection: Connection,
        length: Option<u64>,
    ) -> (mpsc::Sender<Item>, Self) {
        // One item at a time: the connection flushes each before it takes the next.
        let (sender, items) = mpsc::channel(1);
        (
            sender,
            Self {
                items,
                flight,
                connection,
                hang_up: None,
                flushed: false,
                length,
            },
        )
    }
}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(kind) = self.hang_up {
            if self.flushed {
                self.connection.hang_up(kind);
            } else {
                // What was sent before goes out while this returns; the next call hangs up.
                self.flushed = true;
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        match ready!(self.items.poll_recv(cx)) {
            Some(Item::Data(bytes, tokens)) => {
                self.flight.sent(tokens);
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Some(Item::Last(bytes, tokens)) => {
                self.flight.sent(tokens);
                self.flight.end();
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Some(Item::HangUp(kind)) => {
                self.flight.end();
                self.hang_up = Some(kind);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => {
                self.flight.end();
                Poll::Ready(None)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The way out of a player: cuts frames into pieces.
struct Outlet {
    items: mpsc::Sender<Item>,
    chunking: Chunking,
    held: BytesMut,
    held_frames: usize,
    held_tokens: usize,
}

impl Outlet {
    async fn frame(&mut self, frame: Bytes, tokens: usize) {
        match self.chunking {
            Chunking::Frames => self.send(Item::Data(frame, tokens)).await,
            Chunking::Bytes(most) => {
                let mut tokens = tokens;
                let mut left = frame;
                // Sizes vary, so that cuts wander through the frames.
                let mut size = 1;
                while !left.is_empty() {
                    let piece = left.split_to(size.min(left.len()));
                    self.send(Item::Data(piece, std::mem::take(&mut tokens)))
                        .await;
                    size = size % most + 1;
                }
            }
            Chunking::Together(frames) => {
                self.held.extend_from_slice(&frame);
                self.held_frames += 1;
                self.held_tokens += tokens;
                if self.held_frames >= frames {
                    self.flush().await;
                }
            }
        }
    }

    async fn flush(&mut self) {
        if !self.held.is_empty() {
            let item = Item::Data(
                self.held.split().freeze(),
                std::mem::take(&mut self.held_tokens),
            );
            self.held_frames = 0;
            self.send(item).await;
        }
    }

    async fn send(&mut self, item: Item) {
        // A receiver that is gone ends the player through `closed`.
        drop(self.items.send(item).await);
    }
}

/// Plays a stream. Stops when the body is dropped.
pub(super) async fn play_stream(
    mut wire: Box<dyn Wire>,
    plan: Plan,
    script: Script,
    items: mpsc::Sender<Item>,
) {
    let gone = items.clone();
    let chunking = script.chunking;
    let mut outlet = Outlet {
        items,
        chunking,
        held: BytesMut::new(),
        held_frames: 0,
        held_tokens: 0,
    };
    tokio::select! {
        () = gone.closed() => {}
        () = stream(&mut *wire, &plan, &script, &mut outlet) => {}
    }
}

async fn stream(wire: &mut dyn Wire, plan: &Plan, script: &Script, outlet: &mut Outlet) {
    let mut fault = match &script.fault {
        Some(Fault::AfterTokens { tokens, ending }) => Some((*tokens, ending)),
        _ => None,
    };
    for frame in wire.opening() {
        outlet.frame(frame, 0).await;
    }
    sleep_for(script.first_token_delay).await;
    let mut pace = Pace::new(script.token_delay);
    for piece in &plan.thinking {
        let frame = wire.thinking(piece);
        outlet.frame(frame, 0).await;
        pace.step().await;
    }
    if !plan.tool_calls.is_empty() {
        for frame in wire.tool_calls(&plan.tool_calls) {
            outlet.frame(frame, 0).await;
        }
    }
    for (at, token) in plan.tokens.iter().enumerate() {
        if let Some((_, ending)) = fault.take_if(|(after, _)| *after == at)
            && go_wrong(wire, ending, outlet).await
        {
            return;
        }
        if at > 0 {
            pace.step().await;
        }
        if let Some((after, gate)) = &script.gate
            && at == *after
        {
            outlet.flush().await;
            gate.pass().await;
        }
        let frame = wire.token(token);
        outlet.frame(frame, 1).await;
    }
    // A fault beyond the last token strikes before the final frame.
    if let Some((_, ending)) = fault
        && go_wrong(wire, ending, outlet).await
    {
        return;
    }
    let mut closing = wire.closing(plan);
    let last = closing.pop();
    for frame in closing {
        outlet.frame(frame, 0).await;
    }
    outlet.flush().await;
    match (outlet.chunking, last) {
        (Chunking::Bytes(_), Some(frame)) => outlet.frame(frame, 0).await,
        (_, Some(frame)) => outlet.send(Item::Last(frame, 0)).await,
        (_, None) => {}
    }
}

/// Lets the stream go wrong; returns whether it is over.
async fn go_wrong(wire: &mut dyn Wire, ending: &Ending, outlet: &mut Outlet) -> bool {
    outlet.flush().await;
    match ending {
        Ending::Reset => outlet.send(Item::HangUp(HangUp::Reset)).await,
        Ending::Close => outlet.send(Item::HangUp(HangUp::Close)).await,
        Ending::End => {}
        Ending::Stall => std::future::pending().await,
        Ending::Malformed => {
            outlet.frame(wire.malformed(), 0).await;
            return false;
        }
        Ending::Error(message) => {
            let frame = wire.error(message);
            outlet.frame(frame, 0).await;
            outlet.flush().await;
        }
    }
    true
}

/// Plays a response in one piece: half of it before a fault, all of it otherwise.
pub(super) async fn play_whole(
    body: Bytes,
    tokens: usize,
    fault: Option<Ending>,
    items: mpsc::Sender<Item>,
) {
    let Some(ending) = fault else {
        drop(items.send(Item::Last(body, tokens)).await);
        return;
    };
    drop(
        items
            .send(Item::Data(body.slice(..body.len() / 2), 0))
            .await,
    );
    let kind = match ending {
        Ending::Reset => HangUp::Reset,
        Ending::Close => HangUp::Close,
        Ending::Stall => return items.closed().await,
        Ending::End | Ending::Malformed | Ending::Error(_) => return,
    };
    drop(items.send(Item::HangUp(kind)).await);
    items.closed().await;
}

/// The time between tokens, kept over the whole answer: each timer is late by up to a millisecond, which must not add up.
struct Pace {
    between: Duration,
    due: Instant,
}

impl Pace {
    fn new(between: Duration) -> Self {
        Self {
            between,
            due: Instant::now(),
        }
    }

    /// Waits until the next token is due. What was held up for longer does not catch up.
    async fn step(&mut self) {
        if !self.between.is_zero() {
            self.due = (self.due + self.between).max(Instant::now());
            sleep_until(self.due).await;
        }
    }
}

/// Sleeps, but not at all for zero: a timer would cost a millisecond.
pub(super) async fn sleep_for(duration: Duration) {
    if !duration.is_zero() {
        sleep(duration).await;
    }
}
