//! A hasher for keys that are numbers of our own: fast, and no protection against keys chosen by an enemy.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Mixes numbers by one multiplication.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NumberHasher(u64);

const ODD: u64 = 0x9E37_79B9_7F4A_7C15;

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }

    fn write_u128(&mut self, value: u128) {
        self.write_u64(value as u64);
        self.write_u64((value >> 64) as u64);
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = fold(self.0 ^ value);
    }
}

/// Folds the two halves of a product, so that all bits of the result depend on all bits of `value`.
pub(crate) const fn fold(value: u64) -> u64 {
    let product = value as u128 * ODD as u128;
    product as u64 ^ (product >> 64) as u64
}

/// Takes a text into a hash that is the same on every machine.
pub(crate) fn absorb(state: u64, bytes: &[u8]) -> u64 {
    let state = bytes.iter().fold(state, |state, byte| {
        fold(state ^ u64::from(*byte)).wrapping_add(1)
    });
    fold(state ^ bytes.len() as u64)
}

/// A map by numbers of our own.
pub(crate) type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

/// A stream of pseudo-random numbers from a seed: SplitMix64 (Steele, Lea, Flood, 2014).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Starts a stream. Different seeds give unrelated streams.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number.
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(ODD);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns the next number, evenly from 0 to below 1.
    pub(crate) const fn next_share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
