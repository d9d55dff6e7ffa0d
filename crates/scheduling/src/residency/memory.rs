//! What a node's memory holds: whom to drive out for another model, and what is known where the node does not tell.

use primitives::MonotonicTime;

/// One model in a node's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resident {
    /// What it takes of the memory, in bytes.
    pub bytes: u64,
    /// Calls that run on it: while there are any it stays.
    pub in_flight: u32,
    /// When a call last began or ended on it; `None` when none did.
    pub last_used: Option<MonotonicTime>,
}

/// Chooses the models that must go so that `needed` bytes become free: those without calls, the longest unused first, and none
/// more than needed. Returns their indices; `None` when even all of them would not do.
pub fn evictions(residents: &[Resident], needed: u64) -> Option<Vec<usize>> {
    let mut idle: Vec<usize> = residents
        .iter()
        .enumerate()
        .filter(|(_, resident)| resident.in_flight == 0)
        .map(|(index, _)| index)
        .collect();
    let bytes = |index: &usize| residents.get(*index).map_or(0, |resident| resident.bytes);
    idle.sort_by_key(|index| {
        residents
            .get(*index)
            .and_then(|resident| resident.last_used)
    });
    let mut freed = 0_u64;
    let mut gone = Vec::new();
    for index in idle {
        if freed >= needed {
            break;
        }
        freed = freed.saturating_add(bytes(&index));
        gone.push(index);
    }
    if freed < needed {
        return None;
    }
    // Who was taken early may not be needed any more beside a larger one that was taken later.
    let mut spare = freed - needed;
    gone.retain(|index| {
        let stays = bytes(index) <= spare;
        if stays {
            spare -= bytes(index);
        }
        !stays
    });
    Some(gone)
}

/// What a node that does not tell its memory was seen to hold: models seen together fit together, and a model that vanished when
/// another one was loaded did not fit beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LearnedMemory {
    fits: u64,
    too_much: Option<u64>,
}

impl LearnedMemory {
    /// Notes the sum of all models that are in the memory now.
    pub fn seen(&mut self, together_bytes: u64) {
        self.fits = self.fits.max(together_bytes);
        // The memory was given more, or models became smaller (another context, another quantisation).
        self.too_much = self.too_much.filter(|bytes| *bytes > self.fits);
    }

    /// Notes that loading a model drove others out which in sum with it have `together_bytes`.
    pub fn driven_out(&mut self, together_bytes: u64) {
        if together_bytes > self.fits {
            self.too_much = Some(
                self.too_much
                    .map_or(together_bytes, |bytes| bytes.min(together_bytes)),
            );
        }
    }

    /// Returns the bytes that are certainly free beside `loaded_bytes` for a model of `bytes`: `Some(bytes)` or more when it was
    /// seen to fit, less when it was seen not to, `None` when nobody knows yet and trying will tell.
    pub const fn free_for(&self, bytes: u64, loaded_bytes: u64) -> Option<u64> {
        let together = loaded_bytes.saturating_add(bytes);
        match self.too_much {
            _ if together <= self.fits => Some(self.fits - loaded_bytes),
            Some(too_much) if together >= too_much => Some(self.fits.saturating_sub(loaded_bytes)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident(bytes: u64, in_flight: u32, used: u64) -> Resident {
        Resident {
            bytes,
            in_flight,
            last_used: Some(MonotonicTime::from_micros(used)),
        }
    }

    #[test]
    fn who_was_unused_longest_goes_and_who_generates_stays() {
        let residents = [resident(8, 0, 30), resident(8, 1, 10), resident(4, 0, 20)];
        assert_eq!(evictions(&residents, 0), Some(vec![]));
        assert_eq!(evictions(&residents, 4), Some(vec![2]));
        assert_eq!(evictions(&residents, 12), Some(vec![2, 0]));
        assert_eq!(evictions(&residents, 13), None, "the other one generates");
        assert_eq!(
            evictions(&residents, 8),
            Some(vec![0]),
            "the smaller one may stay"
        );
    }

    #[test]
    fn a_silent_nodes_memory_is_learned_from_what_it_held() {
        let mut memory = LearnedMemory::default();
        assert_eq!(memory.free_for(8, 0), None);
        memory.seen(8);
        assert_eq!(memory.free_for(8, 0), Some(8));
        assert_eq!(memory.free_for(8, 8), None, "trying will tell");
        memory.driven_out(16);
        assert_eq!(memory.free_for(8, 8), Some(0));
        assert_eq!(memory.free_for(6, 8), None);
        memory.seen(20);
        assert_eq!(memory.free_for(8, 8), Some(12), "it has more by now");
    }
}
