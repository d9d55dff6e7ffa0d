//! What is to be done about a roll-out to agents now: a pure function of what is seen of them.

use std::fmt;
use std::time::Duration;

use primitives::NodeId;
use scheduling::rollout::Stage;

/// How an agent stands towards the version that is rolled out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is linked with it, or a later one. Whether it serves is another matter.
    There {
        /// Its node answers.
        serves: bool,
    },
    /// It can take it.
    Ready,
    /// It is taking or trying it.
    UnderWay,
    /// It has tried it in this roll-out, and gone back.
    Failed(String),
    /// It cannot be seen now.
    Away(String),
    /// It cannot have it.
    LeftOut(String),
}

/// One agent.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    pub(super) node: NodeId,
    pub(super) name: String,
    pub(super) standing: Standing,
    pub(super) asked: Option<AskedAgent>,
}

/// What is known of an agent that was asked.
#[derive(Clone, Debug, Default)]
pub(super) struct AskedAgent {
    /// Why it did not take the release.
    pub(super) refused: Option<String>,
    /// How long it is waited for: since it has the release, or was last seen to serve with the version.
    pub(super) waited: Duration,
    /// How long it is linked with the version, and serves.
    pub(super) settled: Option<Duration>,
}

/// What a roll-out asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) is_paused: bool,
    pub(super) stage: Stage,
    pub(super) is_last: bool,
    pub(super) hold: Duration,
    pub(super) patience: Duration,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing yet.
    Hold(Hold),
    /// These are asked to take the version.
    Ask(Vec<NodeId>),
    /// The next stage begins.
    Advance,
    /// All have the version that can.
    Done,
    /// An agent has not got it: nobody else is asked.
    Fail { node: NodeId, reason: String },
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Somebody has paused it.
    Paused,
    /// No agent can have the version.
    Nobody,
    /// These are not back with the version, or do not serve.
    Agents(Vec<String>),
    /// The stage lasts on.
    Time(Duration),
}

/// The most agents that are named.
const NAMED: usize = 5;

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused => f.write_str("it is paused"),
            Self::Nobody => f.write_str("no agent can have the version: see the reasons of each"),
            Self::Agents(agents) => {
                let named = agents.get(..NAMED).unwrap_or(agents).join(", ");
                let more = agents.len().saturating_sub(NAMED);
                write!(f, "for {named}")?;
                if more > 0 {
                    write!(f, " and {more} more")?;
                }
                f.write_str(" to be linked with the version, and to serve")
            }
            Self::Time(left) => write!(f, "the stage lasts {} s more", left.as_secs() + 1),
        }
    }
}

/// Decides what to do. `agents` are in the order in which they are asked.
pub(super) fn decide(moment: &Moment, agents: &[Agent]) -> Verdict {
    for agent in agents {
        let Some(asked) = &agent.asked else { continue };
        let is_there = matches!(agent.standing, Standing::There { .. });
        let settled = asked.settled.is_some();
        let why = match (&asked.refused, &agent.standing) {
            (Some(refused), _) if !is_there => refused.clone(),
            (_, Standing::Failed(reason)) => format!("it went back to its version: {reason}"),
            _ if !settled && asked.waited >= moment.patience => {
                let what = if is_there {
                    "it has the version, and its model server is not reached any more"
                } else {
                    "it was not linked with the version"
                };
                format!("{what} within {} s", moment.patience.as_secs())
            }
            _ => continue,
        };
        return Verdict::Fail {
            node: agent.node,
            reason: format!("{}: {why}", agent.name),
        };
    }
    if moment.is_paused {
        return Verdict::Hold(Hold::Paused);
    }
    let counts = |agent: &&Agent| {
        let able = matches!(
            agent.standing,
            Standing::There { .. } | Standing::Ready | Standing::UnderWay
        );
        agent.asked.is_some() || able
    };
    let total = agents.iter().filter(counts).count();
    if total == 0 {
        return Verdict::Hold(Hold::Nobody);
    }
    let has = |agent: &&Agent| {
        agent.asked.is_some() || agent.standing != Standing::Ready && counts(agent)
    };
    let wanted = moment.stage.nodes(u32::try_from(total).unwrap_or(u32::MAX)) as usize;
    let missing = wanted.saturating_sub(agents.iter().filter(has).count());
    let ready = agents
        .iter()
        .filter(|agent| agent.asked.is_none() && agent.standing == Standing::Ready);
    let ask: Vec<NodeId> = ready.take(missing).map(|agent| agent.node).collect();
    if !ask.is_empty() {
        return Verdict::Ask(ask);
    }
    let asked = || {
        agents
            .iter()
            .filter_map(|agent| Some((agent, agent.asked.as_ref()?)))
    };
    let waits = asked().filter(|(_, asked)| asked.settled.is_none());
    let waits: Vec<String> = waits.map(|(agent, _)| agent.name.clone()).collect();
    if !waits.is_empty() {
        return Verdict::Hold(Hold::Agents(waits));
    }
    let shortest = asked().filter_map(|(_, asked)| asked.settled).min();
    match shortest {
        Some(settled) if settled < moment.hold => {
            Verdict::Hold(Hold::Time(moment.hold.saturating_sub(settled)))
        }
        _ if moment.is_last => Verdict::Done,
        _ => Verdict::Advance,
    }
}

