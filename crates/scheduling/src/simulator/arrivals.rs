//! The requests in the order in which they arrive: the trace at another rate, with tenants and a flood where they are wanted.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::options::Options;
use super::trace::{TraceError, TraceRequest};
use crate::hashing::{Random, fold};

/// One arriving request.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) request: TraceRequest,
    pub(super) tenant: u64,
    /// Whether the flooding tenant sent it.
    pub(super) floods: bool,
}

/// The tenant that floods.
const FLOODING: u64 = 0;
/// The copies of a flooded request arrive within this time after it.
const FLOOD_WITHIN_US: f64 = 2.0e6;

/// A copy that will arrive, ordered by its time.
#[derive(Debug)]
struct Copy(u64, u64, TraceRequest);

impl PartialEq for Copy {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for Copy {}

impl PartialOrd for Copy {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Copy {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// Turns a trace into arrivals.
#[derive(Debug)]
pub(super) struct Arrivals<I> {
    trace: I,
    next: Option<TraceRequest>,
    copies: BinaryHeap<Reverse<Copy>>,
    rate: f64,
    tenants: u64,
    flood: u32,
    random: Random,
    count: u64,
}

impl<I: Iterator<Item = Result<TraceRequest, TraceError>>> Arrivals<I> {
    pub(super) fn new(mut trace: I, options: &Options) -> Result<Self, TraceError> {
        let next = trace.next().transpose()?;
        Ok(Self {
            trace,
            next,
            copies: BinaryHeap::new(),
            rate: options.rate,
            tenants: u64::from(options.tenants.max(1)),
            flood: options.flood.unwrap_or(1),
            random: Random::new(fold(options.seed ^ 0xA221)),
            count: 0,
        })
    }

    /// Returns when the next request arrives.
    pub(super) fn next_at(&self) -> Option<u64> {
        let recorded = self.next.as_ref().map(|request| self.scaled(request));
        let copied = self.copies.peek().map(|Reverse(copy)| copy.0);
        recorded.into_iter().chain(copied).min()
    }

    /// Takes the next request.
    pub(super) fn take(&mut self) -> Result<Option<Arrival>, TraceError> {
        let recorded = self.next.as_ref().map(|request| self.scaled(request));
        if let Some(Reverse(copy)) = self.copies.peek()
            && recorded.is_none_or(|at| copy.0 < at)
        {
            let request = self
                .copies
                .pop()
                .map(|Reverse(Copy(at_us, _, request))| TraceRequest { at_us, ..request });
            return Ok(request.map(|request| Arrival {
                request,
                tenant: FLOODING,
                floods: true,
            }));
        }
        let (Some(mut request), Some(at_us)) = (self.next.take(), recorded) else {
            return Ok(None);
        };
        self.next = self.trace.next().transpose()?;
        self.count += 1;
        request.at_us = at_us;
        let tenant = self.tenant(&request);
        let floods = self.flood > 1 && tenant == FLOODING;
        if floods {
            self.copy(&request);
        }
        Ok(Some(Arrival {
            request,
            tenant,
            floods,
        }))
    }

    /// Returns who asked: as recorded, or drawn by conversation (the first block that is not common to all), or by request.
    fn tenant(&self, request: &TraceRequest) -> u64 {
        request.tenant.unwrap_or_else(|| {
            let conversation = request.blocks.get(1).copied();
            fold(conversation.unwrap_or(self.count).wrapping_add(1)) % self.tenants
        })
    }

    fn copy(&mut self, request: &TraceRequest) {
        for _ in 1..self.flood {
            let after = (self.random.next_share() * FLOOD_WITHIN_US) as u64;
            let salt = self.random.next();
            let mut copy = request.clone();
            for block in &mut copy.blocks {
                *block = fold(*block ^ salt);
            }
            self.copies
                .push(Reverse(Copy(request.at_us + after, salt, copy)));
        }
    }

    fn scaled(&self, request: &TraceRequest) -> u64 {
        (request.at_us as f64 / self.rate) as u64
    }
}
