//! Writes that let other tasks go first, so that many go out together.
//!
//! Whoever waits for what is written is woken by it. Where it sleeps on another processor, that takes the kernel longer than the write
//! itself; and a peer that is woken for one piece at a time sleeps again before the next. So a write waits until the tasks that are ready
//! have had their turn, and put their own off until then: the first of them wakes the peer, which is still awake for the others.
//! What has nobody to wait for goes out at once.
//!
//! This is about when to write. Which of many streams reads next is the gateway's (`relay/turns.rs`).

use std::task::{Context, Poll};

/// Whether the task has let others go first before what it is about to write.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    others_were_first: bool,
}

impl Turn {
    /// Is pending once, with the task woken to be run behind those that are ready, and ready from then on until it is [over](Self::over):
    /// who waits for room to write, or writes in pieces, has let others go first already.
    pub fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.others_were_first {
            return Poll::Ready(());
        }
        self.others_were_first = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes note that all is written.
    pub fn over(&mut self) {
        self.others_were_first = false;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::poll_fn;
    use std::rc::Rc;

    use tokio::task::LocalSet;

    use super::*;

    #[tokio::test]
    async fn all_that_are_ready_have_their_turn_before_the_first_goes_on() {
        let told = Rc::new(RefCell::new(String::new()));
        let tasks = LocalSet::new();
        for name in ['a', 'b', 'c'] {
            let told = Rc::clone(&told);
            tasks.spawn_local(async move {
                let mut turn = Turn::default();
                for _ in 0..2 {
                    told.borrow_mut().push(name);
                    poll_fn(|cx| turn.poll(cx)).await;
                    // A second piece goes with the first.
                    poll_fn(|cx| turn.poll(cx)).await;
                    turn.over();
                    told.borrow_mut().push(name.to_ascii_uppercase());
                }
            });
        }
        tasks.await;
        // What comes after a write is done at once, up to the next one.
        assert_eq!(*told.borrow(), "abcAaBbCcABC");
    }
}
