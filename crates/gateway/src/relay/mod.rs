//! Carries a streamed answer from a node to the client, and goes on with another node when one is lost.
//!
//! The relay is a body that the connection polls: no task, no queue. Dropping it drops the connection to the node, which
//! is how a client that goes away ends the work there. Its life is a loop of two phases: *opening* (a node is chosen and
//! asked) and *streaming* (frames pass or are translated). A loss during streaming leads back to opening, with the
//! client's request while nothing of an answer has gone out, with one that continues the text afterwards.

mod ending;
mod pace;
mod stream;
mod turns;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

pub(crate) use self::ending::outcome_of;
use self::ending::write_ourselves;
use self::pace::{Due, Pace};
use self::stream::{Progress, Stream};
use self::turns::MyTurn;
pub(crate) use self::turns::Turns;
use crate::admission::{self, Standing};
use crate::body::BrokenBody;
use crate::exchange::Exchange;
use crate::shared::Shared;
use crate::under_way::UnderWay;
use crate::upstream::attempt::{self, Failure, Opened};
use crate::upstream::prepare::Wanted;
use crate::upstream::{has_died, refusal};
use bytes::{Bytes, BytesMut};
use dialects::{ApiError, Framing, Observer, ResponseEncoder};
use http::HeaderMap;
use http_body::Frame;
use primitives::{ErrorKind, MonotonicTime};
use scheduling::queue::Class;

/// The comment that keeps intermediaries from closing a silent event stream (WHATWG HTML, 9.2.6).
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

type Opening = Pin<Box<dyn Future<Output = (Box<Exchange>, Result<Opened, ApiError>)> + Send>>;

/// A streamed answer under way.
pub(crate) struct Relay {
    /// Away while a node is being opened.
    exchange: Option<Box<Exchange>>,
    phase: Phase,
    /// All that the client has got, whoever wrote it.
    observer: Observer,
    /// Writes the answer when it does not pass; made when first needed, on the heap for those that need none.
    encoder: Option<Box<ResponseEncoder>>,
    pace: Pace,
    /// Ready to be sent.
    pending: Option<Bytes>,
    /// Whether anything of an answer was given to the connection; keep-alives do not count.
    sent: bool,
    /// Its turn to read on among the streams of the worker.
    turn: MyTurn,
    /// Tokens that the client had when the present node took over.
    base_tokens: u64,
    /// Comes when the call has to give its place up; only while nothing was sent.
    stopped: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    trailers: bool,
    standing: Arc<UnderWay>,
    shared: Arc<Shared>,
}

enum Phase {
    Opening(Opening),
    Streaming(Box<Stream>),
    /// Everything is said but for the trailers. What few streams ever hold is on the heap.
    Ended(Option<Box<HeaderMap>>),
    /// Ended without a byte sent: the error is for the head of the answer.
    Failed(Box<ApiError>),
}

impl Relay {
    /// Starts opening a node for the exchange. `trailers` tells whether the client reads trailers.
    pub(crate) fn new(exchange: Box<Exchange>, trailers: bool) -> Self {
        let sse = exchange.operation.framing() == Framing::Sse;
        let now = exchange.shared().clock.monotonic();
        let config = exchange.shared().config();
        let pace = Pace::new(
            now,
            sse.then_some(config.keep_alive_interval),
            config.first_token_timeout,
            config.stall_timeout,
        );
        drop(config);
        let observer = Observer::new(exchange.operation);
        let turn = MyTurn::new(exchange.worker.turns.clone());
        Self {
            standing: exchange.standing.clone(),
            shared: exchange.shared().clone(),
            phase: Phase::Opening(opening(exchange, Wanted::Original { may_pass: true })),
            exchange: None,
            observer,
            encoder: None,
            pace,
            pending: None,
            sent: false,
            turn,
            base_tokens: 0,
            stopped: None,
            trailers,
        }
    }

    /// Waits until there is something to send, the keep-alive interval is over (for dialects that can be kept alive),
    /// or no node can answer.
    pub(crate) async fn ready(&mut self) -> Result<(), ApiError> {
        std::future::poll_fn(|cx| self.poll_ready(cx)).await;
        match std::mem::replace(&mut self.phase, Phase::Ended(None)) {
            Phase::Failed(error) => Err(*error),
            phase => {
                self.phase = phase;
                Ok(())
            }
        }
    }

