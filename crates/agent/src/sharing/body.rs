//! A file, or a part of it, on its way to another node.

use std::io::{self, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use futures_util::stream::unfold;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::sync::OwnedSemaphorePermit;

use super::Sharing;

/// What one read asks for.
const READ: usize = 64 << 10;

/// What is sent.
pub(super) type SharedBody = UnsyncBoxBody<Bytes, io::Error>;

/// Returns a body that is there at once.
pub(super) fn whole(bytes: impl Into<Bytes>) -> SharedBody {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A part of a file that is being sent.
struct Sending {
    file: File,
    left: u64,
    sharing: Arc<Sharing>,
    /// Grows while something is taken.
    taken: Arc<AtomicU64>,
    _place: OwnedSemaphorePermit,
}

/// Opens a file whose size is known.
pub(super) async fn open(path: &Path, size: u64) -> io::Result<File> {
    let file = File::open(path).await?;
    let found = file.metadata().await?;
    if !found.is_file() || found.len() != size {
        return Err(io::Error::other("the file is not as large as it should be"));
    }
    Ok(file)
}

/// Sends a part of a file as it is taken.
pub(super) async fn part(
    mut file: File,
    (start, end): (u64, u64),
    sharing: Arc<Sharing>,
    taken: Arc<AtomicU64>,
    place: OwnedSemaphorePermit,
) -> io::Result<SharedBody> {
    file.seek(SeekFrom::Start(start)).await?;
    let sending = Sending {
        file,
        left: end.saturating_sub(start),
        sharing,
        taken,
        _place: place,
    };
    let pieces = unfold(sending, |mut sending| async move {
        if sending.left == 0 {
            return None;
        }
        let most = READ.min(usize::try_from(sending.left).unwrap_or(READ));
        let mut buffer = BytesMut::with_capacity(most);
        let read = (&mut sending.file)
            .take(most as u64)
            .read_buf(&mut buffer)
            .await;
        let read = match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(buffer.freeze()),
            Err(error) => Err(error),
        };
        let length = read.as_ref().map_or(0, Bytes::len) as u64;
        // After an error nothing follows.
        sending.left = if read.is_ok() {
            sending.left - length
        } else {
            0
        };
        sending.sharing.sent.fetch_add(length, Ordering::Relaxed);
        sending.taken.fetch_add(1, Ordering::Relaxed);
        Some((read.map(Frame::data), sending))
    });
    Ok(StreamBody::new(pieces).boxed_unsync())
}
