//! Loading ahead of need: the model whose line grows gets one more copy before anybody is sent to it.

use std::time::Duration;

/// What [`prewarm`] needs to know of a model's demand.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// Calls that wait for the model.
    pub waiting: u32,
    /// Copies that are loaded.
    pub loaded: u32,
    /// Whether a copy is being loaded.
    pub loading: bool,
    /// How long the waiting calls will probably take with the copies there are.
    pub expected_wait: Duration,
    /// How long loading one more copy takes.
    pub load_time: Duration,
}

/// Calls that must wait before another copy is worth loading.
const PREWARM_WAITING: u32 = 3;

/// Tells whether one more copy of a model should be loaded before anybody is sent to it: when the line is longer than the load
/// takes. One at a time.
pub fn prewarm(demand: &Demand) -> bool {
    !demand.loading
        && demand.waiting >= PREWARM_WAITING
        && (demand.loaded == 0 || demand.expected_wait > demand.load_time)
}

/// A node that has a model on disk and could load it ahead of need.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// Memory that is free, in bytes; `None` when the node does not tell.
    pub free_bytes: Option<u64>,
    /// Memory of models that nobody uses or waits for, in bytes: they would be driven out.
    pub unused_bytes: u64,
    /// Whether it loads a model already, is down or takes no new work.
    pub busy: bool,
    /// How long loading takes there.
    pub load_time: Duration,
}

/// Chooses where to load a model of `bytes` ahead of need: where it fits beside the others, then where only models that nobody
/// wants must go; among equals where loading is fastest. Models in use are never driven out for it, and of a node that does not
/// tell its memory nothing is driven out. `None` when no host will do.
pub fn best_host(hosts: &[Host], bytes: u64) -> Option<usize> {
    hosts
        .iter()
        .enumerate()
        .filter(|(_, host)| !host.busy)
        .filter_map(|(index, host)| {
            let free = host.free_bytes?;
            let drives_out = free < bytes;
            (free.saturating_add(host.unused_bytes) >= bytes)
                .then_some(((drives_out, host.load_time), index))
        })
        .min_by_key(|(cost, _)| *cost)
        .map(|(_, index)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_copy_is_loaded_when_the_line_is_longer_than_the_load() {
        let demand = Demand {
            waiting: 5,
            loaded: 1,
            loading: false,
            expected_wait: Duration::from_secs(30),
            load_time: Duration::from_secs(12),
        };
        assert!(prewarm(&demand));
        assert!(!prewarm(&Demand {
            waiting: 2,
            ..demand
        }));
        assert!(!prewarm(&Demand {
            loading: true,
            ..demand
        }));
        assert!(!prewarm(&Demand {
            load_time: Duration::from_mins(1),
            ..demand
        }));
        assert!(prewarm(&Demand {
            loaded: 0,
            expected_wait: Duration::ZERO,
            ..demand
        }));
    }

    #[test]
    fn it_goes_where_nobody_is_driven_out_or_only_who_is_not_wanted() {
        let seconds = Duration::from_secs;
        let host = |free_bytes, unused_bytes, load_s| Host {
            free_bytes,
            unused_bytes,
            busy: false,
            load_time: seconds(load_s),
        };
        let full = host(Some(0), 0, 1);
        let unused = host(Some(2), 8, 2);
        let empty = host(Some(24), 0, 9);
        assert_eq!(best_host(&[full, unused, empty], 8), Some(2));
        assert_eq!(best_host(&[full, unused], 8), Some(1));
        assert_eq!(best_host(&[full, host(None, 8, 1)], 8), None);
        let faster = host(Some(8), 0, 3);
        assert_eq!(best_host(&[empty, faster], 8), Some(1));
        let busy = Host {
            busy: true,
            ..faster
        };
        assert_eq!(best_host(&[empty, busy], 8), Some(0));
        assert_eq!(best_host(&[], 8), None);
    }
}
