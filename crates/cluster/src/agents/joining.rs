//! Inviting machines, and letting them in: once each.

use std::time::Duration;

use agent_proto::v1::joining_server::Joining;
use agent_proto::v1::{JoinRequest, Membership, RenewRequest};
use agent_proto::{Invitation, node_host};
use identity::journal::{self, Action, Actor};
use primitives::{Classify, ErrorKind, NodeId, Timestamp};
use tonic::{Code, Request, Response, Status};

use super::authority::Issued;
use crate::error::NodeError;
use crate::model::{NodeKind, NodeSource};
use crate::record::NodeRecord;
use crate::registry::Registry;
use crate::spec::NodeSpec;
use crate::store as rows;

/// How long an invitation stands.
const STANDS_FOR: Duration = Duration::from_mins(15);
/// The most invitations that stand at the same time.
const MOST_STANDING: u64 = 1_000;
/// How long invitations that ended are remembered, so that their reuse is named for what it is.
const REMEMBERED: Duration = Duration::from_hours(24);

/// An invitation for one machine.
#[derive(Debug)]
pub struct Invited {
    /// The name that the node will have.
    pub name: String,
    /// What the machine shows; never to be seen again.
    pub invitation: Invitation,
    /// Until when it stands.
    pub expires_at: Timestamp,
}

impl Registry {
    /// Invites a machine to join as a node of this name.
    ///
    /// # Errors
    /// When the name is not valid or taken, agents are not expected, or too many invitations stand.
    pub async fn invite_agent(&self, name: &str, by: &Actor) -> Result<Invited, NodeError> {
        if self.inner.agents_config().listen.is_none() {
            return Err(NodeError::NoAgents);
        }
        let settings = NodeSpec::new(name, "http://invited.invalid").check()?;
        self.refuse_taken(&settings, None)?;
        let authority = self.authority().await?;
        let invitation = Invitation::new(rand::random(), authority.certificate());
        let now = self.inner.clock.now();
        let expires_at = now.after(STANDS_FOR);
        let hash = Invitation::hash(&invitation.secret());
        let mut tx = self.inner.db.write_ordered().await?;
        journal::begin(&mut tx).await?;
        rows::forget_invitations(&mut tx, now.before(REMEMBERED)).await?;
        if rows::count_standing_invitations(&mut tx, now).await? >= MOST_STANDING {
            return Err(NodeError::TooManyInvitations(MOST_STANDING));
        }
        rows::insert_invitation(&mut tx, &hash, name, now, expires_at).await?;
        let change = journal::Change {
            action: Action::InvitationCreate,
            org: None,
            subject: ("node_invitation", Some(name.to_owned())),
            old: None,
            new: Some(serde_json::json!({"name": name, "expires_at": expires_at})),
        };
        journal::record(&mut tx, now, by, change).await?;
        tx.commit().await?;
        Ok(Invited {
            name: name.to_owned(),
            invitation,
            expires_at,
        })
    }

    /// Makes a node of a machine that shows an invitation.
    async fn join_agent(
        &self,
        token: &str,
        public_key: &[u8],
    ) -> Result<(NodeRecord, Issued), NodeError> {
        let authority = self.authority().await?;
        let now = self.inner.clock.now();
        let id = NodeId::generate(now);
        // First, so that a key that cannot be used does not cost the invitation.
        let issued = authority.issue(id, public_key, now)?;
        let hash = Invitation::hash(token);
        let _writing = self.inner.writing.lock().await;
        let mut tx = self.inner.db.write_ordered().await?;
        journal::begin(&mut tx).await?;
        let Some(name) = rows::use_invitation(&mut tx, &hash, now).await? else {
            let why = rows::find_invitation(&mut tx, &hash).await?;
            return Err(NodeError::Invitation(match why {
                Some(invitation) if invitation.used => "it was used already",
                Some(_) => "it has expired",
                None => "this control plane did not make it",
            }));
        };
        let mut settings =
            NodeSpec::new(name, format!("http://{}", node_host(&id.to_string()))).check()?;
        settings.kind = NodeKind::Agent;
        self.refuse_taken(&settings, None)?;
        let record = NodeRecord {
            id,
            settings,
            source: NodeSource::Api,
            draining: false,
            created_at: now,
            updated_at: now,
        };
        self.insert_record(&mut tx, &record, &Actor::system())
            .await?;
        tx.commit().await?;
        tracing::info!(node = &*record.settings.name, "a machine has joined");
        self.publish(record.clone(), None)?;
        Ok((record, issued))
    }

    /// Issues another certificate to a node that is still one.
    async fn renew_agent(
        &self,
        node: NodeId,
        public_key: &[u8],
    ) -> Result<(NodeRecord, Issued), NodeError> {
        let authority = self.authority().await?;
        let record = self
            .find_agent_node(node)
            .ok_or_else(|| NodeError::Unknown(node.to_string()))?;
        let issued = authority.issue(node, public_key, self.inner.clock.now())?;
        Ok((record, issued))
    }
}

/// Answers on one connection of somebody who wants to join, or of a node.
#[derive(Clone, Debug)]
pub(super) struct JoiningService {
    registry: Registry,
    /// Whose certificate was shown, if any.
    node: Option<NodeId>,
}

impl JoiningService {
    pub(super) fn new(registry: Registry, node: Option<NodeId>) -> Self {
        Self { registry, node }
    }

    async fn membership(
        &self,
        record: &NodeRecord,
        issued: Issued,
    ) -> Result<Membership, NodeError> {
        let authority = self.registry.authority().await?;
        let seconds = |at: Timestamp| at.as_micros() / 1_000_000;
        Ok(Membership {
            node_id: record.id.to_string(),
            node_name: record.settings.name.to_string(),
            certificate: issued.certificate.to_vec().into(),
            authority: authority.certificate().to_vec().into(),
            not_before: seconds(issued.not_before),
            not_after: seconds(issued.not_after),
        })
    }
}

#[tonic::async_trait]
impl Joining for JoiningService {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<Membership>, Status> {
        let asked = request.into_inner();
        let joined = async {
            let (record, issued) = self
                .registry
                .join_agent(&asked.token, &asked.public_key)
                .await?;
            self.membership(&record, issued).await
        };
        joined
            .await
            .map(Response::new)
            .map_err(|error| refusal(&error))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<Membership>, Status> {
        let node = self.node.ok_or_else(|| {
            Status::unauthenticated("only a node that shows its certificate can renew it")
        })?;
        let asked = request.into_inner();
        let renewed = async {
            let (record, issued) = self.registry.renew_agent(node, &asked.public_key).await?;
            self.membership(&record, issued).await
        };
        renewed
            .await
            .map(Response::new)
            .map_err(|error| refusal(&error))
    }
}

/// Says an error in the terms of gRPC.
fn refusal(error: &NodeError) -> Status {
    let code = match error.kind() {
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::Unauthenticated => Code::Unauthenticated,
        ErrorKind::Forbidden => Code::PermissionDenied,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Conflict => Code::AlreadyExists,
        ErrorKind::TooMany => Code::ResourceExhausted,
        ErrorKind::Timeout => Code::DeadlineExceeded,
        _ => Code::Internal,
    };
    if code == Code::Internal {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "a machine could not join"
        );
    }
    Status::new(code, error.public_message())
}
