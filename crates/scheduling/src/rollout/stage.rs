//! The stages of a roll-out: how many callers get the new version, and how many nodes that takes.

use std::fmt;
use std::str::FromStr;

/// The most stages of a roll-out.
pub const MOST_STAGES: usize = 20;
/// The largest share of the stage at one node, in hundredths of a percent.
const MOST_AT_ONE_NODE: u32 = 1_000;
/// All callers, in hundredths of a percent.
const ALL: u32 = 10_000;

/// One stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A small share of the callers, at one node.
    Node,
    /// This share of the callers in percent, 1 to 100, at any node.
    Percent(u8),
}

/// The stages of a roll-out, in order: each larger than the one before, the last one all callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stages(Vec<Stage>);

/// Why stages are none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStages {
    /// A text that is no stage.
    #[error("{0:?} is no stage: write node, or percent of the callers from 1 to 100")]
    Unknown(String),
    /// None, or too many.
    #[error("a roll-out has 1 to {MOST_STAGES} stages, as node,10,100")]
    Count,
    /// The stage at one node stands after another.
    #[error("the stage node can only be the first one")]
    NodeLater,
    /// A stage is not larger than the one before.
    #[error("the stages do not rise: {1} comes after {0}")]
    Falling(Stage, Stage),
    /// Not all callers get the new version in the end.
    #[error("the last stage is {0}: end with 100, all callers")]
    End(Stage),
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node => f.write_str("node"),
            Self::Percent(percent) => write!(f, "{percent}"),
        }
    }
}

impl FromStr for Stage {
    type Err = InvalidStages;

    /// Reads `node`, `10` or `10%`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || InvalidStages::Unknown(text.chars().take(40).collect());
        let text = text.trim();
        if text == "node" {
            return Ok(Self::Node);
        }
        let number = text.strip_suffix('%').unwrap_or(text).trim_end();
        let percent: u8 = number.parse().map_err(|_| unknown())?;
        if (1..=100).contains(&percent) {
            Ok(Self::Percent(percent))
        } else {
            Err(unknown())
        }
    }
}

impl Stage {
    const fn percent(self) -> u32 {
        match self {
            Self::Node => 0,
            Self::Percent(percent) => percent as u32,
        }
    }

    /// Returns how many nodes the new version needs for it, of so many that have the old one.
    pub const fn nodes(self, old: u32) -> u32 {
        match self {
            Self::Node => 1,
            Self::Percent(percent) => {
                let nodes = (old as u64 * percent as u64).div_ceil(100);
                if nodes < 1 { 1 } else { nodes as u32 }
            }
        }
    }
}

impl Stages {
    /// Checks stages.
    pub fn new(stages: Vec<Stage>) -> Result<Self, InvalidStages> {
        if stages.len() > MOST_STAGES {
            return Err(InvalidStages::Count);
        }
        for pair in stages.windows(2) {
            match pair {
                [_, Stage::Node] => return Err(InvalidStages::NodeLater),
                [one, next] if next.percent() <= one.percent() => {
                    return Err(InvalidStages::Falling(*one, *next));
                }
                _ => {}
            }
        }
        match stages.last() {
            None => Err(InvalidStages::Count),
            Some(Stage::Percent(100)) => Ok(Self(stages)),
            Some(last) => Err(InvalidStages::End(*last)),
        }
    }

    /// Returns the number of stages, at least 1.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells that there is a stage.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns a stage, the first one being 0.
    pub fn get(&self, position: usize) -> Option<Stage> {
        self.0.get(position).copied()
    }

    /// Lists them.
    pub fn iter(&self) -> impl Iterator<Item = Stage> {
        self.0.iter().copied()
    }

    /// Returns the share of callers in a stage in hundredths of a percent, 1 to 10,000, where so many nodes have the old version. At one
    /// node that is what one of those nodes serves of the callers, 10 % at most, and no more than in the next stage.
    pub fn share(&self, position: usize, old_nodes: u32) -> u32 {
        match self.get(position) {
            None => ALL,
            Some(Stage::Percent(percent)) => u32::from(percent) * 100,
            Some(Stage::Node) => {
                let next = self
                    .get(position + 1)
                    .map_or(ALL, |next| next.percent() * 100);
                let of_one = ALL / old_nodes.max(1);
                of_one.min(MOST_AT_ONE_NODE).min(next).max(1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages(text: &str) -> Result<Stages, InvalidStages> {
        let read: Result<Vec<Stage>, _> = text.split(',').map(str::parse).collect();
        Stages::new(read?)
    }

    #[test]
    fn stages_rise_to_all_callers() {
        let three = stages("node, 10%,100").unwrap();
        assert_eq!((three.share(0, 1), three.share(0, 20)), (1_000, 500));
        assert_eq!((three.share(1, 20), three.share(2, 20)), (1_000, 10_000));
        assert_eq!(stages("node,2,100").unwrap().share(0, 3), 200);
        assert_eq!(stages("node,100").unwrap().share(0, 100_000), 1);
        for (text, says) in [
            ("10,10,100", "do not rise"),
            ("50,10,100", "10 comes after 50"),
            ("10,node,100", "first"),
            ("node", "end with 100"),
            ("10,50", "the last stage is 50"),
            ("0,100", "\"0\" is no stage"),
            ("101", "no stage"),
            ("half,100", "\"half\" is no stage"),
            ("", "no stage"),
        ] {
            let error = stages(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert_eq!(Stages::new(Vec::new()), Err(InvalidStages::Count));
    }

    #[test]
    fn a_stage_takes_its_share_of_the_nodes() {
        assert_eq!(Stage::Node.nodes(10), 1);
        let nodes = |percent: u8, old| Stage::Percent(percent).nodes(old);
        assert_eq!([nodes(10, 1), nodes(10, 10), nodes(10, 11)], [1, 1, 2]);
        assert_eq!([nodes(50, 3), nodes(100, 3), nodes(100, 0)], [2, 3, 1]);
    }
}
