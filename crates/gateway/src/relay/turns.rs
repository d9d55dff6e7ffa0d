//! Who goes first on a worker: a new request and a first token before the next piece of a stream that is under way.
//!
//! A worker runs its tasks in the order in which they become ready. With many fast streams each of them has something to read
//! whenever it is asked, and whoever comes new waits until all have read, written and been written for. So a stream that has begun
//! and has more to read stands aside first. After every look at the sockets those who have stood aside longest are let through, a
//! few at a time, behind whatever has just come.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// This part of the streams that stand aside goes on between two looks at the sockets; at least one.
const SHARE: usize = 8;

/// The streams of one worker that stand aside, at most one entry for each turn asked for.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    line: Mutex<Line>,
    wanted: Notify,
}

/// Who stands aside, in order of arrival. The first has number `granted`.
#[derive(Debug, Default)]
struct Line {
    wakers: VecDeque<Waker>,
    granted: u64,
}

impl Turns {
    /// Deals turns for as long as the worker lives.
    pub(crate) async fn deal(&self) {
        loop {
            self.wanted.notified().await;
            while self.let_some_through() {
                // Comes back after the runtime has looked at the sockets.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Returns whether anybody stood aside.
    fn let_some_through(&self) -> bool {
        let mut line = self.line.lock();
        let count = line.wakers.len().div_ceil(SHARE);
        line.granted += count as u64;
        // Waking takes no lock of ours: it puts a task into the worker's own queue.
        line.wakers.drain(..count).for_each(Waker::wake);
        count > 0
    }
}

/// One stream's turn: none, or waited for.
#[derive(Debug)]
pub(super) struct MyTurn {
    turns: Arc<Turns>,
    /// Its number in the line while it stands aside.
    number: Option<u64>,
}

impl MyTurn {
    /// Makes a stream's turn, which it does not wait for.
    pub(super) const fn new(turns: Arc<Turns>) -> Self {
        Self {
            turns,
            number: None,
        }
    }

    /// Stands aside until it is this stream's turn.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut line = self.turns.line.lock();
        match self.number {
            Some(number) if number < line.granted => {
                self.number = None;
                return Poll::Ready(());
            }
            Some(number) => {
                let place = (number - line.granted) as usize;
                if let Some(waker) = line.wakers.get_mut(place) {
                    waker.clone_from(cx.waker());
                }
            }
            None => {
                self.number = Some(line.granted + line.wakers.len() as u64);
                line.wakers.push_back(cx.waker().clone());
                if line.wakers.len() == 1 {
                    self.turns.wanted.notify_one();
                }
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Polls those that stand aside and returns how many may go on.
    fn ready(streams: &mut [MyTurn]) -> usize {
        let mut cx = Context::from_waker(Waker::noop());
        let aside = streams.iter_mut().filter(|turn| turn.number.is_some());
        aside
            .filter_map(|turn| turn.poll(&mut cx).is_ready().then_some(()))
            .count()
    }

    #[test]
    fn who_stood_aside_longest_goes_first_and_a_few_at_a_time() {
        let turns = Arc::new(Turns::default());
        let mut cx = Context::from_waker(Waker::noop());
        let mut streams: Vec<_> = (0..20).map(|_| MyTurn::new(turns.clone())).collect();
        assert!(
            streams
                .iter_mut()
                .all(|turn| turn.poll(&mut cx).is_pending())
        );
        assert!(turns.let_some_through());
        assert_eq!(ready(&mut streams[..3]), 3);
        assert_eq!(ready(&mut streams), 0);
        // One that is gone keeps nobody waiting.
        drop(streams.remove(3));
        assert!(turns.let_some_through());
        assert_eq!(ready(&mut streams), 2);
        while turns.let_some_through() {}
        assert_eq!(ready(&mut streams), 14);
        // A turn is for once.
        assert!(streams[0].poll(&mut cx).is_pending());
    }
}
