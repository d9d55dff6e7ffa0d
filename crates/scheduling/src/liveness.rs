//! Whether a node is alive, judged by progress: a busy node that answers no probe is not dead, and a node that answers
//! probes but completes no call is not healthy.

use std::fmt;
use std::time::Duration;

use primitives::MonotonicTime;
use serde::Serialize;

/// Why a probe failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeFailure {
    /// Nobody listens: refused, unknown host, no route.
    Unreachable,
    /// Somebody listens but did not answer in time.
    TimedOut,
    /// It answered, but not as a model server does.
    BadAnswer,
}

/// What was seen of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LivenessEvent {
    /// A probe was answered.
    ProbeAnswered,
    /// A probe failed.
    ProbeFailed(ProbeFailure),
    /// A call got bytes of its answer.
    Progress,
    /// A call got no answer: it hung, was reset or timed out before its first byte.
    CallUnanswered,
    /// The one-token check got its token.
    CheckAnswered,
    /// The one-token check failed or timed out.
    CheckFailed,
}

/// How well a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It answers.
    #[default]
    Alive,
    /// It works on calls and is slow to answer probes.
    Busy,
    /// There are doubts; calls still may go there when nothing better is left.
    Suspect,
    /// It does not answer.
    Dead,
}

/// What the verdict rests on, in words through `Display`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LivenessCause {
    /// Nothing was heard of it yet.
    NeverSeen,
    /// Probes and calls are answered.
    Answers,
    /// Probes fail, but calls make progress.
    ProgressDespiteProbes,
    /// Probes time out while calls are in flight.
    WorkingInSilence,
    /// Some probes failed.
    MissedProbes(u32),
    /// Nobody listens at its address.
    Unreachable,
    /// Probes time out.
    ProbesTimeOut(u32),
    /// It answers, but not as a model server.
    NotAModelServer,
    /// Probes are answered, calls are not.
    CallsUnanswered(u32),
    /// Probes are answered, and the one-token check failed.
    CheckFailed,
}

impl fmt::Display for LivenessCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverSeen => f.write_str("not reached yet"),
            Self::Answers => f.write_str("answers"),
            Self::ProgressDespiteProbes => {
                f.write_str("its calls make progress although probes fail")
            }
            Self::WorkingInSilence => f.write_str("probes time out while it works on calls"),
            Self::MissedProbes(count) => write!(f, "{count} probes in a row failed"),
            Self::Unreachable => f.write_str("nobody listens at its address"),
            Self::ProbesTimeOut(count) => write!(f, "{count} probes in a row timed out"),
            Self::NotAModelServer => f.write_str("answers, but not as a model server does"),
            Self::CallsUnanswered(count) => write!(
                f,
                "answers probes, but the last {count} calls got no answer"
            ),
            Self::CheckFailed => {
                f.write_str("answers probes, but does not generate a single token")
            }
        }
    }
}

/// A node's health and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LivenessVerdict {
    /// How well it is.
    pub health: Health,
    /// Why.
    pub cause: LivenessCause,
}

/// Progress this recent proves life, whatever probes say.
const RECENT_PROGRESS: Duration = Duration::from_secs(15);
/// How long a node with calls in flight may be silent before it counts as dead, where work keeps it from answering probes: the
/// longest prefill worth waiting for.
const SILENT_WORK: Duration = Duration::from_mins(3);
/// The same where nothing keeps it from answering.
const SILENCE: Duration = Duration::from_secs(30);
/// Refused probes in a row that mean death.
const REFUSALS: u32 = 2;
/// Other failed probes in a row that mean death.
const FAILURES: u32 = 3;
/// Unanswered calls since the last progress that raise doubt.
const UNANSWERED: u32 = 2;

/// Whether a server answers probes while it works on calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkingProbes {
    /// It does: silence is a bad sign, whatever it works on.
    Answered,
    /// Nobody knows, or a long prefill keeps it from answering.
    MaybeUnanswered,
}

/// What is remembered about one node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Liveness {
    last_sign: Option<MonotonicTime>,
    last_progress: Option<MonotonicTime>,
    failed_probes: u32,
    last_failure: Option<ProbeFailure>,
    unanswered_calls: u32,
    check_failed: bool,
}

impl WorkingProbes {
    /// Judges a node that works and has been silent for so long; `None` when that is too long.
    fn silent_work(self, silent: Duration) -> Option<Health> {
        let (health, limit) = match self {
            Self::Answered => (Health::Suspect, SILENCE),
            Self::MaybeUnanswered => (Health::Busy, SILENT_WORK),
        };
        (silent <= limit).then_some(health)
    }
}

impl Liveness {
    /// Makes a record of a node that was never seen.
    pub const fn new() -> Self {
        Self {
            last_sign: None,
            last_progress: None,
            failed_probes: 0,
            last_failure: None,
            unanswered_calls: 0,
            check_failed: false,
        }
    }

