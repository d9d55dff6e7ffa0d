//! A record, and how one is added to a change.

use std::fmt::Display;

use ::store::{StoreError, Tx};
use primitives::{OrgId, Timestamp, UserId};
use serde_json::Value;

use super::chain::{ChainHash, hash_of};
use super::commitment::{Proof, commit};
use crate::model::{Principal, PrincipalKind};
use crate::origin::Origin;
use crate::store;
use crate::store::{About, Mark, Place, RowChange};

/// The most bytes of what was before or after; more is cut to a note that says so.
const LONGEST_STATE: usize = 16 * 1024;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The first administrator was made.
    SetUp,
    /// The administrator's password was set at the start.
    AdminByPassword,
    /// A session began.
    SignIn,
    /// A session was ended.
    SessionEnd,
    /// All sessions of a person were ended.
    SessionsEnd,
    /// A refresh token was presented a second time.
    SessionReuse,
    /// Somebody changed their password.
    PasswordChange,
    /// A token to reset a password was made.
    PasswordResetStart,
    /// A password was reset.
    PasswordReset,
    /// Somebody changed what they tell of themselves.
    ProfileEdit,
    /// Somebody has a second factor now.
    SecondFactorEnable,
    /// Somebody gave their second factor up.
    SecondFactorDisable,
    /// An administrator removed a second factor.
    SecondFactorRemove,
    /// Somebody has other recovery codes.
    RecoveryCodesRenew,
    /// A person was made.
    UserCreate,
    /// A person was changed.
    UserEdit,
    /// Somebody made their own account.
    UserRegister,
    /// An account was made for who signed in by a provider.
    UserProvision,
    /// An identity at a provider was linked to a person.
    IdentityLink,
    /// An identity was unlinked.
    IdentityUnlink,
    /// An invitation was made.
    InvitationCreate,
    /// An invitation was withdrawn.
    InvitationWithdraw,
    /// An organisation was made.
    OrganisationCreate,
    /// A role was made.
    RoleCreate,
    /// A role was changed.
    RoleEdit,
    /// A role was removed.
    RoleDelete,
    /// An API key was made.
    KeyCreate,
    /// An API key was changed.
    KeyEdit,
    /// An API key was revoked.
    KeyRevoke,
    /// A key to sign access tokens with was made.
    SigningKeyMake,
    /// Old records of changes were removed.
    AuditTrim,
    /// A node was added.
    NodeAdd,
    /// A node was changed.
    NodeEdit,
    /// A node gets nothing new.
    NodeDrain,
    /// A node gets new work again.
    NodeUndrain,
    /// A node was removed.
    NodeRemove,
    /// A node is made of other parts.
    HardwareEdit,
    /// Nodes were told to fetch a model.
    ModelPull,
    /// A node was told to publish a model.
    ModelPush,
    /// Nodes were told to make a model.
    ModelCreate,
    /// Nodes were told to give a model another name.
    ModelCopy,
    /// Nodes were told to delete a model.
    ModelDelete,
    /// A part of a model was uploaded to a node.
    ModelUpload,
    /// Nodes were told to load a model into memory.
    ModelLoad,
    /// Nodes were told to unload a model from memory.
    ModelUnload,
    /// A kind of work was paused.
    JobKindPause,
    /// A kind of work was let go on.
    JobKindResume,
    /// Work that had failed was made due again.
    JobReplay,
    /// What is wanted of a model was changed.
    PlacementEdit,
    /// Nothing is wanted of a model any more.
    PlacementRemove,
    /// What is planned for models was to be carried out.
    PlacementApply,
    /// An action of placement was called off.
    PlacementCancel,
    /// A new version of a model began to be rolled out.
    RolloutStart,
    /// A roll-out went on to its next stage: by itself, or by somebody.
    RolloutAdvance,
    /// A roll-out was stopped where it is.
    RolloutPause,
    /// A roll-out that was stopped may go on.
    RolloutResume,
    /// A roll-out was taken back by itself: its new version failed.
    RolloutRollBack,
    /// A roll-out was taken back by somebody.
    RolloutAbort,
    /// All callers have the new version for good.
    RolloutDone,
    /// A roll-out that has ended decides no more who gets which version.
    RolloutClose,
    /// A release of the agent's program was uploaded.
    AgentReleaseUpload,
    /// A release of the agent's program was removed.
    AgentReleaseRemove,
    /// A version began to be rolled out to agents.
    AgentRolloutStart,
    /// A roll-out to agents went on to its next stage.
    AgentRolloutAdvance,
    /// A roll-out to agents was stopped where it is.
    AgentRolloutPause,
    /// A roll-out to agents that was stopped may go on.
    AgentRolloutResume,
    /// A roll-out to agents ended by itself: an agent failed.
    AgentRolloutFail,
    /// A roll-out to agents was ended by somebody.
    AgentRolloutAbort,
    /// All agents that can have a version have it.
    AgentRolloutDone,
    /// A request under way was cancelled.
    RequestCancel,
    /// A setting of the system was changed.
    SettingEdit,
    /// Settings of the system were set back.
    SettingRollback,
    /// Old rows were removed.
    DatabaseClean,
    /// Stored secrets were sealed with another key.
    SecretsRotate,
    /// What is known of a person was given out.
    UserExport,
    /// What is known of a person was erased.
    UserErase,
}

