//! Which places hold a block, for all blocks at once: a prompt's warm places are found by its blocks, not by asking each place.

use crate::hashing::NumberMap;

/// The places that hold one block.
#[derive(Clone, Debug)]
enum Places {
    One(u32),
    /// A bit for each place, and how many are set.
    Many(u32, Box<[u64]>),
}

/// The places that hold each block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holders {
    places: NumberMap<u64, Places>,
}

const BITS: u32 = u64::BITS;

fn has(words: &[u64], place: u32) -> bool {
    words
        .get((place / BITS) as usize)
        .is_some_and(|word| word >> (place % BITS) & 1 == 1)
}

fn set(words: &mut Box<[u64]>, place: u32) {
    let at = (place / BITS) as usize;
    if at >= words.len() {
        let mut longer = words.to_vec();
        longer.resize(at + 1, 0);
        *words = longer.into_boxed_slice();
    }
    if let Some(word) = words.get_mut(at) {
        *word |= 1 << (place % BITS);
    }
}

/// Lists the places whose bits are set.
fn places(words: &[u64]) -> impl Iterator<Item = u32> {
    words.iter().zip(0..).flat_map(|(word, at)| {
        let mut left = *word;
        std::iter::from_fn(move || {
            let bit = left.trailing_zeros();
            left &= left.wrapping_sub(1);
            (bit < BITS).then_some(at * BITS + bit)
        })
    })
}

impl Holders {
    pub(crate) fn add(&mut self, block: u64, place: u32) {
        let Some(held) = self.places.get_mut(&block) else {
            self.places.insert(block, Places::One(place));
            return;
        };
        match held {
            Places::One(other) if *other == place => {}
            Places::One(other) => {
                let mut words = Box::default();
                set(&mut words, *other);
                set(&mut words, place);
                *held = Places::Many(2, words);
            }
            Places::Many(count, words) => {
                if !has(words, place) {
                    *count += 1;
                    set(words, place);
                }
            }
        }
    }

    pub(crate) fn remove(&mut self, block: u64, place: u32) {
        let Some(held) = self.places.get_mut(&block) else {
            return;
        };
        match held {
            Places::One(other) => {
                if *other == place {
                    self.places.remove(&block);
                }
            }
            Places::Many(count, words) => {
                if !has(words, place) {
                    return;
                }
                if let Some(word) = words.get_mut((place / BITS) as usize) {
                    *word &= !(1 << (place % BITS));
                }
                *count -= 1;
                let last = if *count == 1 {
                    places(words).next()
                } else {
                    None
                };
                if let Some(last) = last {
                    *held = Places::One(last);
                }
            }
        }
    }

    /// Lists the places that hold the first of `blocks`, each with how many of them it holds without a gap.
    pub(crate) fn leading(&self, blocks: &[u64], out: &mut Vec<(u32, u32)>) {
        out.clear();
        let mut blocks = blocks.iter().zip(1..);
        let mut hits = 0;
        let mut left: Vec<u64> = match blocks.next().and_then(|(block, _)| self.places.get(block)) {
            None => return,
            Some(Places::One(place)) => {
                let further = blocks
                    .take_while(|(block, _)| self.holds(**block, *place))
                    .count();
                out.push((*place, 1 + further as u32));
                return;
            }
            Some(Places::Many(_, words)) => {
                hits += 1;
                words.to_vec()
            }
        };
        for (block, number) in blocks {
            let stay = |at: usize, word: u64| match self.places.get(block) {
                Some(Places::One(place)) if (place / BITS) as usize == at => {
                    word & 1 << (place % BITS)
                }
                None | Some(Places::One(_)) => 0,
                Some(Places::Many(_, words)) => word & words.get(at).copied().unwrap_or(0),
            };
            let mut any = 0;
            for (at, word) in left.iter_mut().enumerate() {
                let staying = stay(at, *word);
                let base = at as u32 * BITS;
                out.extend(places(&[*word & !staying]).map(|bit| (base + bit, hits)));
                *word = staying;
                any |= staying;
            }
            if any == 0 {
                return;
            }
            hits = number;
        }
        out.extend(places(&left).map(|place| (place, hits)));
    }

    fn holds(&self, block: u64, place: u32) -> bool {
        match self.places.get(&block) {
            None => false,
            Some(Places::One(other)) => *other == place,
            Some(Places::Many(_, words)) => has(words, place),
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_says_what_asking_each_place_would(
            changes in prop::collection::vec((any::<bool>(), 0_u64..12, 0_u32..150), 0..400),
            prompt in prop::collection::vec(0_u64..12, 0..6),
        ) {
            let mut holders = Holders::default();
            let mut held: HashMap<u32, HashSet<u64>> = HashMap::new();
            for (adds, block, place) in changes {
                if adds {
                    holders.add(block, place);
                    held.entry(place).or_default().insert(block);
                } else {
                    holders.remove(block, place);
                    held.entry(place).or_default().remove(&block);
                }
            }
            let mut found = Vec::new();
            holders.leading(&prompt, &mut found);
            found.sort_unstable();
            let mut expected: Vec<(u32, u32)> = held
                .iter()
                .map(|(place, blocks)| {
                    (*place, prompt.iter().take_while(|b| blocks.contains(b)).count() as u32)
                })
                .filter(|(_, hits)| *hits > 0)
                .collect();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
            let blocks: HashSet<u64> = held.values().flatten().copied().collect();
            prop_assert_eq!(holders.len(), blocks.len(), "nothing is left behind");
        }
    }
}
