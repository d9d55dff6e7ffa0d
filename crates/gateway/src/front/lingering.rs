//! Bodies of requests that are answered before they were read to the end.
//!
//! Many clients send all of a body before they listen. If the connection were closed under them, they would report a broken pipe
//! instead of the answer, which says why their request was refused. So what is left of such a body is read and thrown away while
//! the answer is sent, within bounds (as other servers do: nginx's `lingering_close`).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::runtime::Handle;

/// Bytes that are thrown away at most.
const DISCARDED: usize = 64 << 20;
/// Time for that.
const DISCARDING: Duration = Duration::from_secs(5);

/// The body of a request, which is read on for a while when it is dropped before its end.
#[derive(Debug)]
pub(crate) struct LingeringBody {
    /// `None` once it has ended.
    left: Option<Incoming>,
    /// Who asks first (`Expect: 100-continue`) has sent nothing before somebody reads.
    untouched: bool,
}

impl LingeringBody {
    pub(crate) fn of(request: Request<Incoming>) -> Request<Self> {
        let untouched = request.headers().contains_key(header::EXPECT);
        request.map(|body| Self {
            left: (!body.is_end_stream()).then_some(body),
            untouched,
        })
    }
}

impl Body for LingeringBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.untouched = false;
        let Some(body) = &mut self.left else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.left = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.left.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for LingeringBody {
    fn drop(&mut self) {
        if self.untouched || self.is_end_stream() {
            return;
        }
        if let (Some(body), Ok(runtime)) = (self.left.take(), Handle::try_current()) {
            // However it ends, the connection can be closed then.
            runtime.spawn(tokio::time::timeout(DISCARDING, discard(body)));
        }
    }
}

async fn discard(mut body: Incoming) {
    let mut left = DISCARDED;
    while let Some(Ok(frame)) = body.frame().await {
        match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
