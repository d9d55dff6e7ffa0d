//! Who carries jobs out.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::stream::BoxStream;
use identity::{Principal, PriorityClass};
use primitives::{ErrorKind, RequestId};
use serde_json::Value;

use crate::model::JobKind;

/// Carries jobs out. It knows what a payload means; queue, leases and attempts are not its business.
pub trait Executor: Send + Sync {
    /// Looks at a job before it is accepted, and returns what it is about, as lists show it.
    ///
    /// # Errors
    /// When it would fail whoever tried it: the caller may not, the payload is wrong.
    fn check(&self, work: &Work) -> Result<String, Refusal>;

    /// Carries a job out. The stream ends with [`Step::Ended`]; dropping it ends the work.
    fn run(&self, work: Work) -> BoxStream<'static, Step>;
}

/// What is to be done, for whom.
#[derive(Clone, Debug)]
pub struct Work {
    /// What is to be done.
    pub kind: JobKind,
    /// On whose behalf, as they are now.
    pub principal: Principal,
    /// Where they asked from, where that is known.
    pub client_address: Option<IpAddr>,
    /// The class that is wanted.
    pub class: PriorityClass,
    /// What the kind asks for: a JSON object.
    pub payload: Value,
}

/// Something that happened while a job is carried out.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The attempt is this request to the data plane.
    Request(RequestId),
    /// Text was put out.
    Output {
        /// What kind of text it is, as `content`.
        channel: &'static str,
        /// The text.
        text: String,
    },
    /// The attempt is over.
    Ended(Outcome),
}

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The job is done, with this result.
    Done(Value),
    /// It cannot be done, and trying again would not help.
    Failed(Refusal),
    /// It went wrong this time. Counts as an attempt.
    Again(Refusal),
    /// It could not be tried: nothing was there to do it, or a limit was reached. Counts as no attempt.
    Later {
        /// Why not.
        why: Refusal,
        /// When it is worth while again; a growing wait when absent.
        after: Option<Duration>,
    },
}

/// Why something is not, or was not, done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind.
    pub kind: ErrorKind,
    /// What the owner may read.
    pub message: String,
}

impl Refusal {
    /// Makes a refusal.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}