#[cfg(test)]
mod tests {
    use primitives::Timestamp;

    use super::*;

    const HOLD: Duration = Duration::from_mins(1);
    const PATIENCE: Duration = Duration::from_mins(10);

    fn moment(stage: &str, is_last: bool) -> Moment {
        Moment {
            is_paused: false,
            stage: stage.parse().unwrap(),
            is_last,
            hold: HOLD,
            patience: PATIENCE,
        }
    }

    fn fleet(standings: Vec<Standing>) -> Vec<Agent> {
        let agents = standings.into_iter().enumerate();
        agents
            .map(|(number, standing)| Agent {
                node: NodeId::generate(Timestamp::from_micros(number as i64 * 1_000_000)),
                name: format!("gpu{number:02}"),
                standing,
                asked: None,
            })
            .collect()
    }

    fn asked(agent: &mut Agent, waited: u64, settled: Option<u64>) {
        agent.asked = Some(AskedAgent {
            refused: None,
            waited: Duration::from_secs(waited),
            settled: settled.map(Duration::from_secs),
        });
    }

    const THERE: Standing = Standing::There { serves: true };

    #[test]
    fn one_agent_is_asked_first_then_a_tenth_then_all() {
        let mut agents = fleet(vec![Standing::Ready; 20]);
        let first = Verdict::Ask(vec![agents[0].node]);
        assert_eq!(decide(&moment("node", false), &agents), first);
        asked(&mut agents[0], 5, None);
        let waits = Verdict::Hold(Hold::Agents(vec!["gpu00".to_owned()]));
        assert_eq!(decide(&moment("node", false), &agents), waits);
        agents[0].standing = THERE;
        asked(&mut agents[0], 30, Some(10));
        let lasts = Verdict::Hold(Hold::Time(Duration::from_secs(50)));
        assert_eq!(decide(&moment("node", false), &agents), lasts);
        asked(&mut agents[0], 90, Some(60));
        assert_eq!(decide(&moment("node", false), &agents), Verdict::Advance);
        let second = Verdict::Ask(vec![agents[1].node]);
        assert_eq!(decide(&moment("10", false), &agents), second);
        let Verdict::Ask(rest) = decide(&moment("100", true), &agents) else {
            panic!("nobody is asked");
        };
        assert_eq!(rest.len(), 19);
        for agent in &mut agents {
            agent.standing = THERE;
            asked(agent, 90, Some(60));
        }
        assert_eq!(decide(&moment("100", true), &agents), Verdict::Done);
    }

    #[test]
    fn the_first_agent_that_fails_ends_it_and_nobody_else_is_asked() {
        let failing = |change: fn(&mut Agent)| {
            let mut agents = fleet(vec![Standing::Ready; 3]);
            asked(&mut agents[1], 5, None);
            change(&mut agents[1]);
            match decide(&moment("100", true), &agents) {
                Verdict::Fail { node, reason } => {
                    assert_eq!(node, agents[1].node);
                    reason
                }
                other => panic!("{other:?}"),
            }
        };
        let back = failing(|agent| agent.standing = Standing::Failed("it crashed".to_owned()));
        assert!(
            back.contains("gpu01: it went back") && back.contains("crashed"),
            "{back}"
        );
        let late = failing(|agent| asked(agent, 600, None));
        assert!(
            late.contains("not linked with the version within 600 s"),
            "{late}"
        );
        let dead = failing(|agent| {
            agent.standing = Standing::There { serves: false };
            asked(agent, 600, None);
        });
        assert!(dead.contains("model server"), "{dead}");
        let refused = failing(|agent| {
            agent.asked = Some(AskedAgent {
                refused: Some("no room".to_owned()),
                ..AskedAgent::default()
            });
        });
        assert!(refused.ends_with("no room"), "{refused}");
    }

    #[test]
    fn a_failure_is_seen_while_it_is_paused_and_nothing_else_happens_then() {
        let mut paused = moment("100", true);
        paused.is_paused = true;
        let mut agents = fleet(vec![Standing::Ready; 2]);
        assert_eq!(decide(&paused, &agents), Verdict::Hold(Hold::Paused));
        asked(&mut agents[0], 601, None);
        assert!(matches!(decide(&paused, &agents), Verdict::Fail { .. }));
    }

    #[test]
    fn agents_that_cannot_have_the_version_do_not_count() {
        let out = || Standing::LeftOut("no key".to_owned());
        let away = Standing::Away("gone".to_owned());
        let mut agents = fleet(vec![out(), Standing::Ready, away, out()]);
        let one = Verdict::Ask(vec![agents[1].node]);
        assert_eq!(decide(&moment("100", true), &agents), one);
        agents[1].standing = THERE;
        assert_eq!(decide(&moment("100", true), &agents), Verdict::Done);
        agents[1].standing = out();
        assert_eq!(
            decide(&moment("100", true), &agents),
            Verdict::Hold(Hold::Nobody)
        );
    }
}
