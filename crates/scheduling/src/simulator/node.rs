//! A node in virtual time: it loads models, reads prompts one after the other through its prefix cache, and generates all answers
//! at once, each slower the more there are.
//!
//! Generation is processor sharing. Its progress is one number, the tokens that every running answer has gained so far; an answer
//! that begins at `v` and has `n` tokens is done at `v + n`. So each event costs a heap operation whatever runs.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use primitives::MonotonicTime;

use super::fleet::NodeSpec;
use super::oracle::read_through;
use super::trace::BLOCK_TOKENS;
use crate::lru::LruSet;
use crate::residency::{Resident, evictions};

/// What a node is asked to do.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) request: u32,
    pub(super) model: u32,
    pub(super) prompt_tokens: u32,
    pub(super) output_tokens: u32,
}

/// What happened at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    Loaded { model: u32 },
    FirstToken { request: u32, cached_tokens: u32 },
    Finished { request: u32 },
}

/// A model in memory.
#[derive(Clone, Copy, Debug)]
struct InMemory {
    model: u32,
    bytes: u64,
    jobs: u32,
    last_used_us: u64,
}

impl InMemory {
    const fn as_resident(&self) -> Resident {
        Resident {
            bytes: self.bytes,
            in_flight: self.jobs,
            last_used: Some(MonotonicTime::from_micros(self.last_used_us)),
        }
    }
}

/// Fractions of a token, so that heaps order whole numbers.
const TOKEN: f64 = 1.0e6;

/// One node.
#[derive(Debug)]
pub(super) struct Node {
    prefill_us_per_token: f64,
    tokens_per_us: f64,
    slowdown: f64,
    slots: u32,
    memory_bytes: Option<u64>,
    load_bytes_per_s: f64,
    cache: LruSet,
    resident: Vec<InMemory>,
    loading: Option<(u32, u64)>,
    /// Jobs whose model is not loaded yet.
    blocked: VecDeque<Job>,
    prompts: VecDeque<Job>,
    reading: Option<(Job, u32, u64)>,
    answers: BinaryHeap<Reverse<(u64, u32, u32)>>,
    progress: f64,
    now_us: u64,
    pub(super) up: bool,
    pub(super) cold_loads: u64,
    pub(super) reading_us: u64,
    pub(super) slot_us: u64,
}

impl Node {
    /// Makes an idle node. Without a memory limit every model is loaded.
    pub(super) fn new(spec: &NodeSpec) -> Self {
        Self {
            prefill_us_per_token: 1.0e6 / f64::from(spec.prefill_tokens_per_s),
            tokens_per_us: f64::from(spec.decode_tokens_per_s) / 1.0e6,
            slowdown: f64::from(spec.slowdown),
            slots: spec.slots,
            memory_bytes: spec.memory_bytes,
            load_bytes_per_s: f64::from(spec.load_bytes_per_s),
            cache: LruSet::new(
                usize::try_from(spec.cache_tokens / u64::from(BLOCK_TOKENS)).unwrap_or(usize::MAX),
            ),
            resident: Vec::new(),
            loading: None,
            blocked: VecDeque::new(),
            prompts: VecDeque::new(),
            reading: None,
            answers: BinaryHeap::new(),
            progress: 0.0,
            now_us: 0,
            up: true,
            cold_loads: 0,
            reading_us: 0,
            slot_us: 0,
        }
    }

    pub(super) fn is_loaded(&self, model: u32) -> bool {
        self.memory_bytes.is_none() || self.resident.iter().any(|r| r.model == model)
    }

    /// Tells whether the model is loaded, or is the one being loaded.
    pub(super) fn has_or_loads(&self, model: u32) -> bool {
        self.is_loaded(model) || self.loading.is_some_and(|(m, _)| m == model)
    }