    /// Takes note of what was seen.
    pub fn observe(&mut self, event: LivenessEvent, now: MonotonicTime) {
        match event {
            LivenessEvent::ProbeAnswered => {
                self.last_sign = Some(now);
                self.failed_probes = 0;
                self.last_failure = None;
            }
            LivenessEvent::ProbeFailed(failure) => {
                self.failed_probes = self.failed_probes.saturating_add(1);
                self.last_failure = Some(failure);
            }
            LivenessEvent::Progress | LivenessEvent::CheckAnswered => {
                self.last_sign = Some(now);
                self.last_progress = Some(now);
                self.unanswered_calls = 0;
                self.check_failed = false;
            }
            LivenessEvent::CallUnanswered => {
                self.unanswered_calls = self.unanswered_calls.saturating_add(1);
            }
            LivenessEvent::CheckFailed => self.check_failed = true,
        }
    }

    /// Judges a node that has `in_flight` calls at this moment.
    pub fn verdict(
        &self,
        now: MonotonicTime,
        in_flight: u32,
        probes: WorkingProbes,
    ) -> LivenessVerdict {
        let (health, cause) = self.judge(now, in_flight, probes);
        LivenessVerdict { health, cause }
    }

    /// Tells whether only a one-token check can decide: calls went unanswered and none is left to wait for.
    pub fn wants_check(&self, now: MonotonicTime, in_flight: u32) -> bool {
        let doubted = self.unanswered_calls >= UNANSWERED || self.check_failed;
        let quiet = self
            .last_progress
            .is_none_or(|progress| now.since(progress) > RECENT_PROGRESS);
        doubted && self.failed_probes == 0 && (in_flight == 0 || quiet)
    }

    fn judge(
        &self,
        now: MonotonicTime,
        in_flight: u32,
        probes: WorkingProbes,
    ) -> (Health, LivenessCause) {
        let Some(last_sign) = self.last_sign else {
            return match self.last_failure {
                None => (Health::Suspect, LivenessCause::NeverSeen),
                Some(failure) => (Health::Dead, self.cause_of_death(failure)),
            };
        };
        if let Some(failure) = self.last_failure {
            let silent = now.since(last_sign);
            let silent_work = (in_flight > 0)
                .then(|| probes.silent_work(silent))
                .flatten();
            return self.judge_unanswered_probes(failure, silent_work, now);
        }
        if self.check_failed {
            (Health::Dead, LivenessCause::CheckFailed)
        } else if self.unanswered_calls >= UNANSWERED {
            (
                Health::Suspect,
                LivenessCause::CallsUnanswered(self.unanswered_calls),
            )
        } else {
            (Health::Alive, LivenessCause::Answers)
        }
    }

    fn judge_unanswered_probes(
        &self,
        failure: ProbeFailure,
        silent_work: Option<Health>,
        now: MonotonicTime,
    ) -> (Health, LivenessCause) {
        let progressing = self
            .last_progress
            .is_some_and(|progress| now.since(progress) <= RECENT_PROGRESS);
        if progressing && self.unanswered_calls == 0 {
            return (Health::Busy, LivenessCause::ProgressDespiteProbes);
        }
        match (failure, silent_work) {
            (ProbeFailure::TimedOut, Some(health)) => (health, LivenessCause::WorkingInSilence),
            (ProbeFailure::Unreachable, _) if self.failed_probes >= REFUSALS => {
                (Health::Dead, LivenessCause::Unreachable)
            }
            _ if self.failed_probes >= FAILURES => (Health::Dead, self.cause_of_death(failure)),
            _ => (
                Health::Suspect,
                LivenessCause::MissedProbes(self.failed_probes),
            ),
        }
    }

    const fn cause_of_death(&self, failure: ProbeFailure) -> LivenessCause {
        match failure {
            ProbeFailure::Unreachable => LivenessCause::Unreachable,
            ProbeFailure::TimedOut => LivenessCause::ProbesTimeOut(self.failed_probes),
            ProbeFailure::BadAnswer => LivenessCause::NotAModelServer,
        }
    }
}

/// Tells whether so many nodes look dead at once (at least two, and more than half of those that were alive before) that
/// the fault is more likely ours: then they should stay routable.
pub const fn is_mass_failure(dead: usize, known: usize) -> bool {
    dead >= 2 && dead * 2 > known
}

#[cfg(test)]
mod tests {
    use super::WorkingProbes::{Answered, MaybeUnanswered};
    use super::*;

    fn at(seconds: u64) -> MonotonicTime {
        MonotonicTime::from_micros(seconds * 1_000_000)
    }

    fn alive_at(seconds: u64) -> Liveness {
        let mut liveness = Liveness::new();
        liveness.observe(LivenessEvent::ProbeAnswered, at(seconds));
        liveness
    }

    fn fail(liveness: &mut Liveness, failure: ProbeFailure, times: u64, from: u64) {
        for i in 0..times {
            liveness.observe(LivenessEvent::ProbeFailed(failure), at(from + 10 * i));
        }
    }

