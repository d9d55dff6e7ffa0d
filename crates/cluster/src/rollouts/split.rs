//! What gateways are told of roll-outs.

use primitives::{NodeId, RolloutId};
use serde::{Deserialize, Serialize};

/// One of the two versions between which a roll-out chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RolloutVersion {
    /// What callers had before.
    Old,
    /// What is rolled out.
    New,
}

impl RolloutVersion {
    /// Names the version in the database and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
        }
    }
}

/// How the callers of a name are divided by a roll-out now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutSplit {
    /// The roll-out.
    pub id: RolloutId,
    /// The key of the name that clients ask for.
    pub model: String,
    /// The key of the old version.
    pub old: String,
    /// The key of the new version.
    pub new: String,
    /// The share of callers who get the new version, in hundredths of a percent, 0 to 10,000.
    pub share: u32,
    /// The stage, from 0 on; absent where no stage is under way, and nothing is counted.
    pub stage: Option<u32>,
    /// The only node that serves the new version to them, in the stage at one node.
    pub only: Option<NodeId>,
}

/// What a roll-out chose for a request, as its record tells.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RolloutChoice {
    /// The roll-out.
    pub id: RolloutId,
    /// The stage, from 0 on; absent where none is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<u32>,
    /// The share of callers who get the new version, in percent.
    pub share_percent: f64,
    /// The version that the caller gets.
    pub version: RolloutVersion,
}

impl RolloutSplit {
    /// Describes the choice of a version.
    pub fn choice(&self, version: RolloutVersion) -> RolloutChoice {
        RolloutChoice {
            id: self.id,
            stage: self.stage,
            share_percent: f64::from(self.share) / 100.0,
            version,
        }
    }
}
