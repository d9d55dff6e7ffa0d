//! Calls to one node on behalf of a probe: bounded in time and size, with errors that a person can act on.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use primitives::Secret;
use scheduling::ProbeFailure;
use serde::Serialize;
use serde::de::DeserializeOwned;
use web::InstanceId;
use web::outbound::{Answer, Call, Client, OutboundError};

use crate::node_url::NodeUrl;

/// The most bytes of an answer that are read: room for 10,000 models.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// Why a node could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContactError {
    /// No answer: nobody listens, the connection broke, or the time was over.
    #[error("{}", primitives::Classify::public_message(.0))]
    Outbound(OutboundError),
    /// The node wants a key, or another one.
    #[error("the server answers {0} to {1}: it wants an api_key, or another one")]
    WantsKey(StatusCode, String),
    /// The node answered with an error.
    #[error("the server answers {0} to {1}")]
    Status(StatusCode, String),
    /// Nothing there speaks a known API.
    #[error(
        "something answers, but it is neither Ollama nor OpenAI-compatible: check the port and the path"
    )]
    NotAModelServer,
    /// The node is this installation.
    #[error(
        "Remuda itself answers there: a gateway cannot be its own node; give the address of a model server"
    )]
    Ourselves,
}

impl ContactError {
    /// Classifies the failure for liveness.
    pub(crate) fn failure(&self) -> ProbeFailure {
        match self {
            Self::Outbound(OutboundError::Timeout { .. }) => ProbeFailure::TimedOut,
            Self::Outbound(OutboundError::Json { .. } | OutboundError::TooLarge { .. })
            | Self::WantsKey(..)
            | Self::Status(..)
            | Self::NotAModelServer
            | Self::Ourselves => ProbeFailure::BadAnswer,
            Self::Outbound(_) => ProbeFailure::Unreachable,
        }
    }

    /// Tells whether the same call may work later without anybody doing anything.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Outbound(
                OutboundError::Connect { .. }
                | OutboundError::Timeout { .. }
                | OutboundError::Broken { .. },
            ) => true,
            Self::Status(status, _) => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            _ => false,
        }
    }
}

impl From<OutboundError> for ContactError {
    fn from(error: OutboundError) -> Self {
        Self::Outbound(error)
    }
}

/// One node's address with everything needed to call it.
#[derive(Clone, Debug)]
pub(crate) struct Contact {
    pub(crate) client: Client,
    pub(crate) url: NodeUrl,
    pub(crate) credential: Option<Arc<Secret<String>>>,
    pub(crate) timeout: Duration,
    /// This installation, which must not be its own node.
    pub(crate) instance: InstanceId,
}

impl Contact {
    fn prepare(&self, call: Call, limit: Duration) -> Call {
        let call = call.head_timeout(limit).total_timeout(Some(limit));
        match &self.credential {
            Some(credential) => call.bearer(credential),
            None => call,
        }
    }

    /// Asks for JSON.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ContactError> {
        let call = self.prepare(self.client.get(&self.url.join(path)), self.timeout);
        self.receive(call, path).await
    }

    /// Asks for JSON with these values in the query.
    pub(crate) async fn get_with<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, ContactError> {
        let mut url = self.url.join(path);
        url.query_pairs_mut().extend_pairs(query);
        let call = self.prepare(self.client.get(&url), self.timeout);
        self.receive(call, path).await
    }

    /// Asks for text of at most `limit` bytes.
    pub(crate) async fn get_text(&self, path: &str, limit: usize) -> Result<String, ContactError> {
        let call = self.prepare(self.client.get(&self.url.join(path)), self.timeout);
        let answer = self.send(call, path).await?;
        let body = answer.bytes(limit).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Sends JSON and reads JSON, within `limit` or the usual time.
    pub(crate) async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        limit: Option<Duration>,
    ) -> Result<T, ContactError> {
        let call = self.client.post(&self.url.join(path)).json(body);
        self.receive(self.prepare(call, limit.unwrap_or(self.timeout)), path)
            .await
    }

    async fn receive<T: DeserializeOwned>(
        &self,
        call: Call,
        path: &str,
    ) -> Result<T, ContactError> {
        Ok(self.send(call, path).await?.json(BODY_LIMIT).await?)
    }

    async fn send(&self, call: Call, path: &str) -> Result<Answer, ContactError> {
        let answer = call.send().await?;
        // Whatever the status: without a key we would refuse ourselves.
        if InstanceId::of_answer(answer.headers()) == Some(self.instance) {
            return Err(ContactError::Ourselves);
        }
        accept(answer.status(), path)?;
        Ok(answer)
    }
}

fn accept(status: StatusCode, path: &str) -> Result<(), ContactError> {
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(ContactError::WantsKey(status, path.to_owned()))
        }
        status => Err(ContactError::Status(status, path.to_owned())),
    }
}
