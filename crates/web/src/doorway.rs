//! A client's connection at whose door requests can be turned away.
//!
//! A server that has more to do than it can must say no to most of it, and to take a request apart, hand it on and write an answer's head
//! costs as much as some requests themselves. So a doorkeeper may look at the bytes of a request as they come, and give the whole answer.
//! Nobody behind the door hears of such a request.
//!
//! Clients that ask again at once, whatever they were told, would keep a server busy with saying no: what comes next on their connection
//! is looked at a little later.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::turn::Turn;

/// The time for which nothing is read on a connection after a request was turned away. Who waits for as long as was said does not
/// notice; a proxy whose clients share the connection does not lose much by it.
const REST: Duration = Duration::from_millis(50);

/// Nothing is under way on the connection.
const BETWEEN_REQUESTS: u8 = 0;
/// A request was let in.
const LET_IN: u8 = 1;
/// Its answer is made, all of it, and goes out with the next flush.
const ANSWERED: u8 = 2;

/// Who decides which requests are turned away.
pub trait Doorkeeper: Send + Sync {
    /// Returns the answer, head and body, to what came on a connection where no request is under way, if it is turned away. That it is one
    /// whole request must be seen to.
    fn turn_away(&self, came: &[u8]) -> Option<Bytes>;
}

/// A connection with a door.
pub struct Doorway<T> {
    stream: T,
    keeper: Option<Arc<dyn Doorkeeper>>,
    visit: Visit,
    let_in: Instant,
    patience: Duration,
    rest: Option<Pin<Box<Sleep>>>,
    /// Before each answer, or piece of one.
    turn: Turn,
}

/// Whether a request is under way on a connection, and whether one ever was. Clones share that.
#[derive(Clone, Debug, Default)]
pub struct Visit(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    state: AtomicU8,
    asked: AtomicBool,
    hands_over: AtomicBool,
}

impl Visit {
    /// Takes note that the answer is made, all of it: the next request can be turned away once that one has gone out. Without this none is.
    pub fn answered(&self) {
        self.becomes(ANSWERED);
    }

    /// Takes note that a request has come, whole head and all.
    pub fn asked(&self) {
        self.0.asked.store(true, Ordering::Relaxed);
    }

    /// Tells whether one ever has.
    pub fn was_asked(&self) -> bool {
        self.0.asked.load(Ordering::Relaxed)
    }

    /// Takes note that a request wants another protocol. Whoever serves the connection may let go of it as soon as such a request is answered,
    /// even if that was refused, and of what was not written by then: from now on everything is written at once.
    pub fn may_hand_over(&self) {
        self.0.hands_over.store(true, Ordering::Relaxed);
    }

    fn is(&self, state: u8) -> bool {
        self.0.state.load(Ordering::Relaxed) == state
    }

    fn becomes(&self, state: u8) {
        self.0.state.store(state, Ordering::Relaxed);
    }
}

impl<T> Doorway<T> {
    /// Makes a door without a keeper: whatever comes is let in.
    pub fn open(stream: T) -> Self {
        Self {
            stream,
            keeper: None,
            visit: Visit::default(),
            let_in: Instant::now(),
            patience: Duration::ZERO,
            rest: None,
            turn: Turn::default(),
        }
    }

    /// Has requests turned away. After `patience` without one that was let in the next one is: who waits behind the door takes a connection
    /// on which nothing comes for an idle one.
    #[must_use]
    pub fn with_keeper(mut self, keeper: Arc<dyn Doorkeeper>, patience: Duration) -> Self {
        self.keeper = Some(keeper);
        self.patience = patience;
        self
    }

    /// Returns what tells the door of answers.
    pub fn visit(&self) -> Visit {
        self.visit.clone()
    }

    /// Takes the door away.
    pub fn into_inner(self) -> T {
        self.stream
    }

    /// Lets others go first, once for each answer or piece of one.
    fn poll_turn(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.visit.0.hands_over.load(Ordering::Relaxed) {
            return Poll::Ready(());
        }
        self.turn.poll(cx)
    }

