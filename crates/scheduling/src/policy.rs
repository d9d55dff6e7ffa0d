//! The port that every routing policy satisfies, and the list of policies by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::call::{Call, Candidate};
use crate::capacity::Portion;
use crate::policies::{LeastLoad, PeakEwma, PrefixAffinity, Remuda, RoundRobin};
use crate::reason::Reasons;
use crate::row::{Row, View};

/// Completes the candidate of an index, for those that are explained.
pub type Describe<'f, 'c> = &'f mut dyn FnMut(usize) -> Option<Candidate<'c>>;

/// Chooses where a call goes. Sees one snapshot, holds no locks, never waits.
///
/// Policies decide over [`Row`]s. Whoever decides often over a large fleet keeps them and makes anew what changed; for a small one
/// it is simpler to hand over [`Candidate`]s, from which the rows are made. Both give the same decision.
pub trait RoutingPolicy: Send + Sync + fmt::Debug {
    /// Scores every candidate and chooses one, or none when none may serve the call. Those that are explained are described in full.
    fn decide(&self, call: &Call<'_>, view: &View<'_>, describe: Describe<'_, '_>) -> Decision;
    /// Decides without explaining: only the index.
    fn pick_of(&self, call: &Call<'_>, view: &View<'_>) -> Option<usize>;
    /// Decides over candidates.
    fn choose(&self, call: &Call<'_>, candidates: &[Candidate<'_>]) -> Decision {
        let rows = rows(call, candidates);
        let view = View::new(&rows, Portion::Whole);
        self.decide(call, &view, &mut |index| candidates.get(index).copied())
    }
    /// Decides over candidates without explaining.
    fn pick(&self, call: &Call<'_>, candidates: &[Candidate<'_>]) -> Option<usize> {
        self.pick_of(call, &View::new(&rows(call, candidates), Portion::Whole))
    }
    /// Tells whether the policy may choose a [full](Candidate::full) node, for which the call then waits although others have
    /// room. Such a policy knows what waiting costs; for the others full nodes are left out.
    fn waits_for_nodes(&self) -> bool {
        false
    }
    /// Names the policy in configuration, logs and metrics.
    fn name(&self) -> &'static str;
}

/// Works candidates out as `call` sees them.
pub(crate) fn rows(call: &Call<'_>, candidates: &[Candidate<'_>]) -> Vec<Row> {
    let row = |candidate| Row::of(candidate, call.tags);
    candidates.iter().map(row).collect()
}

/// What a policy decided, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Decision {
    /// The chosen candidate's index.
    pub chosen: Option<usize>,
    /// The candidates with their scores, in the candidates' order: all of them in fleets of up to [`EXPLAINED`], in larger ones
    /// the chosen one and the best of the others, [`EXPLAINED`] together.
    pub scored: Vec<Scored>,
}

/// How many candidates of one decision are explained at most: explaining costs more than deciding.
pub const EXPLAINED: usize = 32;

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
    /// The least recent latency times requests in flight, of two drawn at random.
    PeakEwma,
    /// The node with the longest warm prefix, unless it is loaded much above the mean.
    PrefixAffinity,
}

impl PolicyName {
    /// Every policy, the default first.
    pub const ALL: [Self; 5] = [
        Self::Remuda,
        Self::LeastLoad,
        Self::RoundRobin,
        Self::PeakEwma,
        Self::PrefixAffinity,
    ];

    /// Returns the name used in configuration and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Remuda => "remuda",
            Self::LeastLoad => "least_load",
            Self::RoundRobin => "round_robin",
            Self::PeakEwma => "peak_ewma",
            Self::PrefixAffinity => "prefix_affinity",
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
#[error(
    "unknown routing policy {0:?}: use remuda, least_load, round_robin, peak_ewma or prefix_affinity"
)]
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
        PolicyName::PeakEwma => Box::new(PeakEwma),
        PolicyName::PrefixAffinity => Box::new(PrefixAffinity),
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
            "unknown routing policy \"fastest\": use remuda, least_load, round_robin, peak_ewma or prefix_affinity"
        );
    }
}
