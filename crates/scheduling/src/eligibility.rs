//! Which candidates may be chosen at all. Every policy asks here first, so that no policy can forget a rule.

use std::fmt;
use std::time::Duration;

use crate::breaker::BreakerVerdict;
use crate::call::{Call, Candidate};
use crate::liveness::Health;

/// Why a candidate may not be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exclusion {
    /// An earlier attempt of this call failed there.
    AlreadyTried,
    /// The call is for another node.
    OtherNode,
    /// The node cannot do what the call asks.
    Unsupported,
    /// The node takes no new work.
    Draining,
    /// Liveness says that the node is dead.
    Unhealthy,
    /// The breaker of this (node, model) is open.
    BreakerOpen {
        /// How long it stays open.
        retry_in: Duration,
        /// Calls that failed in the window that opened it.
        failed: u32,
        /// Calls in that window.
        calls: u32,
    },
    /// The node lacks a tag that the call requires.
    MissingTag,
    /// The operator's ceiling for requests in flight is reached.
    AtCapacity {
        /// Requests in flight.
        in_flight: u32,
        /// The ceiling.
        limit: u32,
    },
    /// The prompt is far beyond the largest context the model can have there.
    OverContext {
        /// The prompt's estimated tokens.
        prompt: u32,
        /// The largest context.
        context: u32,
    },
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::AlreadyTried => f.write_str("already tried for this call"),
            Self::OtherNode => f.write_str("the call is for another node"),
            Self::Unsupported => f.write_str("cannot do what this call asks"),
            Self::Draining => f.write_str("draining: takes no new requests"),
            Self::Unhealthy => f.write_str("not healthy"),
            Self::BreakerOpen {
                retry_in,
                failed,
                calls,
            } => write!(
                f,
                "breaker open for {} s: {failed} of {calls} calls failed",
                retry_in.as_secs().max(1)
            ),
            Self::MissingTag => f.write_str("lacks a tag that this call requires"),
            Self::AtCapacity { in_flight, limit } => {
                write!(f, "full: {in_flight} requests in flight of {limit} allowed")
            }
            Self::OverContext { prompt, context } => {
                write!(
                    f,
                    "about {prompt} prompt tokens do not fit a context of {context}"
                )
            }
        }
    }
}

/// How far an estimated prompt must exceed the context before the estimate alone rules a node out.
const CONTEXT_SLACK: u32 = 2;

/// Returns why `candidate` may not serve `call`, or `None` when it may.
pub fn exclusion(call: &Call<'_>, candidate: &Candidate<'_>) -> Option<Exclusion> {
    standing_exclusion(call.tags, candidate).or_else(|| {
        let context = candidate.context_max?;
        (!fits_context(call.prompt_tokens, context)).then_some(Exclusion::OverContext {
            prompt: call.prompt_tokens,
            context,
        })
    })
}

/// Tells whether a prompt may fit a context: the estimate is not trusted to the last half.
#[inline]
pub(crate) const fn fits_context(prompt_tokens: u32, context: u32) -> bool {
    prompt_tokens / CONTEXT_SLACK <= context
}

/// Returns why `candidate` may serve no call that requires `tags`.
pub(crate) fn standing_exclusion(tags: &[String], candidate: &Candidate<'_>) -> Option<Exclusion> {
    if candidate.excluded.is_some() {
        return candidate.excluded;
    }
    if candidate.draining {
        return Some(Exclusion::Draining);
    }
    if candidate.health == Health::Dead {
        return Some(Exclusion::Unhealthy);
    }
    if let BreakerVerdict::Refuse {
        retry_in,
        failed,
        calls,
    } = candidate.breaker
    {
        return Some(Exclusion::BreakerOpen {
            retry_in,
            failed,
            calls,
        });
    }
    if !tags.iter().all(|tag| candidate.tags.contains(tag)) {
        return Some(Exclusion::MissingTag);
    }
    if let Some(limit) = candidate.max_in_flight
        && candidate.in_flight >= limit
    {
        return Some(Exclusion::AtCapacity {
            in_flight: candidate.in_flight,
            limit,
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use primitives::{MonotonicTime, NodeId, Timestamp};

    use super::*;

    fn call(tags: &[String]) -> Call<'_> {
        Call {
            model: "m",
            prompt_tokens: 1_000,
            max_tokens: None,
            num_ctx: None,
            prefix: &[],
            tags,
            now: MonotonicTime::from_micros(0),
            random: 0,
        }
    }

    #[test]
    fn every_rule_speaks_for_itself() {
        let id = NodeId::generate(Timestamp::from_micros(1));
        let base = Candidate::new(id, "a");
        let tags = ["gpu".to_owned()];
        assert_eq!(exclusion(&call(&[]), &base), None);
        let reason = |call: &Call<'_>, candidate: &Candidate<'_>| {
            exclusion(call, candidate)
                .map(|e| e.to_string())
                .unwrap_or_default()
        };
        assert_eq!(
            reason(&call(&tags), &base),
            "lacks a tag that this call requires"
        );
        assert_eq!(
            exclusion(
                &call(&tags),
                &Candidate {
                    tags: &tags,
                    ..base
                }
            ),
            None
        );
        let full = Candidate {
            in_flight: 4,
            max_in_flight: Some(4),
            ..base
        };
        assert_eq!(
            reason(&call(&[]), &full),
            "full: 4 requests in flight of 4 allowed"
        );
        let open = Candidate {
            breaker: BreakerVerdict::Refuse {
                retry_in: Duration::from_secs(12),
                failed: 5,
                calls: 6,
            },
            ..base
        };
        assert_eq!(
            reason(&call(&[]), &open),
            "breaker open for 12 s: 5 of 6 calls failed"
        );
        let small = Candidate {
            context_max: Some(400),
            ..base
        };
        assert_eq!(
            reason(&call(&[]), &small),
            "about 1000 prompt tokens do not fit a context of 400"
        );
    }

    #[test]
    fn a_prompt_slightly_over_the_context_is_left_to_the_node() {
        let id = NodeId::generate(Timestamp::from_micros(1));
        let close = Candidate {
            context_max: Some(900),
            ..Candidate::new(id, "a")
        };
        assert_eq!(exclusion(&call(&[]), &close), None);
    }
}
