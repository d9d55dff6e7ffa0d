//! Why a candidate got its score, in words that a person understands.
//!
//! A reason is a few plain numbers while the decision is made; the sentence is only built when somebody asks to see it.

use std::fmt;
use std::ops::Deref;

use serde::{Serialize, Serializer};

use crate::call::Candidate;
use crate::eligibility::Exclusion;
use crate::liveness::Health;
use crate::residency::RunVerdict;
use crate::silence::late_ms;

/// One fact that a policy took into account. Serialises as its sentence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// The candidate may not be chosen.
    Excluded(Exclusion),
    /// The model is in memory.
    Loaded {
        /// The context it is loaded with.
        context: Option<u32>,
    },
    /// The model has to be loaded first.
    ColdLoad {
        /// The expected loading time in seconds.
        seconds: f32,
    },
    /// The node does not say whether the model is in memory.
    ResidencyUnknown,
    /// The model is in memory with another context than asked for.
    Reload {
        /// The context it is loaded with.
        loaded: u32,
        /// The context the call asks for.
        asked: u32,
    },
    /// How much runs there already.
    InFlight {
        /// Requests in flight.
        in_flight: u32,
        /// Requests that run at the same time, when known.
        slots: Option<u32>,
    },
    /// The node has no room: the call waits for it, because waiting costs less than going elsewhere.
    Full {
        /// Calls that wait for the node already.
        waiting: u32,
    },
    /// The node's memory has no room for the model now.
    Memory(RunVerdict),
    /// Speeds learned from earlier calls.
    SpeedLearned {
        /// Tokens per second generated in one stream.
        decode: f32,
    },
    /// Nothing learned yet: the candidate is taken to be as fast as the best one, so that it gets tried.
    SpeedAssumed {
        /// Tokens per second assumed.
        decode: f32,
    },
    /// Leading prompt blocks that are in the node's cache.
    PrefixWarm {
        /// Blocks of the prompt, from its start.
        blocks: u32,
    },
    /// The node has more work than its share, so its warm prefix does not count.
    Overloaded {
        /// Its load, as a multiple of the mean.
        times_mean: f32,
    },
    /// Recent latency and requests in flight, multiplied.
    Latency {
        /// The moving average in milliseconds.
        ewma_ms: f32,
    },
    /// Loading the model drives another one out of the node's memory.
    MemoryTight,
    /// The prompt may not fit.
    ContextTight {
        /// The prompt's estimated tokens.
        prompt: u32,
        /// The largest context.
        context: u32,
    },
    /// Liveness has doubts.
    Suspect,
    /// Probes go unanswered while calls run there.
    Busy,
    /// Calls wait there, or waited until lately, for much longer than they should.
    Silent {
        /// Milliseconds without a sign.
        ms: f32,
    },
    /// The breaker lets one call through to see whether the failure is over.
    BreakerProbe,
    /// The operator's weight.
    Weight(f32),
    /// What all of it adds up to.
    Expected {
        /// Milliseconds until the model is loaded.
        load_ms: f32,
        /// Milliseconds that work of others comes first.
        wait_ms: f32,
        /// Requests whose work that is.
        behind: u32,
        /// Milliseconds for reading the prompt.
        read_ms: f32,
        /// The prompt's tokens.
        prompt_tokens: u32,
        /// How much of the prompt is cached, percent.
        cached_percent: u8,
        /// Milliseconds for generating the answer.
        answer_ms: f32,
    },
    /// Chosen although another scored better, to keep what is known about it fresh.
    Exploring,
    /// Chosen at random among equals.
    OneOfEquals {
        /// How many were as good.
        equals: u32,
    },
    /// The better of two drawn at random.
    BetterOfTwo,
    /// Its turn.
    Turn,
}

/// Writes milliseconds the way people say them: `850 ms`, `12.3 s`.
struct Span(f32);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1_000.0 {
            write!(f, "{:.0} ms", self.0)
        } else {
            write!(f, "{:.1} s", self.0 / 1_000.0)
        }
    }
}