    /// Returns the memory that no model takes.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        let taken: u64 = self.resident.iter().map(|r| r.bytes).sum();
        self.memory_bytes.map(|memory| memory.saturating_sub(taken))
    }

    /// Tells whether a model is being loaded.
    pub(super) const fn is_loading(&self) -> bool {
        self.loading.is_some()
    }

    /// Returns the memory of the models without jobs.
    pub(super) fn idle_bytes(&self) -> u64 {
        self.unused_bytes(|_| false)
    }

    /// Returns the memory of the models without jobs that nobody wants.
    pub(super) fn unused_bytes(&self, is_wanted: impl Fn(u32) -> bool) -> u64 {
        self.resident
            .iter()
            .filter(|r| r.jobs == 0 && !is_wanted(r.model))
            .map(|r| r.bytes)
            .sum()
    }

    /// Returns how long loading a model takes, in microseconds.
    pub(super) fn load_us(&self, bytes: u64) -> u64 {
        2_000_000 + (1.0e6 * bytes as f64 / self.load_bytes_per_s) as u64
    }

    /// Begins to load a model for which there is room once models without jobs are driven out.
    pub(super) fn load(&mut self, model: u32, bytes: u64, now_us: u64) {
        self.advance(now_us);
        let free = self.free_bytes().unwrap_or(u64::MAX);
        let residents: Vec<Resident> = self.resident.iter().map(InMemory::as_resident).collect();
        let Some(mut gone) = evictions(&residents, bytes.saturating_sub(free)) else {
            return;
        };
        gone.sort_unstable();
        for index in gone.into_iter().rev() {
            self.resident.swap_remove(index);
        }
        self.cold_loads += 1;
        self.loading = Some((model, now_us + self.load_us(bytes)));
        self.resident.push(InMemory {
            model,
            bytes,
            jobs: 0,
            last_used_us: now_us,
        });
    }

    /// Takes a job. Its model must be loaded or loading.
    pub(super) fn accept<'a>(
        &mut self,
        job: Job,
        now_us: u64,
        blocks_of: impl Fn(u32) -> &'a [u64],
    ) {
        self.advance(now_us);
        if let Some(resident) = self.resident.iter_mut().find(|r| r.model == job.model) {
            resident.jobs += 1;
            resident.last_used_us = now_us;
        }
        if self.loading.is_some_and(|(model, _)| model == job.model) {
            self.blocked.push_back(job);
        } else {
            self.prompts.push_back(job);
        }
        self.begin_reading(&blocks_of);
    }

    /// Returns when something will happen here.
    pub(super) fn next_wake_us(&self) -> Option<u64> {
        if !self.up {
            return None;
        }
        let loaded = self.loading.map(|(_, at)| at);
        let read = self.reading.as_ref().map(|(_, _, at)| *at);
        let finished = self.answers.peek().map(|Reverse((done, ..))| {
            let missing = (*done as f64 / TOKEN - self.progress).max(0.0);
            self.now_us + (missing / self.rate()).ceil() as u64
        });
        [loaded, read, finished].into_iter().flatten().min()
    }

    /// Lets time pass until `now_us`; tells the next thing that has happened by then.
    pub(super) fn happening<'a>(
        &mut self,
        now_us: u64,
        blocks_of: impl Fn(u32) -> &'a [u64],
    ) -> Option<Happening> {
        self.advance(now_us);
        if let Some((model, _)) = self.loading.take_if(|(_, at)| *at <= now_us) {
            self.prompts.append(&mut self.blocked);
            self.begin_reading(&blocks_of);
            return Some(Happening::Loaded { model });
        }
        if let Some((job, cached_tokens, _)) = self.reading.take_if(|(_, _, at)| *at <= now_us) {
            let done = self.progress + f64::from(job.output_tokens.saturating_sub(1));
            self.answers
                .push(Reverse(((done * TOKEN) as u64, job.request, job.model)));
            self.begin_reading(&blocks_of);
            return Some(Happening::FirstToken {
                request: job.request,
                cached_tokens,
            });
        }
        let Reverse((done, request, model)) = *self.answers.peek()?;
        // A millionth of a token is a rounding error.
        if done as f64 > self.progress * TOKEN + 1.0 {
            return None;
        }
        self.answers.pop();
        self.release(model);
        self.begin_reading(&blocks_of);
        Some(Happening::Finished { request })
    }

    /// Loses everything: returns the requests that were there.
    pub(super) fn fail(&mut self, now_us: u64) -> Vec<u32> {
        self.advance(now_us);
        self.up = false;
        let mut lost: Vec<u32> = self.blocked.drain(..).map(|job| job.request).collect();
        lost.extend(self.prompts.drain(..).map(|job| job.request));
        lost.extend(self.reading.take().map(|(job, ..)| job.request));
        lost.extend(self.answers.drain().map(|Reverse((_, request, _))| request));
        lost.sort_unstable();
        self.loading = None;
        self.resident.clear();
        self.cache.clear();
        lost
    }

    /// Gives up a job that has no first token yet; tells whether it was there.
    pub(super) fn withdraw<'a>(
        &mut self,
        request: u32,
        now_us: u64,
        blocks_of: impl Fn(u32) -> &'a [u64],
    ) -> bool {
        self.advance(now_us);
        let is_it = |job: &Job| job.request == request;
        let mut found = None;
        if let Some((job, _, done_us)) = self.reading.take_if(|(job, ..)| is_it(job)) {
            self.reading_us -= done_us.saturating_sub(now_us);
            found = Some(job);
        }
        for jobs in [&mut self.blocked, &mut self.prompts] {
            if let Some(at) = jobs.iter().position(is_it) {
                found = jobs.remove(at);
            }
        }
        if let Some(job) = &found {
            self.release(job.model);
        }
        self.begin_reading(&blocks_of);
        found.is_some()
    }

    /// Comes back, with empty memory.
    pub(super) fn recover(&mut self, now_us: u64) {
        self.advance(now_us);
        self.up = true;
    }

    fn release(&mut self, model: u32) {
        let now_us = self.now_us;
        if let Some(resident) = self.resident.iter_mut().find(|r| r.model == model) {
            resident.jobs = resident.jobs.saturating_sub(1);
            resident.last_used_us = now_us;
        }
    }

    /// Begins to read the next prompt if nothing is read now and a slot is free.
    fn begin_reading<'a>(&mut self, blocks_of: &impl Fn(u32) -> &'a [u64]) {
        if self.reading.is_some() || self.answers.len() >= self.slots as usize {
            return;
        }
        let Some(job) = self.prompts.pop_front() else {
            return;
        };
        let blocks = blocks_of(job.request);
        let cached = read_through(&mut self.cache, blocks, job.prompt_tokens);
        let unread = f64::from(job.prompt_tokens - cached);
        let us = (unread * self.prefill_us_per_token).ceil() as u64;
        self.reading_us += us;
        self.reading = Some((job, cached, self.now_us + us));
    }

    /// Returns the tokens per microsecond of each answer now.
    fn rate(&self) -> f64 {
        let others = self.answers.len().saturating_sub(1) as f64;
        let full = f64::from(self.slots.saturating_sub(1).max(1));
        self.tokens_per_us / (1.0 + self.slowdown * others / full)
    }

    fn advance(&mut self, now_us: u64) {
        let passed = now_us.saturating_sub(self.now_us);
        if passed > 0 {
            if self.answers.is_empty() {
                // Keeps the fractions exact over long runs.
                self.progress = 0.0;
            } else {
                self.progress += passed as f64 * self.rate();
            }
            let busy = self.answers.len() + usize::from(self.reading.is_some());
            self.slot_us += passed * busy as u64;
            self.now_us = now_us;
        }
    }
}
