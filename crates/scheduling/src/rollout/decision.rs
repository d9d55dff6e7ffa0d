//! What is to be done about a roll-out now.

use std::fmt;
use std::time::Duration;

use primitives::Timestamp;

use super::interval::{least_difference, wilson};
use super::{Observed, Percent, Rule};

/// Failures of the new version before it can be taken back for them, or as many as a stage's least requests where those are fewer.
const FEWEST_FAILURES: u64 = 5;

/// What comes after the present stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the present one is the last.
    Nothing,
    /// A stage for which the new version must be on `needed` nodes and is on `present`.
    Stage {
        /// Nodes that the stage takes.
        needed: u32,
        /// Nodes that have the new version and take requests.
        present: u32,
    },
}

/// A roll-out at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// When the present stage began; absent before the first one.
    pub entered_at: Option<Timestamp>,
    /// Whether people have stopped it.
    pub is_paused: bool,
    /// What comes next.
    pub next: Next,
    /// What was seen of the new version in this stage.
    pub new: &'a Observed,
    /// What was seen of the old version in this stage.
    pub old: &'a Observed,
    /// What was seen of the old version in all stages. Counts where this stage has seen too little of it, as when nobody gets it any more.
    pub old_ever: &'a Observed,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Nothing, for this reason.
    Hold(Hold),
    /// The next stage begins.
    Advance,
    /// All callers go back to the old version at once, for this reason.
    RollBack(Fault),
    /// All stages are behind it.
    Done,
}

/// Why a roll-out stays where it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Hold {
    /// People have stopped it.
    Paused,
    /// The stage is not over.
    Time {
        /// How long it lasts yet.
        left: Duration,
    },
    /// Too few requests to tell.
    Requests {
        /// Requests that counted.
        seen: u64,
        /// How many there must be.
        wanted: u64,
    },
    /// More fail than may, but that may be chance.
    MaybeErrors {
        /// The new version's share of failures.
        rate: f64,
        /// The largest one allowed.
        limit: f64,
    },
    /// More fail than may, of the old version, too: the fault is elsewhere.
    BothFail {
        /// The new version's share of failures.
        new: f64,
        /// The old version's.
        old: f64,
    },
    /// It looks slower than it may be, but that may be chance.
    MaybeSlow {
        /// The new version's median.
        new: Duration,
        /// The old version's.
        old: Duration,
    },
    /// How fast the old version is is not known.
    Uncompared {
        /// First tokens of the old version that were seen.
        seen: u64,
        /// How many there must be.
        wanted: u64,
    },
    /// The new version is on too few nodes for the next stage.
    Nodes {
        /// Nodes that the stage takes.
        needed: u32,
        /// Nodes that have it and take requests.
        present: u32,
    },
}

/// What is wrong with the new version.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Too many of its requests fail.
    Errors {
        /// Those that failed.
        failed: u64,
        /// Those that counted.
        counted: u64,
        /// The largest share allowed.
        limit: f64,
        /// Those of the old version that failed, and counted.
        old: (u64, u64),
    },
    /// Its first tokens come too late.
    Slow {
        /// Its median.
        new: Duration,
        /// The old version's.
        old: Duration,
        /// How many times the old one's it may be.
        limit: f64,
    },
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused => f.write_str("paused"),
            Self::Time { left } => write!(f, "the stage lasts {} s more", left.as_secs().max(1)),
            Self::Requests { seen, wanted } => write!(
                f,
                "too few requests to tell: {seen} of {wanted} of the new version so far"
            ),
            Self::MaybeErrors { rate, limit } => write!(
                f,
                "{} of the new version's requests failed, more than {}, but so few that it may be chance",
                Percent(*rate),
                Percent(*limit)
            ),
            Self::BothFail { new, old } => write!(
                f,
                "{} of the new version's requests failed, and {} of the old one's: the fault is not the new version's alone",
                Percent(*new),
                Percent(*old)
            ),
            Self::MaybeSlow { new, old } => write!(
                f,
                "the new version's first token takes {} ms at the median and the old one's {} ms, but that may be chance",
                new.as_millis(),
                old.as_millis()
            ),
            Self::Uncompared { seen, wanted } => write!(
                f,
                "too few requests of the old version to compare its speed: {seen} of {wanted}"
            ),
            Self::Nodes { needed, present } => write!(
                f,
                "the next stage needs the new version on {needed} nodes that take requests, and it is on {present}"
            ),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errors {
                failed,
                counted,
                limit,
                old: (old_failed, old_counted),
            } => write!(
                f,
                "{failed} of {counted} requests of the new version failed, surely more than {}; of the old one {old_failed} of {old_counted}",
                Percent(*limit)
            ),
            Self::Slow { new, old, limit } => write!(
                f,
                "the new version's first token takes {} ms at the median, surely more than {limit} times the old one's {} ms",
                new.as_millis(),
                old.as_millis()
            ),
        }
    }
}

