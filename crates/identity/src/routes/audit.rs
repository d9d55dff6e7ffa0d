//! `GET /api/v1/audit` and `GET /api/v1/audit/verify`.

use axum::extract::State;
use primitives::{OrgId, PageRequest, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use web::{JsonBody, KeptAnswer, PageBody, Problem, QueryParams, page_limit, page_offset};

use crate::audit::{AuditFilter, AuditRecord, ChainState};
use crate::extract::{Admin, Allowed, OrgAdmin, ReadAudit};
use crate::identity::Identity;

/// Which records to show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditQuery {
    /// Records on the page, 1 to 500; 50 when absent.
    #[serde(default, deserialize_with = "page_limit")]
    #[param(minimum = 1, maximum = 500, example = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Items to leave out at the start.
    #[serde(default, deserialize_with = "page_offset")]
    #[param(minimum = 0, maximum = 100_000)]
    offset: Option<u32>,
    /// Only of this organisation; of all that the caller may see when absent.
    #[param(value_type = Option<String>)]
    org_id: Option<OrgId>,
    /// Only of this action.
    #[param(example = "key.create")]
    action: Option<String>,
    /// Only by this person or key.
    actor_id: Option<String>,
    /// Only about this thing.
    subject_id: Option<String>,
    /// Not before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

/// A record of a change.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditBody {
    /// Its number: one more than that of the record before.
    seq: i64,
    /// When it was done.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// What was done.
    #[schema(example = "key.create")]
    action: String,
    /// `user`, `key`, `anonymous` or `system`.
    #[schema(example = "user")]
    actor_kind: String,
    /// The id of the person or the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    actor_id: Option<String>,
    /// Their name at that time.
    actor_name: String,
    /// Whose organisation it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid)]
    org_id: Option<OrgId>,
    /// What kind of thing was changed.
    #[schema(example = "key")]
    subject_kind: String,
    /// Which one.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject_id: Option<String>,
    /// The address that it was done from.
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
    /// The program that it was done with, as that calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    /// What was before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    old: Option<Box<RawValue>>,
    /// What was after.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    new: Option<Box<RawValue>>,
}

impl From<AuditRecord> for AuditBody {
    fn from(record: AuditRecord) -> Self {
        // A record that somebody has damaged is shown without what cannot be read; verifying names it.
        let json = |text: Option<String>| text.and_then(|text| RawValue::from_string(text).ok());
        Self {
            seq: record.seq,
            at: record.at,
            action: record.action,
            actor_kind: record.actor_kind,
            actor_id: record.actor_id,
            actor_name: record.actor_name,
            org_id: record.org_id,
            subject_kind: record.subject_kind,
            subject_id: record.subject_id,
            ip: record.ip,
            user_agent: record.user_agent,
            old: json(record.old),
            new: json(record.new),
        }
    }
}

/// How the journal stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChainBody {
    /// Whether every record is as it was written.
    whole: bool,
    /// The records that were verified, from the oldest on.
    verified: u64,
    /// The number of the oldest one; earlier ones are past their retention.
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<i64>,
    /// The number of the last one that was verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<i64>,
    /// Records of which something was erased with a person; the rest of them is as it was written.
    erased: u64,
    /// Among them those of an earlier build, whose hash cannot be computed again without what was erased.
    followed: u64,
    /// The first record that is not as it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    broken: Option<BrokenBody>,
}

/// A record that is not as it was written.
#[derive(Serialize, ToSchema)]
pub(crate) struct BrokenBody {
    /// Its number.
    seq: i64,
    /// What is wrong with it.
    reason: &'static str,
}

impl From<ChainState> for ChainBody {
    fn from(state: ChainState) -> Self {
        Self {
            whole: state.broken.is_none(),
            verified: state.verified,
            first: state.first,
            last: state.last,
            erased: state.erased,
            followed: state.followed,
            broken: state.broken.map(|broken| BrokenBody {
                seq: broken.seq,
                reason: broken.reason,
            }),
        }
    }
}

/// Lists changes
///
/// The newest first. Administrators of the platform see all, others those that concern their organisation.
#[utoipa::path(
    get,
    path = "/api/v1/audit",
    operation_id = "list_audit",
    tag = "identity",
    security(("bearer" = [])),
    params(AuditQuery),
    responses(
        (status = 200, description = "A page of records.", body = PageBody<AuditBody>),
        (status = 400, description = "The cursor or another parameter is not valid.", body = Problem),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not an administrator.", body = Problem),
        (status = 404, description = "There is no such organisation.", body = Problem),
    )
)]
pub(crate) async fn list_audit(
    admin: Allowed<ReadAudit>,
    State(identity): State<Identity>,
    query: QueryParams<AuditQuery>,
) -> Result<KeptAnswer, Problem> {
    let QueryParams(query) = query;
    let kept = &identity.inner.lists.audit;
    let question = (admin.scope(), query.clone());
    let make = async || audit_page(&identity, &admin, query).await;
    identity.listed(kept, question, make).await
}

async fn audit_page(
    identity: &Identity,
    admin: &OrgAdmin,
    query: AuditQuery,
) -> Result<KeptAnswer, Problem> {
    let page = PageRequest {
        limit: query.limit,
        cursor: query.cursor,
        offset: query.offset,
    };
    let filter = AuditFilter {
        org_id: query.org_id,
        action: query.action,
        actor_id: query.actor_id,
        subject_id: query.subject_id,
        since: query.since,
        until: query.until,
    };
    let found = identity.list_audit(admin, &filter, &page).await?;
    let page = PageBody::from(found).map(AuditBody::from);
    Ok(KeptAnswer::of(&page))
}

/// Verifies the records of changes
///
/// Computes the chain of hashes again and names the first record that is not as it was written. For administrators of the platform.
#[utoipa::path(
    get,
    path = "/api/v1/audit/verify",
    operation_id = "verify_audit",
    tag = "identity",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "How the records stand.", body = ChainBody),
        (status = 401, description = "Not signed in.", body = Problem),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
    )
)]
pub(crate) async fn verify_audit(
    admin: Admin,
    State(identity): State<Identity>,
) -> Result<JsonBody<ChainBody>, Problem> {
    Ok(JsonBody(identity.verify_audit(&admin).await?.into()))
}