    #[test]
    fn a_node_in_a_long_prefill_is_busy_not_dead() {
        let mut liveness = alive_at(0);
        fail(&mut liveness, ProbeFailure::TimedOut, 6, 10);
        assert_eq!(
            liveness.verdict(at(70), 1, MaybeUnanswered).health,
            Health::Busy
        );
        assert_eq!(
            liveness.verdict(at(70), 0, MaybeUnanswered).health,
            Health::Dead
        );
        assert_eq!(
            liveness.verdict(at(400), 1, MaybeUnanswered).health,
            Health::Dead,
            "silence has an end"
        );
    }

    #[test]
    fn a_server_that_answers_while_it_works_is_dead_after_half_a_minute_of_silence() {
        let mut liveness = alive_at(0);
        fail(&mut liveness, ProbeFailure::TimedOut, 1, 10);
        let doubted = liveness.verdict(at(11), 1, Answered);
        assert_eq!(
            (doubted.health, doubted.cause),
            (Health::Suspect, LivenessCause::WorkingInSilence)
        );
        fail(&mut liveness, ProbeFailure::TimedOut, 2, 20);
        assert_eq!(
            liveness.verdict(at(30), 1, Answered).health,
            Health::Suspect
        );
        assert_eq!(liveness.verdict(at(31), 1, Answered).health, Health::Dead);
        assert_eq!(
            liveness.verdict(at(31), 1, MaybeUnanswered).health,
            Health::Busy
        );
        let mut prefilling = alive_at(0);
        prefilling.observe(LivenessEvent::ProbeAnswered, at(600));
        assert_eq!(
            prefilling.verdict(at(601), 1, Answered).health,
            Health::Alive,
            "a prefill of minutes during which probes are answered"
        );
    }

    #[test]
    fn stream_progress_outweighs_failed_probes() {
        let mut liveness = alive_at(0);
        fail(&mut liveness, ProbeFailure::TimedOut, 10, 1);
        liveness.observe(LivenessEvent::Progress, at(100));
        let verdict = liveness.verdict(at(105), 1, MaybeUnanswered);
        assert_eq!(verdict.health, Health::Busy);
        assert_eq!(
            verdict.cause.to_string(),
            "its calls make progress although probes fail"
        );
    }

    #[test]
    fn nobody_listening_is_death_at_the_second_refusal() {
        let mut liveness = alive_at(0);
        fail(&mut liveness, ProbeFailure::Unreachable, 1, 10);
        assert_eq!(
            liveness.verdict(at(10), 3, MaybeUnanswered).health,
            Health::Suspect
        );
        fail(&mut liveness, ProbeFailure::Unreachable, 1, 20);
        assert_eq!(
            liveness.verdict(at(20), 3, MaybeUnanswered).health,
            Health::Dead
        );
        liveness.observe(LivenessEvent::ProbeAnswered, at(30));
        assert_eq!(
            liveness.verdict(at(30), 0, MaybeUnanswered).health,
            Health::Alive
        );
    }

    #[test]
    fn answering_probes_while_calls_hang_is_suspect_until_the_check_decides() {
        let mut liveness = alive_at(0);
        liveness.observe(LivenessEvent::CallUnanswered, at(1));
        assert_eq!(
            liveness.verdict(at(1), 0, MaybeUnanswered).health,
            Health::Alive
        );
        liveness.observe(LivenessEvent::CallUnanswered, at(2));
        liveness.observe(LivenessEvent::ProbeAnswered, at(3));
        assert_eq!(
            liveness.verdict(at(3), 0, MaybeUnanswered).health,
            Health::Suspect
        );
        assert!(liveness.wants_check(at(3), 0));
        let mut hung = liveness;
        hung.observe(LivenessEvent::CheckFailed, at(4));
        assert_eq!(hung.verdict(at(4), 0, MaybeUnanswered).health, Health::Dead);
        hung.observe(LivenessEvent::ProbeAnswered, at(5));
        assert_eq!(
            hung.verdict(at(5), 0, MaybeUnanswered).health,
            Health::Dead,
            "a list of models proves nothing"
        );
        assert!(
            hung.wants_check(at(5), 0),
            "it is checked until it generates again"
        );
        liveness.observe(LivenessEvent::CheckAnswered, at(4));
        assert_eq!(
            liveness.verdict(at(4), 0, MaybeUnanswered).health,
            Health::Alive
        );
        assert!(!liveness.wants_check(at(4), 0));
    }

    #[test]
    fn no_check_disturbs_a_node_that_makes_progress() {
        let mut liveness = alive_at(0);
        liveness.observe(LivenessEvent::Progress, at(1));
        liveness.observe(LivenessEvent::CallUnanswered, at(2));
        liveness.observe(LivenessEvent::CallUnanswered, at(2));
        assert!(!liveness.wants_check(at(3), 4));
        assert!(liveness.wants_check(at(60), 4), "all its calls hang");
    }

    #[test]
    fn most_nodes_dead_at_once_is_our_own_fault() {
        assert!(!is_mass_failure(1, 1));
        assert!(!is_mass_failure(1, 2));
        assert!(is_mass_failure(2, 2));
        assert!(!is_mass_failure(2, 4));
        assert!(is_mass_failure(3, 4));
    }
}