/// Decides what to do about a roll-out now. Faults come first, whether it is paused or not.
///
/// A share of failures is surely too large when the lower end of its Wilson interval is above the limit and that of Newcombe's interval of
/// its difference to the old version's share is above 0. The new version is surely too slow when the lower end of the Wilson interval of
/// the share of its first tokens that took longer than the old version's median times the limit is above one half (a sign test).
pub fn decide(moment: &Moment<'_>, rule: &Rule, now: Timestamp) -> Verdict {
    let Some(entered_at) = moment.entered_at else {
        return match moment.next {
            _ if moment.is_paused => Verdict::Hold(Hold::Paused),
            next => onward(next),
        };
    };
    let errors = errors(moment, rule);
    let speed = speed(moment, rule);
    let mut doubts = Vec::new();
    for found in [errors, speed] {
        match found {
            Finding::Fault(fault) => return Verdict::RollBack(fault),
            Finding::Doubt(hold) => doubts.push(hold),
            Finding::Fine => {}
        }
    }
    if moment.is_paused {
        return Verdict::Hold(Hold::Paused);
    }
    let seen = moment.new.counted();
    if seen < rule.min_requests {
        let wanted = rule.min_requests;
        return Verdict::Hold(Hold::Requests { seen, wanted });
    }
    let left = rule.hold.saturating_sub(now.since(entered_at));
    if !left.is_zero() {
        return Verdict::Hold(Hold::Time { left });
    }
    match doubts.into_iter().next() {
        Some(doubt) => Verdict::Hold(doubt),
        None => onward(moment.next),
    }
}

const fn onward(next: Next) -> Verdict {
    match next {
        Next::Nothing => Verdict::Done,
        Next::Stage { needed, present } if present < needed => {
            Verdict::Hold(Hold::Nodes { needed, present })
        }
        Next::Stage { .. } => Verdict::Advance,
    }
}

enum Finding {
    Fault(Fault),
    Doubt(Hold),
    Fine,
}

fn errors(moment: &Moment<'_>, rule: &Rule) -> Finding {
    let (new, limit) = (moment.new, rule.max_error_rate);
    let old = if moment.old.counted() >= rule.min_requests {
        moment.old
    } else {
        moment.old_ever
    };
    let rate = new.error_rate().unwrap_or(0.0);
    if rate <= limit {
        return Finding::Fine;
    }
    let shares = ((new.failed, new.counted()), (old.failed, old.counted()));
    let is_enough = new.failed >= FEWEST_FAILURES.min(rule.min_requests);
    let is_above = wilson(new.failed, new.counted()).0 > limit;
    let is_worse = old.counted() == 0 || least_difference(shares.0, shares.1) > 0.0;
    if is_enough && is_above && is_worse {
        return Finding::Fault(Fault::Errors {
            failed: new.failed,
            counted: new.counted(),
            limit,
            old: shares.1,
        });
    }
    Finding::Doubt(match old.error_rate() {
        Some(old) if old > limit => Hold::BothFail { new: rate, old },
        _ => Hold::MaybeErrors { rate, limit },
    })
}

fn speed(moment: &Moment<'_>, rule: &Rule) -> Finding {
    let Some(limit) = rule.max_slower else {
        return Finding::Fine;
    };
    let new = &moment.new.first_tokens;
    let old = if moment.old.first_tokens.total() >= rule.min_requests {
        &moment.old.first_tokens
    } else {
        &moment.old_ever.first_tokens
    };
    let (Some(new_median), Some(old_median)) = (new.median(), old.median()) else {
        return match (new.total(), old.total()) {
            (0, _) => Finding::Fine,
            (_, seen) => Finding::Doubt(Hold::Uncompared {
                seen,
                wanted: rule.min_requests,
            }),
        };
    };
    if old.total() < rule.min_requests {
        return Finding::Doubt(Hold::Uncompared {
            seen: old.total(),
            wanted: rule.min_requests,
        });
    }
    let most = old_median.mul_f64(limit);
    if new_median <= most || new.total() < rule.min_requests {
        return Finding::Fine;
    }
    if wilson(new.longer_than(most), new.total()).0 > 0.5 {
        return Finding::Fault(Fault::Slow {
            new: new_median,
            old: old_median,
            limit,
        });
    }
    Finding::Doubt(Hold::MaybeSlow {
        new: new_median,
        old: old_median,
    })
}
