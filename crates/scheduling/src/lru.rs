//! A bounded set that forgets what was used longest ago: what the router remembers of a node's prefix cache, and in simulations
//! the cache itself.

use crate::hashing::NumberMap;

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    key: u64,
    newer: u32,
    older: u32,
}

/// What touching a key changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    /// Only the order.
    Known,
    /// The key is new.
    Added,
    /// The key is new and this one is gone for it.
    InPlaceOf(u64),
}

/// Keys in the order of their last use; at most `capacity` of them.
#[derive(Clone, Debug)]
pub(crate) struct LruSet {
    capacity: usize,
    index: NumberMap<u64, u32>,
    links: Vec<Link>,
    newest: u32,
    oldest: u32,
}

impl LruSet {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.min(NONE as usize - 1),
            index: NumberMap::default(),
            links: Vec::new(),
            newest: NONE,
            oldest: NONE,
        }
    }

    pub(crate) fn contains(&self, key: u64) -> bool {
        self.index.contains_key(&key)
    }

    /// Makes a key the newest, taking the place of the oldest when the set is full.
    pub(crate) fn touch(&mut self, key: u64) -> Touched {
        if let Some(place) = self.index.get(&key).copied() {
            if place != self.newest {
                self.unlink(place);
                self.link(place);
            }
            return Touched::Known;
        }
        if self.capacity == 0 {
            return Touched::Known;
        }
        let mut touched = Touched::Added;
        let place = if self.links.len() < self.capacity {
            self.links.push(Link {
                key,
                newer: NONE,
                older: NONE,
            });
            self.links.len() as u32 - 1
        } else {
            let place = self.oldest;
            self.unlink(place);
            if let Some(link) = self.links.get_mut(place as usize) {
                self.index.remove(&link.key);
                touched = Touched::InPlaceOf(link.key);
                link.key = key;
            }
            place
        };
        self.index.insert(key, place);
        self.link(place);
        touched
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Lists the keys, in no particular order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = u64> {
        self.index.keys().copied()
    }

    /// Changes how many keys there may be. Fewer than there are now: the oldest go, and are returned.
    pub(crate) fn resize(&mut self, capacity: usize) -> Vec<u64> {
        if capacity >= self.links.len() {
            self.capacity = capacity.min(NONE as usize - 1);
            return Vec::new();
        }
        let mut newest_first = Vec::with_capacity(capacity);
        let mut place = self.newest;
        while newest_first.len() < capacity
            && let Some(link) = self.links.get(place as usize)
        {
            newest_first.push(link.key);
            place = link.older;
        }
        let mut gone = Vec::new();
        while let Some(link) = self.links.get(place as usize) {
            gone.push(link.key);
            place = link.older;
        }
        *self = Self::new(capacity);
        for key in newest_first.into_iter().rev() {
            self.touch(key);
        }
        gone
    }

    pub(crate) fn clear(&mut self) {
        self.index.clear();
        self.links.clear();
        (self.newest, self.oldest) = (NONE, NONE);
    }

    fn unlink(&mut self, place: u32) {
        let Some(Link { newer, older, .. }) = self.links.get(place as usize).copied() else {
            return;
        };
        match self.links.get_mut(newer as usize) {
            Some(link) => link.older = older,
            None => self.newest = older,
        }
        match self.links.get_mut(older as usize) {
            Some(link) => link.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link(&mut self, place: u32) {
        let older = self.newest;
        if let Some(link) = self.links.get_mut(older as usize) {
            link.newer = place;
        } else {
            self.oldest = place;
        }
        if let Some(link) = self.links.get_mut(place as usize) {
            (link.newer, link.older) = (NONE, older);
        }
        self.newest = place;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first() {
        let mut set = LruSet::new(3);
        for key in [1, 2, 3, 1, 4] {
            set.touch(key);
        }
        let kept: Vec<u64> = (0..6).filter(|key| set.contains(*key)).collect();
        assert_eq!(kept, [1, 3, 4]);
        set.touch(3);
        set.touch(5);
        assert!(!set.contains(1) && set.contains(3));
        set.clear();
        set.touch(9);
        assert!(set.contains(9) && !set.contains(3));
        for key in 10..20 {
            set.touch(key);
        }
        assert_eq!(set.resize(2), [17]);
        let kept: Vec<u64> = (0..30).filter(|key| set.contains(*key)).collect();
        assert_eq!(kept, [18, 19]);
        assert!(set.resize(4).is_empty());
        assert_eq!(set.touch(19), Touched::Known);
        assert_eq!(set.touch(1), Touched::Added);
        set.touch(2);
        assert_eq!(set.touch(3), Touched::InPlaceOf(18));
        assert!(set.contains(19) && !set.contains(18) && set.len() == 4);
        let mut none = LruSet::new(0);
        none.touch(1);
        assert!(!none.contains(1));
    }
}