impl Action {
    /// Names the action as it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SetUp => "setup",
            Self::AdminByPassword => "admin.by_password",
            Self::SignIn => "session.start",
            Self::SessionEnd => "session.end",
            Self::SessionsEnd => "session.end_all",
            Self::SessionReuse => "session.reuse",
            Self::PasswordChange => "password.change",
            Self::PasswordResetStart => "password.reset_start",
            Self::PasswordReset => "password.reset",
            Self::ProfileEdit => "profile.edit",
            Self::SecondFactorEnable => "second_factor.enable",
            Self::SecondFactorDisable => "second_factor.disable",
            Self::SecondFactorRemove => "second_factor.remove",
            Self::RecoveryCodesRenew => "second_factor.renew_codes",
            Self::UserCreate => "user.create",
            Self::UserEdit => "user.edit",
            Self::UserRegister => "user.register",
            Self::UserProvision => "user.provision",
            Self::IdentityLink => "identity.link",
            Self::IdentityUnlink => "identity.unlink",
            Self::InvitationCreate => "invitation.create",
            Self::InvitationWithdraw => "invitation.withdraw",
            Self::OrganisationCreate => "organisation.create",
            Self::RoleCreate => "role.create",
            Self::RoleEdit => "role.edit",
            Self::RoleDelete => "role.delete",
            Self::KeyCreate => "key.create",
            Self::KeyEdit => "key.edit",
            Self::KeyRevoke => "key.revoke",
            Self::SigningKeyMake => "signing_key.make",
            Self::AuditTrim => "audit.trim",
            Self::NodeAdd => "node.add",
            Self::NodeEdit => "node.edit",
            Self::NodeDrain => "node.drain",
            Self::NodeUndrain => "node.undrain",
            Self::NodeRemove => "node.remove",
            Self::HardwareEdit => "hardware.edit",
            Self::ModelPull => "model.pull",
            Self::ModelPush => "model.push",
            Self::ModelCreate => "model.create",
            Self::ModelCopy => "model.copy",
            Self::ModelDelete => "model.delete",
            Self::ModelUpload => "model.upload",
            Self::ModelLoad => "model.load",
            Self::ModelUnload => "model.unload",
            Self::JobKindPause => "job_kind.pause",
            Self::JobKindResume => "job_kind.resume",
            Self::JobReplay => "job.replay",
            Self::PlacementEdit => "placement.edit",
            Self::PlacementRemove => "placement.remove",
            Self::PlacementApply => "placement.apply",
            Self::PlacementCancel => "placement.cancel",
            Self::RolloutStart => "rollout.start",
            Self::RolloutAdvance => "rollout.advance",
            Self::RolloutPause => "rollout.pause",
            Self::RolloutResume => "rollout.resume",
            Self::RolloutRollBack => "rollout.roll_back",
            Self::RolloutAbort => "rollout.abort",
            Self::RolloutDone => "rollout.done",
            Self::RolloutClose => "rollout.close",
            Self::AgentReleaseUpload => "agent_release.upload",
            Self::AgentReleaseRemove => "agent_release.remove",
            Self::AgentRolloutStart => "agent_rollout.start",
            Self::AgentRolloutAdvance => "agent_rollout.advance",
            Self::AgentRolloutPause => "agent_rollout.pause",
            Self::AgentRolloutResume => "agent_rollout.resume",
            Self::AgentRolloutFail => "agent_rollout.fail",
            Self::AgentRolloutAbort => "agent_rollout.abort",
            Self::AgentRolloutDone => "agent_rollout.done",
            Self::RequestCancel => "request.cancel",
            Self::SettingEdit => "setting.edit",
            Self::SettingRollback => "setting.rollback",
            Self::DatabaseClean => "database.clean",
            Self::SecretsRotate => "secrets.rotate",
            Self::UserExport => "user.export",
            Self::UserErase => "user.erase",
        }
    }
}

/// Who did it, and from where.
#[derive(Clone, Debug)]
pub struct Actor {
    kind: &'static str,
    id: Option<String>,
    name: String,
    origin: Origin,
}

impl Actor {
    /// The program itself.
    pub fn system() -> Self {
        Self {
            kind: "system",
            id: None,
            name: "remuda".to_owned(),
            origin: Origin::default(),
        }
    }

    /// Nobody in particular: a caller without a credential, where that is allowed.
    pub fn anonymous(origin: &Origin) -> Self {
        Self::caller(&Principal::anonymous(), origin)
    }