/// Writes a number with commas between thousands.
struct Grouped(u32);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n < 1_000 => write!(f, "{n}"),
            n if n < 1_000_000 => write!(f, "{},{:03}", n / 1_000, n % 1_000),
            n => write!(
                f,
                "{},{:03},{:03}",
                n / 1_000_000,
                n / 1_000 % 1_000,
                n % 1_000
            ),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Excluded(exclusion) => exclusion.fmt(f),
            Self::Loaded {
                context: Some(context),
            } => write!(f, "loaded with context {context}"),
            Self::Loaded { context: None } => f.write_str("loaded"),
            Self::ColdLoad { seconds } => write!(f, "not loaded: about {seconds:.0} s to load"),
            Self::ResidencyUnknown => f.write_str("does not say whether the model is loaded"),
            Self::Reload { loaded, asked } => write!(
                f,
                "loaded with context {loaded}, the call asks for {asked}: it would be loaded again"
            ),
            Self::InFlight { in_flight: 0, .. } => f.write_str("idle"),
            Self::InFlight {
                in_flight,
                slots: Some(slots),
            } => write!(f, "{in_flight} requests in flight of {slots} slots"),
            Self::InFlight {
                in_flight,
                slots: None,
            } => write!(f, "{in_flight} requests in flight"),
            Self::Full { waiting: 0 } => f.write_str("no room now: the call waits for it"),
            Self::Full { waiting } => {
                write!(
                    f,
                    "no room now: the call waits for it, after {waiting} others"
                )
            }
            Self::Memory(verdict) => verdict.fmt(f),
            Self::SpeedLearned { decode } => write!(f, "generates {decode:.1} tokens/s"),
            Self::SpeedAssumed { decode } => {
                write!(f, "speed not learned yet, {decode:.1} tokens/s assumed")
            }
            Self::PrefixWarm { blocks: 1 } => f.write_str("prefix of 1 block is warm here"),
            Self::PrefixWarm { blocks } => write!(f, "prefix of {blocks} blocks is warm here"),
            Self::Overloaded { times_mean } => {
                write!(
                    f,
                    "has {times_mean:.1} times the mean load: its warm prefix does not count"
                )
            }
            Self::Latency { ewma_ms } => write!(f, "answered within {} lately", Span(ewma_ms)),
            Self::MemoryTight => {
                f.write_str("too little memory free: another model would be driven out")
            }
            Self::ContextTight { prompt, context } => write!(
                f,
                "about {prompt} prompt tokens may not fit the context of {context}"
            ),
            Self::Suspect => f.write_str("suspect: calls or probes got no answer lately"),
            Self::Busy => f.write_str("busy: does not answer probes while it works"),
            Self::Silent { ms } => write!(
                f,
                "gave no sign for {} while calls waited for one: none is expected sooner",
                Span(ms)
            ),
            Self::BreakerProbe => f.write_str("breaker half open: one call tries it"),
            Self::Weight(weight) => write!(f, "weight {weight}"),
            Self::Expected {
                load_ms,
                wait_ms,
                behind,
                read_ms,
                prompt_tokens,
                cached_percent,
                answer_ms,
            } => {
                let first_token_ms = load_ms + wait_ms + read_ms;
                write!(f, "expected first token {}: ", Span(first_token_ms))?;
                if load_ms > 0.0 {
                    write!(f, "{} loading the model, ", Span(load_ms))?;
                }
                if wait_ms >= 1.0 {
                    write!(f, "{} waiting", Span(wait_ms))?;
                    match behind {
                        0 => f.write_str(", ")?,
                        1 => f.write_str(" behind 1 request, ")?,
                        _ => write!(f, " behind {behind} requests, ")?,
                    }
                }
                write!(
                    f,
                    "{} reading {} tokens of prompt",
                    Span(read_ms),
                    Grouped(prompt_tokens)
                )?;
                if cached_percent > 0 {
                    write!(f, " of which {cached_percent} % are cached")?;
                }
                write!(f, "; the last after {}", Span(first_token_ms + answer_ms))
            }
            Self::Exploring => f.write_str("chosen to keep its speed known"),
            Self::OneOfEquals { equals } => write!(f, "chosen at random among {equals} equals"),
            Self::BetterOfTwo => f.write_str("the less loaded of two drawn at random"),
            Self::Turn => f.write_str("its turn"),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The most reasons one candidate can have; a policy has fewer to give.
const CAPACITY: usize = 10;

/// The reasons behind one score, held in place so that explaining a decision allocates once.
#[derive(Clone, Copy)]
pub struct Reasons {
    items: [Reason; CAPACITY],
    len: usize,
}

impl Reasons {
    /// Makes an empty list.
    pub const fn new() -> Self {
        Self {
            items: [Reason::Turn; CAPACITY],
            len: 0,
        }
    }

    /// Adds a reason. Beyond the capacity of ten the newest is not kept.
    pub fn push(&mut self, reason: Reason) {
        if let Some(place) = self.items.get_mut(self.len) {
            *place = reason;
            self.len += 1;
        }
    }
}

impl Reasons {
    /// Adds the operator's weight when it is not the usual one.
    pub(crate) fn push_weight(&mut self, candidate: &Candidate<'_>) {
        let weight = candidate.effective_weight();
        if (weight - 1.0).abs() > f32::EPSILON {
            self.push(Reason::Weight(weight));
        }
    }
}

impl Reasons {
    /// Adds what speaks for trouble at the node.
    pub(crate) fn push_doubts(&mut self, candidate: &Candidate<'_>) {
        match candidate.health {
            Health::Suspect => self.push(Reason::Suspect),
            Health::Busy => self.push(Reason::Busy),
            Health::Alive | Health::Dead => {}
        }
        let ms = late_ms(candidate);
        if ms > 0.0 {
            self.push(Reason::Silent { ms });
        }
    }
}

impl Default for Reasons {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Reasons {
    type Target = [Reason];

    fn deref(&self) -> &[Reason] {
        self.items.get(..self.len).unwrap_or_default()
    }
}

impl fmt::Debug for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Reasons {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_read_as_sentences() {
        let mut reasons = Reasons::new();
        reasons.push(Reason::Loaded {
            context: Some(8_192),
        });
        reasons.push(Reason::InFlight {
            in_flight: 12,
            slots: Some(4),
        });
        reasons.push(Reason::PrefixWarm { blocks: 6 });
        reasons.push(Reason::Expected {
            load_ms: 0.0,
            wait_ms: 400.0,
            behind: 3,
            read_ms: 800.0,
            prompt_tokens: 1_900,
            cached_percent: 60,
            answer_ms: 11_100.0,
        });
        assert_eq!(
            serde_json::to_value(reasons).unwrap(),
            serde_json::json!([
                "loaded with context 8192",
                "12 requests in flight of 4 slots",
                "prefix of 6 blocks is warm here",
                "expected first token 1.2 s: 400 ms waiting behind 3 requests, 800 ms reading 1,900 tokens of prompt \
                 of which 60 % are cached; the last after 12.3 s"
            ])
        );
    }

    #[test]
    fn the_list_is_bounded() {
        let mut reasons = Reasons::new();
        for _ in 0..100 {
            reasons.push(Reason::Suspect);
        }
        assert_eq!(reasons.len(), CAPACITY);
    }
}