    /// Returns the exchange, except while a node is being opened.
    pub(crate) fn exchange_mut(&mut self) -> Option<&mut Exchange> {
        self.exchange.as_deref_mut()
    }

    /// Returns where the request stands.
    pub(crate) fn standing(&self) -> Standing {
        self.standing.lock().clone()
    }

    /// Returns the comment for a silent moment: who waits in the queue hears where it stands.
    fn comment(&self) -> Bytes {
        let waits = self.standing.lock().queued.and_then(|queued| queued.waits);
        let now = self.shared.clock.monotonic();
        waits
            .and_then(|(_, ticket)| self.shared.live.admission.standing(ticket, now))
            .map_or(Bytes::from_static(KEEP_ALIVE), |place| {
                let position = place.position;
                Bytes::from(match place.expected_wait {
                    Some(wait) => format!(
                        ": queued, position {position}, about {} s\n\n",
                        wait.as_secs().max(1)
                    ),
                    None => format!(": queued, position {position}\n\n"),
                })
            })
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.pending.is_none() {
            match self.poll_step(cx) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }

    /// Gives the connection the next piece.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        loop {
            if let Some(bytes) = self.pending.take() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            match self.poll_step(cx) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => {
                    let trailers = match &mut self.phase {
                        Phase::Ended(trailers) => trailers.take(),
                        _ => None,
                    };
                    return Poll::Ready(trailers.map(|t| Ok(Frame::trailers(*t))));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Does one step. `false`: the answer has ended.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match &mut self.phase {
            Phase::Ended(_) | Phase::Failed(_) => Poll::Ready(false),
            Phase::Opening(opening) => match opening.as_mut().poll(cx) {
                Poll::Ready((exchange, Ok(opened))) => {
                    self.exchange = Some(exchange);
                    self.begin(opened);
                    Poll::Ready(true)
                }
                Poll::Ready((exchange, Err(error))) => {
                    self.exchange = Some(exchange);
                    self.give_up(error);
                    Poll::Ready(true)
                }
                Poll::Pending => self.poll_pace(cx),
            },
            Phase::Streaming(stream) => {
                let Some(exchange) = self.exchange.as_mut() else {
                    return Poll::Ready(false);
                };
                if let Some(stopped) = &mut self.stopped
                    && !self.sent
                    && stopped.as_mut().poll(cx).is_ready()
                {
                    self.give_way();
                    return Poll::Ready(true);
                }
                // The first token goes straight through.
                if stream.has_content && stream.is_readable(cx) && self.turn.poll(cx).is_pending() {
                    return Poll::Pending;
                }
                let clock = &exchange.shared().clock;
                match stream.poll(
                    cx,
                    &mut self.observer,
                    self.encoder.as_deref_mut(),
                    clock.as_ref(),
                ) {
                    Poll::Ready(progress) => {
                        let now = clock.monotonic();
                        self.on_progress(progress, now);
                        Poll::Ready(true)
                    }
                    Poll::Pending => self.poll_pace(cx),
                }
            }
        }
    }

    /// Nothing moves: is a keep-alive due, or is the node too slow?
    fn poll_pace(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let streaming = matches!(self.phase, Phase::Streaming(_));
        // While a node is being opened, the opening itself listens.
        if streaming && let Poll::Ready(error) = self.standing.poll_stopped(cx) {
            if let Some(exchange) = self.exchange.as_mut() {
                exchange.note_failure(&error.message);
            }
            self.give_up(error);
            return Poll::Ready(true);
        }
        match self.pace.poll(cx, streaming, self.sent) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Due::KeepAlive) => {
                self.pending = Some(self.comment());
                Poll::Ready(true)
            }
            Poll::Ready(Due::Look) => {
                self.give_up_the_dead();
                Poll::Ready(true)
            }
            Poll::Ready(Due::Stalled(limit)) => {
                let node = self.standing.lock().node.clone().unwrap_or_default();
                self.lost(Failure::node(
                    "stall",
                    ApiError::new(
                        ErrorKind::Timeout,
                        format!("node {node} sent nothing for {} s", limit.as_secs()),
                    ),
                ));
                Poll::Ready(true)
            }
        }
    }

    /// Goes to another node when the one that is waited for was given up.
    fn give_up_the_dead(&mut self) {
        let (Some(exchange), Phase::Streaming(stream)) = (&self.exchange, &self.phase) else {
            return;
        };
        let node = &stream.opened.chosen.replica.node.view;
        if has_died(exchange.shared(), node.id) {
            let failure = refusal::died(&node.name);
            self.lost(failure);
        }
    }

    fn begin(&mut self, opened: Opened) {
        let Some(exchange) = self.exchange.as_mut() else {
            return;
        };
        let translated = !matches!(
            opened.source,
            attempt::Source::Http {
                answer: crate::upstream::prepare::Answer::Pass { .. },
                streamed: true,
                ..
            }
        );
        if translated
            && let Err(error) =
                write_ourselves(exchange, &mut self.encoder, &self.observer, self.sent)
        {
            self.give_up(error);
            return;
        }
        self.stopped = (exchange.class == Class::Batch && !self.sent)
            .then(|| Box::pin(admission::has_to_give_way(exchange)) as _);
        self.pace.progressed(exchange.shared().clock.monotonic());
        self.phase = Phase::Streaming(Box::new(Stream::new(opened)));
    }

    fn on_progress(&mut self, progress: Progress, now: MonotonicTime) {
        // Pings and half frames prove that a server is there, not that its engine works.
        if !matches!(progress, Progress::Nothing) {
            self.pace.progressed(now);
            if let (Some(exchange), Phase::Streaming(stream)) =
                (self.exchange.as_mut(), &mut self.phase)
                && stream.has_content
            {
                stream.opened.chosen.place.first_token();
                stream
                    .opened
                    .chosen
                    .replica
                    .node
                    .view
                    .activity
                    .progressed(now);
                exchange.note_first_token();
            }
        }
        match progress {
            Progress::Send(bytes) => self.send(bytes, now),
            Progress::Nothing => {}
            Progress::Complete(bytes) => {
                self.send(bytes, now);
                self.complete();
            }
            Progress::Lost(bytes, failure) => {
                self.send(bytes, now);
                self.lost(failure);
            }
        }
    }

    fn send(&mut self, bytes: Bytes, now: MonotonicTime) {
        if !bytes.is_empty() {
            self.sent = true;
            self.pace.sent(now);
            self.pending = Some(bytes);
        }
    }

    /// Adds to what is ready to be sent.
    fn append(&mut self, more: BytesMut) {
        if more.is_empty() {
            return;
        }
        self.pending = Some(match self.pending.take() {
            None => more.freeze(),
            Some(before) => {
                let mut both = BytesMut::from(before.as_ref());
                both.extend_from_slice(&more);
                both.freeze()
            }
        });
    }

    /// Gives the node up to a more important call, and waits again.
    fn give_way(&mut self) {
        let phase = std::mem::replace(&mut self.phase, Phase::Ended(None));
        let (Phase::Streaming(stream), Some(mut exchange)) = (phase, self.exchange.take()) else {
            return;
        };
        drop(stream);
        admission::gave_way(&mut exchange);
        self.open_again(exchange);
    }

    /// Starts over: nothing of an answer has gone out.
    fn open_again(&mut self, exchange: Box<Exchange>) {
        self.observer = Observer::new(exchange.operation);
        self.encoder = None;
        self.stopped = None;
        self.phase = Phase::Opening(opening(exchange, Wanted::Original { may_pass: true }));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // The client went away (or the answer has ended, and this changes nothing): what it got was made all the same.
        if let Some(mut exchange) = self.exchange.take() {
            let usage = self.usage(&exchange);
            exchange.abandon(usage);
        }
    }
}

fn opening(mut exchange: Box<Exchange>, wanted: Wanted) -> Opening {
    Box::pin(async move {
        let limit: Duration = exchange.shared().config().first_token_timeout;
        let standing = exchange.standing.clone();
        let opened = tokio::select! {
            biased;
            opened = attempt::open(&mut exchange, &wanted, limit) => opened,
            error = standing.stopped() => Err(error),
        };
        (exchange, opened)
    })
}
