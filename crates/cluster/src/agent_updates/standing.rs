//! How agents stand towards a version, by what they tell.

use std::collections::HashMap;
use std::time::Duration;

use agent_proto::v1::Updates;
use agent_proto::{UpdateKey, Version};
use primitives::{MonotonicTime, NodeId};
use scheduling::Health;

use super::decide::{Agent, AskedAgent, Standing};
use super::record::{Asked, Release};
use super::{Watched, WatchedAgent};
use crate::model::NodeView;
use crate::snapshot::FleetSnapshot;

/// How long patience waits for the release to be handed over, its turn and further tries included.
const GIVING: Duration = Duration::from_hours(1);

/// What an agent is looked at for.
pub(super) struct Sought<'a> {
    /// The name of the attempt: the roll-out.
    pub(super) attempt: &'a str,
    pub(super) version: Version,
    /// The releases of the version, of whatever target.
    pub(super) releases: &'a [Release],
}

impl Sought<'_> {
    /// Returns the release for an agent.
    pub(super) fn release_for(&self, updates: &Updates) -> Option<&Release> {
        let mut releases = self.releases.iter();
        releases.find(|release| release.manifest.target == updates.target)
    }

    fn standing(&self, node: &NodeView) -> Standing {
        let Some(seat) = node.agent.as_ref() else {
            return Standing::LeftOut("it has no agent".to_owned());
        };
        let Some(link) = seat.link() else {
            let why = seat.problem().unwrap_or_default();
            return if seat.is_leaving() {
                Standing::UnderWay
            } else {
                Standing::Away(why)
            };
        };
        let Some(status) = link.status() else {
            return Standing::Away("its agent has told nothing yet".to_owned());
        };
        let Some(updates) = &status.updates else {
            return Standing::LeftOut(format!(
                "its agent ({}) is of a version that cannot be updated from here: install a later one there once",
                link.version()
            ));
        };
        let serves = node.health != Health::Dead;
        let is_own = updates.attempt.as_deref() == Some(self.attempt);
        let runs: Option<Version> = link.version().parse().ok();
        if updates.on_trial || updates.leaving || is_own {
            return Standing::UnderWay;
        }
        if runs.is_some_and(|runs| runs >= self.version) {
            return Standing::There { serves };
        }
        if let Some(failed) = &updates.failed
            && failed.attempt == self.attempt
        {
            return Standing::Failed(failed.reason.chars().take(600).collect());
        }
        let left_out = |why: &str| Standing::LeftOut(why.to_owned());
        if updates.attempt.is_some() {
            return left_out("it is being updated already");
        }
        let key = updates.key.as_deref();
        let key: Option<UpdateKey> = key.and_then(|key| key.parse().ok());
        let Some(key) = key else {
            return left_out(
                "it takes no updates: start `remuda agent` there with --update-key KEY once",
            );
        };
        let Some(release) = self.release_for(updates) else {
            let target: String = updates.target.chars().take(40).collect();
            return Standing::LeftOut(format!("no release of {} is for {target}", self.version));
        };
        if release.manifest.key != key {
            return Standing::LeftOut(format!(
                "it believes another key ({key}) than the one that signed the release"
            ));
        }
        if !serves {
            return left_out(
                "it does not answer, so that nobody could tell what another version does to it",
            );
        }
        Standing::Ready
    }
}

/// Looks at all agents of the fleet, and at those that were asked and are no more; by name.
pub(super) fn look_at_all(
    sought: &Sought<'_>,
    fleet: &FleetSnapshot,
    asked: &[Asked],
    watched: &HashMap<NodeId, WatchedAgent>,
    now: MonotonicTime,
) -> Vec<Agent> {
    let asked_of = |node: NodeId| {
        let row = asked.iter().find(|row| row.node == node)?;
        let seen = watched.get(&node);
        let since = |at: MonotonicTime| now.since(at);
        Some(AskedAgent {
            refused: row.failed.clone(),
            waited: seen.map_or(Duration::ZERO, |seen| since(seen.waited)),
            settled: seen.and_then(|seen| seen.settled).map(since),
        })
    };
    let nodes = fleet.nodes.iter().filter(|node| node.agent.is_some());
    let mut agents: Vec<Agent> = nodes
        .map(|node| Agent {
            node: node.id,
            name: node.name.to_string(),
            standing: sought.standing(node),
            asked: asked_of(node.id),
        })
        .collect();
    let gone = asked
        .iter()
        .filter(|row| fleet.find_node(row.node).is_none());
    agents.extend(gone.map(|row| Agent {
        node: row.node,
        name: row.name.clone(),
        standing: Standing::LeftOut("the node was removed".to_owned()),
        // Nobody waits for it.
        asked: None,
    }));
    agents.sort_by(|one, other| one.name.cmp(&other.name));
    agents
}

