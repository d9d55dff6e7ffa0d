//! The bytes of a model where they lie: in a mapped file, whose pages the system can drop and read again, or in the program.

use std::fs::File;
use std::ops::{Deref, Range};
use std::sync::Arc;

use memmap2::Mmap;

use super::{Refusal, Source};

#[derive(Clone, Debug)]
enum Whole {
    Mapped(Arc<Mmap>),
    Embedded(&'static [u8]),
}

/// Bytes of a model. They stay where they are as long as there is a copy of this.
#[derive(Clone, Debug)]
pub(crate) struct Bytes {
    whole: Whole,
    range: Range<usize>,
}

impl Bytes {
    /// Takes everything at `source`.
    pub(crate) fn of(source: &Source) -> Result<Self, Refusal> {
        let whole = match source {
            Source::Path(path) => {
                let map = File::open(path).and_then(|file| {
                    #[expect(
                        unsafe_code,
                        reason = "reading weights into memory would hold them twice"
                    )]
                    // SAFETY: bytes of weights may have any value. Whoever cuts a file short while it is served ends the program,
                    // as with every program that maps its files; `EngineConfig::models` says so.
                    unsafe {
                        Mmap::map(&file)
                    }
                });
                let map = map.map_err(|error| Refusal(format!("cannot map the file: {error}")))?;
                Whole::Mapped(Arc::new(map))
            }
            Source::Embedded(bytes) => Whole::Embedded(bytes),
        };
        let mut bytes = Self { whole, range: 0..0 };
        bytes.range = 0..bytes.all().len();
        Ok(bytes)
    }

    /// Takes a part; `None` when it reaches over the end.
    pub(crate) fn part(&self, range: Range<usize>) -> Option<Self> {
        let range =
            self.range.start.checked_add(range.start)?..self.range.start.checked_add(range.end)?;
        (range.start <= range.end && range.end <= self.range.end).then(|| Self {
            whole: self.whole.clone(),
            range,
        })
    }

    fn all(&self) -> &[u8] {
        match &self.whole {
            Whole::Mapped(map) => map,
            Whole::Embedded(bytes) => bytes,
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.all().get(self.range.clone()).unwrap_or_default()
    }
}
