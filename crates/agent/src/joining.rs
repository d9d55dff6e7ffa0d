//! Becoming a node, and staying one: the calls that issue certificates.

use std::time::Duration;

use agent_proto::v1::joining_client::JoiningClient;
use agent_proto::v1::{JoinRequest, RenewRequest};
use agent_proto::{Channel, Invitation, JOINING};
use rcgen::KeyPair;
use tokio::time::timeout;
use tonic::Status;

use crate::config::{AgentConfig, ControlPlane};
use crate::error::AgentError;
use crate::membership::{Kept, Membership, make_key};
use crate::tls;

/// The longest that joining or renewing may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes this machine a node: shows the invitation, and keeps what the control plane issues. Works once.
///
/// # Errors
/// When the machine is a node already, the control plane cannot be reached, is not the one that invited, or refuses.
pub async fn join(
    config: &AgentConfig,
    control_plane: ControlPlane,
    invitation: Invitation,
) -> Result<Membership, AgentError> {
    config.check()?;
    if let Some(present) = Membership::load(&config.data_dir)? {
        return Err(AgentError::Joined {
            name: present.node_name,
            path: Membership::path(&config.data_dir),
        });
    }
    let key = make_key()?;
    let request = JoinRequest {
        token: invitation.secret(),
        public_key: key.public_key_raw().to_vec().into(),
        version: agent_proto::program_version().to_owned(),
    };
    let tls = tls::invited(invitation, &config.clock)?;
    let issued = with_control_plane(&control_plane, tls, async |channel| {
        JoiningClient::new(channel).join(request).await
    })
    .await?;
    let membership = Membership::new(control_plane, issued, &key);
    membership.save(&config.data_dir)?;
    Ok(membership)
}

/// Gets another certificate, for another key, from the first control plane that answers, and keeps it.
pub(crate) async fn renew(config: &AgentConfig, kept: &Kept) -> Result<(), AgentError> {
    let key: KeyPair = make_key()?;
    let request = RenewRequest {
        public_key: key.public_key_raw().to_vec().into(),
    };
    let present = kept.latest();
    let mut outcome = Err(AgentError::NotJoined);
    for address in present.control_planes() {
        let tls = tls::member(&present, JOINING, &config.clock)?;
        let request = request.clone();
        outcome = with_control_plane(&address, tls, async |channel| {
            JoiningClient::new(channel).renew(request).await
        })
        .await;
        if outcome.is_ok() {
            break;
        }
    }
    let issued = outcome?;
    kept.change(|membership| {
        let others = std::mem::take(&mut membership.others);
        *membership = Membership::new(membership.control_plane.clone(), issued, &key);
        membership.others = others;
    })
}

async fn with_control_plane<T>(
    address: &ControlPlane,
    tls: rustls::ClientConfig,
    ask: impl AsyncFnOnce(Channel) -> Result<tonic::Response<T>, Status>,
) -> Result<T, AgentError> {
    let unreachable = |reason: String| AgentError::Unreachable {
        address: address.to_string(),
        reason,
    };
    let asked = async {
        let stream = tls::connect(address, tls).await?;
        let (channel, connection) = agent_proto::connect(stream)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let connection = std::pin::pin!(connection);
        tokio::select! {
            answer = ask(channel) => answer
                .map(tonic::Response::into_inner)
                .map_err(|status| AgentError::answered(address.as_str(), &status)),
            broken = connection => Err(unreachable(broken.err().map_or_else(
                || "the connection was closed".to_owned(),
                |error| agent_proto::deepest(&error),
            ))),
        }
    };
    timeout(PATIENCE, asked)
        .await
        .map_err(|_| unreachable(format!("no answer within {} s", PATIENCE.as_secs())))?
}