impl Watched {
    /// Notes how the agents that were asked stand.
    pub(super) fn note(&mut self, agents: &[Agent], now: MonotonicTime) {
        self.agents.retain(|node, _| {
            let of = |agent: &&Agent| agent.node == *node;
            agents
                .iter()
                .find(of)
                .is_some_and(|agent| agent.asked.is_some())
        });
        for agent in agents.iter().filter(|agent| agent.asked.is_some()) {
            let watched = self.agents.entry(agent.node).or_insert(WatchedAgent {
                asked: now,
                waited: now,
                settled: None,
                giving: false,
            });
            if agent.standing == (Standing::There { serves: true }) {
                watched.settled.get_or_insert(now);
            } else if watched.settled.take().is_some() {
                // Patience begins anew: it has shown that it can.
                watched.waited = now;
            } else if watched.giving && now.since(watched.asked) < GIVING {
                // Patience begins when it has the release: a slow link is no fault of the version.
                watched.waited = now;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use primitives::Timestamp;

    use super::*;

    #[test]
    fn patience_begins_anew_when_an_agent_that_served_is_lost() {
        let (mut watched, node) = (
            Watched::default(),
            NodeId::generate(Timestamp::from_micros(1)),
        );
        let mut agent = Agent {
            node,
            name: "gpu".to_owned(),
            standing: Standing::UnderWay,
            asked: Some(AskedAgent::default()),
        };
        let at = |minute| MonotonicTime::from_micros(0).after(Duration::from_mins(minute));
        let mut look = |standing, minute| {
            agent.standing = standing;
            watched.note(std::slice::from_ref(&agent), at(minute));
            let seen = watched.agents[&node];
            (seen.waited, seen.settled)
        };
        let there = Standing::There { serves: true };
        assert_eq!(look(Standing::UnderWay, 0), (at(0), None));
        assert_eq!(look(there.clone(), 1), (at(0), Some(at(1))));
        let away = Standing::Away("lost".to_owned());
        assert_eq!(look(away.clone(), 60), (at(60), None));
        assert_eq!(look(away, 61), (at(60), None));
        assert_eq!(look(there, 62), (at(60), Some(at(62))));
    }

    #[test]
    fn patience_begins_when_an_agent_has_the_release_and_not_later_than_in_an_hour() {
        let (mut watched, node) = (
            Watched::default(),
            NodeId::generate(Timestamp::from_micros(1)),
        );
        let agent = Agent {
            node,
            name: "gpu".to_owned(),
            standing: Standing::Ready,
            asked: Some(AskedAgent::default()),
        };
        let at = |minute| MonotonicTime::from_micros(0).after(Duration::from_mins(minute));
        let mut look = |giving, minute| {
            if let Some(known) = watched.agents.get_mut(&node) {
                known.giving = giving;
            }
            watched.note(std::slice::from_ref(&agent), at(minute));
            watched.agents[&node].waited
        };
        assert_eq!(look(false, 0), at(0));
        assert_eq!(look(true, 1), at(1));
        // It takes its time, breaks off, and begins again.
        assert_eq!(look(true, 40), at(40));
        assert_eq!(look(false, 41), at(40));
        assert_eq!(look(true, 59), at(59));
        // What never ends is a fault, too.
        assert_eq!(look(true, 60), at(59));
        assert_eq!(look(true, 90), at(59));
    }
}