    /// A caller who was let in.
    pub fn caller(principal: &Principal, origin: &Origin) -> Self {
        Self {
            kind: match principal.kind {
                PrincipalKind::Anonymous => "anonymous",
                PrincipalKind::Key(_) => "key",
                PrincipalKind::User(_) => "user",
            },
            id: principal.id(),
            name: principal.name.to_string(),
            origin: origin.clone(),
        }
    }

    /// A person who proves themselves with what the change is about: a password, a token.
    pub(crate) fn person(id: UserId, name: &str, origin: &Origin) -> Self {
        Self {
            kind: "user",
            id: Some(id.to_string()),
            name: name.to_owned(),
            origin: origin.clone(),
        }
    }
}

/// What was done to what.
#[derive(Clone, Debug)]
pub struct Change {
    /// What was done.
    pub action: Action,
    /// Whose it is: who may see the record. Nobody's: administrators of the platform.
    pub org: Option<OrgId>,
    /// What kind of thing, and which.
    pub subject: (&'static str, Option<String>),
    /// What was before. Never a secret.
    pub old: Option<Value>,
    /// What is now. Never a secret.
    pub new: Option<Value>,
}

/// One record of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its number: one more than that of the record before.
    pub seq: i64,
    /// When it was done.
    pub at: Timestamp,
    /// What was done, as in `key.create`.
    pub action: String,
    /// `user`, `key`, `anonymous` or `system`.
    pub actor_kind: String,
    /// The id of the person or the key.
    pub actor_id: Option<String>,
    /// Their name at that time.
    pub actor_name: String,
    /// Whose organisation it concerns.
    pub org_id: Option<OrgId>,
    /// What kind of thing was changed.
    pub subject_kind: String,
    /// Which one.
    pub subject_id: Option<String>,
    /// The address that it was done from.
    pub ip: Option<String>,
    /// The program that it was done with, as that calls itself.
    pub user_agent: Option<String>,
    /// What was before, as JSON.
    pub old: Option<String>,
    /// What was after, as JSON.
    pub new: Option<String>,
    /// How the hash covers what names a person.
    pub(crate) proof: Proof,
}

/// Adds a record within the transaction of the change, which has counted itself: that keeps records in one order.
///
/// # Errors
/// When the database fails.
pub async fn record(
    tx: &mut Tx,
    now: Timestamp,
    actor: &Actor,
    change: Change,
) -> Result<(), StoreError> {
    let head = store::audit_head(tx).await?;
    let (record, hash) = after(head, now, actor, change);
    store::append_audit(tx, &record, hash, None).await?;
    Ok(())
}

/// Adds the only record of a change that is about one key or session, at the place that the change began with, and makes the change
/// where it is not made yet. Returns `false`, and neither is made, where the row to change is not as it was seen.
pub(crate) async fn record_about(
    tx: &mut Tx,
    (credential, rows): (impl Display, Option<RowChange>),
    place: Place,
    (now, actor): (Timestamp, &Actor),
    change: Change,
) -> Result<bool, StoreError> {
    let (record, hash) = after(place.head, now, actor, change);
    let about = About {
        generation: place.generation,
        credential: &credential.to_string(),
        change: rows,
    };
    store::append_audit(tx, &record, hash, Some(about)).await
}

/// Makes the record that follows the last one.
fn after(
    head: Option<Mark>,
    now: Timestamp,
    actor: &Actor,
    change: Change,
) -> (AuditRecord, ChainHash) {
    let (last, before, latest) = head.unwrap_or((0, ChainHash::START, None));
    // Time does not go back from one record to the next, whatever the clocks of replicas say: months end where others begin.
    let now = latest.map_or(now, |latest| latest.max(now));
    let (subject_kind, subject_id) = change.subject;
    let text = |value: Option<Value>| value.map(|value| bounded(&value.to_string()));
    let record = AuditRecord {
        seq: last + 1,
        at: now,
        action: change.action.as_str().to_owned(),
        actor_kind: actor.kind.to_owned(),
        actor_id: actor.id.clone(),
        actor_name: actor.name.clone(),
        org_id: change.org,
        subject_kind: subject_kind.to_owned(),
        subject_id,
        ip: actor.origin.ip_text(),
        user_agent: actor.origin.user_agent.clone(),
        old: text(change.old),
        new: text(change.new),
        proof: Proof::Values,
    };
    let mut record = without_nul(record);
    record.proof = commit(&record);
    let hash = hash_of(before, &record);
    (record, hash)
}

/// What the database cannot store must not be hashed either.
fn without_nul(mut record: AuditRecord) -> AuditRecord {
    let clean = |text: &mut String| {
        if text.contains('\0') {
            *text = text.replace('\0', "\u{fffd}");
        }
    };
    clean(&mut record.actor_name);
    let absent_too = [&mut record.user_agent, &mut record.old, &mut record.new];
    absent_too.into_iter().flatten().for_each(clean);
    record
}

fn bounded(text: &str) -> String {
    if text.len() <= LONGEST_STATE {
        return text.to_owned();
    }
    serde_json::json!({"left_out": format!("{} bytes", text.len())}).to_string()
}