    fn turn_away(&self, came: &[u8]) -> Option<Bytes> {
        let keeper = self.keeper.as_ref()?;
        if !self.visit.is(BETWEEN_REQUESTS) || self.let_in.elapsed() > self.patience {
            return None;
        }
        keeper.turn_away(came)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Doorway<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        loop {
            if let Some(rest) = &mut this.rest {
                ready!(rest.as_mut().poll(cx));
                this.rest = None;
            }
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
            let came = buf.filled().get(before..).unwrap_or_default();
            let Some(answer) = this.turn_away(came) else {
                break;
            };
            match Pin::new(&mut this.stream).poll_write(cx, &answer) {
                Poll::Ready(Ok(written)) if written == answer.len() => {
                    buf.set_filled(before);
                    this.rest = Some(Box::pin(sleep(REST)));
                }
                // Half an answer: there is no way to go on.
                Poll::Ready(Ok(_)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                // Who does not read answers is let in, where that is waited for.
                Poll::Pending => break,
            }
        }
        if this.keeper.is_some() {
            this.visit.becomes(LET_IN);
            this.let_in = Instant::now();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Doorway<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_turn(cx));
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_turn(cx));
        Pin::new(&mut this.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        this.turn.over();
        if this.visit.is(ANSWERED) {
            this.visit.becomes(BETWEEN_REQUESTS);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// Turns away what begins with an exclamation mark.
    struct Strict;

    impl Doorkeeper for Strict {
        fn turn_away(&self, came: &[u8]) -> Option<Bytes> {
            came.starts_with(b"!").then(|| Bytes::from_static(b"no"))
        }
    }

    async fn read(stream: &mut (impl AsyncRead + Unpin)) -> String {
        let mut text = [0; 64];
        let count = stream.read(&mut text).await.unwrap();
        String::from_utf8_lossy(&text[..count]).into_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_again_at_once_is_looked_at_later() {
        let (mut client, server) = duplex(1024);
        let mut door = Doorway::open(server).with_keeper(Arc::new(Strict), Duration::from_mins(1));
        let began = tokio::time::Instant::now();
        client.write_all(b"!one").await.unwrap();
        let (come, ()) = tokio::join!(read(&mut door), async {
            for asked in ["!two", "three"] {
                assert_eq!(read(&mut client).await, "no");
                client.write_all(asked.as_bytes()).await.unwrap();
            }
        });
        assert_eq!(come, "three");
        assert_eq!(began.elapsed(), 2 * REST);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_turned_away_is_answered_at_the_door_and_never_during_a_visit() {
        let (mut client, server) = duplex(1024);
        let mut door = Doorway::open(server).with_keeper(Arc::new(Strict), Duration::from_mins(1));
        let visit = door.visit();
        client.write_all(b"!one").await.unwrap();
        // The door reads on behind what it has turned away.
        let (come, told) = tokio::join!(read(&mut door), async {
            let told = read(&mut client).await;
            client.write_all(b"two").await.unwrap();
            told
        });
        assert_eq!((&*told, &*come), ("no", "two"));
        // Neither before the answer to "two" is made nor before it has gone out.
        client.write_all(b"!three").await.unwrap();
        assert_eq!(read(&mut door).await, "!three");
        visit.answered();
        client.write_all(b"!four").await.unwrap();
        assert_eq!(read(&mut door).await, "!four");
        visit.answered();
        door.write_all(b"done").await.unwrap();
        door.flush().await.unwrap();
        assert_eq!(read(&mut client).await, "done");
        client.write_all(b"!five").await.unwrap();
        let (come, told) = tokio::join!(read(&mut door), async {
            let told = read(&mut client).await;
            drop(client);
            told
        });
        assert_eq!((&*told, &*come), ("no", ""));
    }

    /// Counts how often a task is woken.
    #[derive(Default)]
    struct Woken(std::sync::atomic::AtomicUsize);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn others_go_first_once_and_who_waits_for_room_sleeps() {
        let (mut client, server) = duplex(4);
        let mut door = Doorway::open(server);
        let woken = Arc::new(Woken::default());
        let waker = Arc::clone(&woken).into();
        let mut cx = Context::from_waker(&waker);
        let times = || woken.0.load(Ordering::Relaxed);
        let mut write = |door: &mut Doorway<_>| Pin::new(door).poll_write(&mut cx, b"four");
        assert!(write(&mut door).is_pending() && times() == 1);
        assert!(matches!(write(&mut door), Poll::Ready(Ok(4))));
        // There is no room, however often it is tried.
        for _ in 0..4 {
            assert!(write(&mut door).is_pending());
        }
        assert_eq!(times(), 1);
        assert_eq!(read(&mut client).await, "four");
        assert_eq!(times(), 2);
        assert!(matches!(write(&mut door), Poll::Ready(Ok(4))));
        // The next answer begins anew, unless the connection may be handed over.
        door.flush().await.unwrap();
        assert_eq!(read(&mut client).await, "four");
        assert!(write(&mut door).is_pending() && times() == 3);
        assert!(matches!(write(&mut door), Poll::Ready(Ok(4))));
        door.flush().await.unwrap();
        assert_eq!(read(&mut client).await, "four");
        door.visit().may_hand_over();
        assert!(matches!(write(&mut door), Poll::Ready(Ok(4))));
        assert_eq!(times(), 3);
    }

    #[tokio::test]
    async fn who_does_not_read_answers_is_let_in() {
        let (mut client, server) = duplex(4);
        let mut door = Doorway::open(server).with_keeper(Arc::new(Strict), Duration::from_mins(1));
        for _ in 0..2 {
            door.stream.write_all(b"xx").await.unwrap();
        }
        client.write_all(b"!").await.unwrap();
        assert_eq!(read(&mut door).await, "!");
        let mut open = Doorway::open(door.into_inner());
        client.write_all(b"!").await.unwrap();
        assert_eq!(read(&mut open).await, "!");
    }
}
