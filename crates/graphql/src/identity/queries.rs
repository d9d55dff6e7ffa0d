//! Looking at people, keys, organisations and changes.

use async_graphql::{Context, Enum, ID, Object, Result};
use identity::{
    AuditFilter, Caller, KeyFilter, KeyStatus, Listing, OrgAdmin, Permission, Role, Sort,
    UserFilter,
};
use primitives::{OrgId, Timestamp};

use super::things::{AuditRecord, Key, Me, Organisation, User};
use crate::cost;
use crate::error::{id, invalid, refused};
use crate::page::{PageOf, searched, wanted};
use crate::session::{by, permitted, services};

/// How a list is sorted.
#[derive(Clone, Copy, Default, PartialEq, Eq, Enum)]
pub(crate) enum Order {
    /// In the order in which things were made.
    #[default]
    Oldest,
    /// The newest first.
    Newest,
    /// By name.
    Name,
    /// By name, from the end.
    NameDown,
}

fn listing(
    first: Option<i32>,
    after: Option<String>,
    contains: Option<String>,
    sort: Option<Order>,
) -> Result<Listing> {
    Ok(Listing {
        page: wanted(first, after)?,
        sort: match sort.unwrap_or_default() {
            Order::Oldest => Sort::Oldest,
            Order::Newest => Sort::Newest,
            Order::Name => Sort::Name,
            Order::NameDown => Sort::NameDown,
        },
        contains: searched(contains)?,
    })
}

fn organisation(wanted: Option<ID>) -> Result<Option<OrgId>> {
    wanted.map(|wanted| id(&wanted)).transpose()
}

/// Reads a role.
pub(super) fn role(name: &str) -> Result<Role> {
    Role::from_name(name)
        .ok_or_else(|| invalid("role must be one of admin, operator, user, viewer"))
}

fn time(name: &str, text: Option<String>) -> Result<Option<Timestamp>> {
    let Some(text) = text else { return Ok(None) };
    let read = Timestamp::parse_rfc3339(&text);
    read.map(Some).ok_or_else(|| {
        invalid(format!(
            "{name} must be an RFC 3339 time, as 2026-01-02T03:04:05Z"
        ))
    })
}

#[derive(Default)]
pub(crate) struct IdentityQueries;

/// People, keys, organisations and changes.
#[Object]
impl IdentityQueries {
    /// Who calls.
    async fn me(&self, ctx: &Context<'_>) -> Result<Me> {
        let caller: Caller = by(ctx).await?;
        let principal = caller.principal();
        Ok(Me {
            kind: principal.kind.as_str(),
            id: principal.id().map(ID),
            name: principal.name.to_string(),
            org_id: principal.org.to_string().into(),
            role: principal.role.as_str(),
            permissions: principal.permissions.names(),
            platform_admin: principal.is_platform_admin(),
        })
    }

    /// One's own record.
    async fn profile(&self, ctx: &Context<'_>) -> Result<User> {
        let caller: Caller = by(ctx).await?;
        let found = services(ctx)?.identity.profile(&caller).await;
        found.map(User::from).map_err(refused)
    }

    /// Organisations that the caller may see.
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    async fn organisations(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        contains: Option<String>,
        sort: Option<Order>,
    ) -> Result<PageOf<Organisation>> {
        let admin: OrgAdmin = by(ctx).await?;
        let listing = listing(first, after, contains, sort)?;
        let identity = &services(ctx)?.identity;
        let page = identity.list_organisations(&admin, &listing).await;
        Ok(PageOf::of(page.map_err(refused)?, Organisation::from))
    }

    /// People that the caller may see.
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    #[expect(
        clippy::too_many_arguments,
        reason = "each is an argument of the field"
    )]
    async fn users(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        contains: Option<String>,
        sort: Option<Order>,
        org_id: Option<ID>,
        #[graphql(name = "role")] role_name: Option<String>,
        disabled: Option<bool>,
    ) -> Result<PageOf<User>> {
        let admin = permitted(ctx, Permission::UsersRead)?;
        let filter = UserFilter {
            org_id: organisation(org_id)?,
            role: role_name.as_deref().map(role).transpose()?,
            disabled,
        };
        let listing = listing(first, after, contains, sort)?;
        let identity = &services(ctx)?.identity;
        let page = identity.list_users(&admin, filter, &listing).await;
        Ok(PageOf::of(page.map_err(refused)?, User::from))
    }

    /// One person.
    async fn user(&self, ctx: &Context<'_>, #[graphql(name = "id")] wanted: ID) -> Result<User> {
        let admin = permitted(ctx, Permission::UsersRead)?;
        let found = services(ctx)?
            .identity
            .load_user(&admin, id(&wanted)?)
            .await;
        found.map(User::from).map_err(refused)
    }

    /// API keys that the caller may see, revoked ones too.
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    #[expect(
        clippy::too_many_arguments,
        reason = "each is an argument of the field"
    )]
    async fn keys(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        contains: Option<String>,
        sort: Option<Order>,
        org_id: Option<ID>,
        status: Option<String>,
    ) -> Result<PageOf<Key>> {
        let admin = permitted(ctx, Permission::KeysRead)?;
        let all = [
            KeyStatus::Active,
            KeyStatus::OwnerDisabled,
            KeyStatus::Expired,
            KeyStatus::Revoked,
        ];
        let status = match status {
            None => None,
            Some(name) => Some(
                all.into_iter()
                    .find(|one| one.as_str() == name)
                    .ok_or_else(|| {
                        invalid("status must be one of active, owner_disabled, expired, revoked")
                    })?,
            ),
        };
        let filter = KeyFilter {
            org_id: organisation(org_id)?,
            status,
        };
        let listing = listing(first, after, contains, sort)?;
        let services = services(ctx)?;
        let page = services.identity.list_keys(&admin, filter, &listing).await;
        let now = services.clock.now();
        Ok(PageOf::of(page.map_err(refused)?, |key| Key::at(now, key)))
    }

    /// One key.
    async fn key(&self, ctx: &Context<'_>, #[graphql(name = "id")] wanted: ID) -> Result<Key> {
        let admin = permitted(ctx, Permission::KeysRead)?;
        let services = services(ctx)?;
        let found = services.identity.load_key(&admin, id(&wanted)?).await;
        let now = services.clock.now();
        found.map(|key| Key::at(now, key)).map_err(refused)
    }

    /// Who changed what, the newest first.
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    #[expect(
        clippy::too_many_arguments,
        reason = "each is an argument of the field"
    )]
    async fn audit(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        org_id: Option<ID>,
        action: Option<String>,
        actor_id: Option<String>,
        subject_id: Option<String>,
        since: Option<String>,
        until: Option<String>,
    ) -> Result<PageOf<AuditRecord>> {
        let admin = permitted(ctx, Permission::AuditRead)?;
        let filter = AuditFilter {
            org_id: organisation(org_id)?,
            action,
            actor_id,
            subject_id,
            since: time("since", since)?,
            until: time("until", until)?,
        };
        let page = wanted(first, after)?;
        let identity = &services(ctx)?.identity;
        let page = identity.list_audit(&admin, &filter, &page).await;
        Ok(PageOf::of(page.map_err(refused)?, AuditRecord::from))
    }
}
