//! The port that every routing policy satisfies, and the list of policies by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::call::{Call, Candidate};
use crate::eligibility::exclusion;
use crate::policies::{LeastLoad, Remuda, RoundRobin};
use crate::reason::{Reason, Reasons};

/// Chooses where a call goes. Sees one snapshot, holds no locks, never waits.
pub trait RoutingPolicy: Send + Sync + fmt::Debug {
    /// Scores every candidate and chooses one, or none when none may serve the call.
    fn choose(&self, call: &Call<'_>, candidates: &[Candidate<'_>]) -> Decision;
    /// Names the policy in configuration, logs and metrics.
    fn name(&self) -> &'static str;
}

/// What a policy decided, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Decision {
    /// The chosen candidate's index.
    pub chosen: Option<usize>,
    /// Every candidate's score, in the candidates' order.
    pub scored: Vec<Scored>,
}

/// One candidate's score.
#[derive(Clone, Debug, Serialize)]
pub struct Scored {
    /// The candidate's index.
    pub index: usize,
    /// Higher is better; only comparable within one decision. Negative infinity (`null` in JSON) when excluded.
    pub score: f32,
    /// What the score is made of.
    pub reasons: Reasons,
}

impl Scored {
    /// Tells whether the candidate was ruled out before scoring.
    pub fn is_excluded(&self) -> bool {
        self.score == f32::NEG_INFINITY
    }
}

impl Decision {
    /// Scores every candidate that may be chosen with `score`; the others get their exclusion as the only reason.
    pub(crate) fn scoring(
        call: &Call<'_>,
        candidates: &[Candidate<'_>],
        mut score: impl FnMut(&Candidate<'_>, &mut Reasons) -> f32,
    ) -> Self {
        let scored = candidates
            .iter()
            .enumerate()
            .map(|(index, candidate)| {
                let mut reasons = Reasons::new();
                let score = match exclusion(call, candidate) {
                    Some(exclusion) => {
                        reasons.push(Reason::Excluded(exclusion));
                        f32::NEG_INFINITY
                    }
                    None => score(candidate, &mut reasons).max(f32::MIN),
                };
                Scored {
                    index,
                    score,
                    reasons,
                }
            })
            .collect();
        Self {
            chosen: None,
            scored,
        }
    }

    /// Counts the candidates that may be chosen.
    pub(crate) fn eligible_count(&self) -> usize {
        self.scored.iter().filter(|s| !s.is_excluded()).count()
    }

    /// Returns the index of the `nth` candidate that may be chosen.
    pub(crate) fn nth_eligible(&self, nth: usize) -> Option<usize> {
        self.scored
            .iter()
            .filter(|s| !s.is_excluded())
            .nth(nth)
            .map(|s| s.index)
    }

    /// Chooses `index` and notes why.
    pub(crate) fn choose(&mut self, index: usize, why: Option<Reason>) {
        self.chosen = Some(index);
        if let (Some(why), Some(scored)) = (why, self.scored.get_mut(index)) {
            scored.reasons.push(why);
        }
    }
}

/// The policies there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyName {
    /// Least expected time to the first token and to the end.
    #[default]
    Remuda,
    /// The less loaded of two drawn at random.
    LeastLoad,
    /// One after the other.
    RoundRobin,
}

impl PolicyName {
    /// Every policy, the default first.
    pub const ALL: [Self; 3] = [Self::Remuda, Self::LeastLoad, Self::RoundRobin];

    /// Returns the name used in configuration and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Remuda => "remuda",
            Self::LeastLoad => "least_load",
            Self::RoundRobin => "round_robin",
        }
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown routing policy {0:?}: use remuda, least_load or round_robin")]
pub struct UnknownPolicy(String);

impl FromStr for PolicyName {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|policy| policy.as_str() == text)
            .ok_or_else(|| UnknownPolicy(text.to_owned()))
    }
}

/// Makes the policy of that name.
pub fn policy(name: PolicyName) -> Box<dyn RoutingPolicy> {
    match name {
        PolicyName::Remuda => Box::new(Remuda),
        PolicyName::LeastLoad => Box::new(LeastLoad),
        PolicyName::RoundRobin => Box::new(RoundRobin::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_mistakes_list_the_choices() {
        for name in PolicyName::ALL {
            assert_eq!(name.as_str().parse(), Ok(name));
            assert_eq!(policy(name).name(), name.as_str());
            assert_eq!(serde_json::to_value(name).unwrap(), name.as_str());
        }
        let error = "fastest".parse::<PolicyName>().unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown routing policy \"fastest\": use remuda, least_load or round_robin"
        );
    }
}
