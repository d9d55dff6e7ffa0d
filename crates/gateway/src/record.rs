//! What is remembered of every request: who, what, where, why there, how long, how it ended.

use std::net::IpAddr;
use std::sync::Arc;

use cluster::RolloutChoice;
use identity::{Principal, PrincipalKind};
use primitives::{KeyId, NodeId, OrgId, RequestId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// Longest model name kept in a record, in characters.
pub(crate) const RECORDED_NAME: usize = 200;
/// Longest error text kept in a record, in characters.
pub(crate) const RECORDED_ERROR: usize = 500;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered in full.
    Ok,
    /// The client's mistake: nothing was asked of a node, or the node refused the request as wrong.
    ClientError,
    /// Turned away by a limit.
    Rejected,
    /// No node could answer.
    Failed,
    /// The client went away.
    Cancelled,
    /// The answer broke off after it had begun.
    Truncated,
}

impl Outcome {
    /// Names the outcome in the database, the API and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientError => "client_error",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Truncated => "truncated",
        }
    }
}

/// Who asked.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Nobody in particular: allowed on loopback.
    Anonymous,
    /// An API key.
    Key(KeyId),
    /// A signed-in person.
    User(UserId),
}

impl Caller {
    /// Returns who somebody who is known is in a record.
    pub(crate) const fn of(principal: &Principal) -> Self {
        match principal.kind {
            PrincipalKind::Anonymous => Self::Anonymous,
            PrincipalKind::Key(id) => Self::Key(id),
            PrincipalKind::User(id) => Self::User(id),
        }
    }

    /// Names the kind of caller in the database and the API.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Key(_) => "key",
            Self::User(_) => "user",
        }
    }

    /// Returns the caller's id, if it has one.
    pub fn id(&self) -> Option<String> {
        match self {
            Self::Anonymous => None,
            Self::Key(id) => Some(id.to_string()),
            Self::User(id) => Some(id.to_string()),
        }
    }
}

/// Whose request it is. Not stored: what the record says of the caller is enough there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordOwner {
    /// The caller's organisation.
    pub org: OrgId,
    /// The person who called, or whose key it is.
    pub person: Option<UserId>,
}

impl RecordOwner {
    /// Returns whose requests those of a caller are.
    pub(crate) const fn of(principal: &Principal) -> Self {
        Self {
            org: principal.org,
            person: principal.user,
        }
    }
}

/// What a split chose for a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SplitRecord {
    /// The name whose callers are divided.
    pub name: Arc<str>,
    /// The model that the caller's share is; another one serves where no node can serve it.
    pub chosen: Arc<str>,
    /// The roll-out whose split it is; absent where it is the configuration's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutChoice>,
}

/// One try on one node.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptRecord {
    /// The node that was asked; absent when no candidate could be chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
    /// The model asked for on that node.
    pub model: Arc<str>,
    /// The route asked for, where it is one that is only known to nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Arc<str>>,
    /// Microseconds from the arrival of the request to this try.
    pub started_us: u64,
    /// Microseconds that the try took; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_us: Option<u64>,
    /// Why it ended, in words; absent when it served the request to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Tokens that had reached the client when this try took over a stream.
    #[serde(skip_serializing_if = "is_zero")]
    pub continued_after_tokens: u64,
    /// The requests that this try served together, when there were several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joined: Option<JoinedRecord>,
    /// Every candidate with its score and the reasons.
    pub candidates: Vec<CandidateRecord>,
}

/// A call that served several requests at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct JoinedRecord {
    /// How many requests.
    pub requests: u32,
    /// How many inputs of embeddings they had together; absent when one answer served identical requests.
    #[serde(skip_serializing_if = "is_none")]
    pub inputs: u32,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
const fn is_none(n: &u32) -> bool {
    *n == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
const fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// One candidate of a decision.
#[derive(Clone, Debug, Serialize)]
pub struct CandidateRecord {
    /// The node.
    pub node: Arc<str>,
    /// The policy's score: higher is better; absent for candidates that could not be chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
    /// What made the score, in words.
    pub reasons: Vec<scheduling::Reason>,
}

/// One request, ended.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    /// The id that the client got as `x-request-id`.
    pub id: RequestId,
    /// When it arrived.
    pub received_at: Timestamp,
    /// Who asked.
    pub caller: Caller,
    /// The caller's name.
    pub caller_name: Arc<str>,
    /// Whose it is.
    pub owner: RecordOwner,
    /// Where it came from.
    pub client_address: IpAddr,
    /// The client's dialect.
    pub dialect: &'static str,
    /// The operation, as `openai_chat`.
    pub operation: &'static str,
    /// The model as the client wrote it, cut to 200 characters.
    pub requested_model: Arc<str>,
    /// The model that served it.
    pub model: Option<Arc<str>>,
    /// The node that served it last.
    pub node: Option<(NodeId, Arc<str>)>,
    /// The HTTP status sent.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it did not end well.
    pub error: Option<String>,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// Times that the stream was continued on another node.
    pub continued: u32,
    /// Tries before the first byte beyond the first one.
    pub retries: u32,
    /// Microseconds in the queue.
    pub queue_us: u64,
    /// Microseconds from arrival to the first token (or the whole answer).
    pub first_token_us: Option<u64>,
    /// Microseconds from arrival to the end.
    pub total_us: u64,
    /// Tokens of the prompt, as the node counted them.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// The policy that decided.
    pub policy: &'static str,
    /// What a split chose, where there is one.
    pub split: Option<Arc<SplitRecord>>,
    /// Every try with its candidates.
    pub attempts: Vec<AttemptRecord>,
}
