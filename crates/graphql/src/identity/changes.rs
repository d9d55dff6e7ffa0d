//! Making, changing and ending keys, people and organisations.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use identity::{
    Admin, KeyLimits, KeyRequest, KeyScope, Permission, Permissions, Role, UserEdit, UserRequest,
    WantedRole,
};
use primitives::{Secret, Timestamp};

use super::queries::role;
use super::things::{Key, Organisation, User};
use crate::cost;
use crate::error::{id, invalid, refused};
use crate::session::{by, expected, permitted, services};

/// What a new key shall be.
#[derive(InputObject)]
pub(crate) struct NewKey {
    /// What it is called.
    name: String,
    /// What it may do; `user` when absent.
    role: Option<String>,
    /// What it may do, in place of a role: permissions as `keys:read`.
    scopes: Option<Vec<String>>,
    /// The models it may use; all when absent.
    models: Option<Vec<String>>,
    /// The organisation it belongs to; the caller's own when absent.
    org_id: Option<ID>,
    /// Requests in any minute.
    requests_per_minute: Option<u32>,
    /// Tokens in any minute.
    tokens_per_minute: Option<u64>,
    /// Tokens in a calendar month (UTC).
    tokens_per_month: Option<u64>,
    /// When it ends by itself.
    expires_at: Option<String>,
}

/// A new key with its secret.
#[derive(SimpleObject)]
pub(crate) struct CreatedKey {
    /// The key.
    key: Key,
    /// The secret. It is not shown again.
    secret: String,
}

/// Whom to make.
#[derive(InputObject)]
pub(crate) struct NewUser {
    /// The name to sign in with.
    username: String,
    /// The first password.
    #[graphql(secret)]
    password: String,
    /// What they may do: a role that every organisation has, or one of its own; `user` when absent.
    role: Option<String>,
    /// Their organisation; the caller's own when absent.
    org_id: Option<ID>,
}

fn wanted_role(name: String) -> WantedRole {
    match Role::from_name(&name) {
        Some(role) => WantedRole::BuiltIn(role),
        None => WantedRole::Custom(name),
    }
}

impl NewKey {
    fn scope(&self) -> Result<KeyScope> {
        match (&self.role, &self.scopes) {
            (Some(_), Some(_)) => Err(invalid("role and scopes exclude each other")),
            (Some(name), None) => Ok(KeyScope::Role(role(name)?)),
            (None, None) => Ok(KeyScope::Role(Role::User)),
            (None, Some(names)) if names.is_empty() => Ok(KeyScope::Role(Role::Viewer)),
            (None, Some(names)) => {
                let known = names.iter().map(|name| {
                    Permission::from_name(name)
                        .ok_or_else(|| invalid("scopes are permissions, as keys:read"))
                });
                let known: Vec<Permission> = known.collect::<Result<_>>()?;
                Ok(KeyScope::Chosen(Permissions::of(known)))
            }
        }
    }

    fn request(self) -> Result<KeyRequest> {
        let end = |text: &String| {
            Timestamp::parse_rfc3339(text)
                .ok_or_else(|| invalid("expiresAt must be an RFC 3339 time"))
        };
        Ok(KeyRequest {
            scope: self.scope()?,
            expires_at: self.expires_at.as_ref().map(end).transpose()?,
            org_id: self.org_id.as_ref().map(|wanted| id(wanted)).transpose()?,
            name: self.name,
            models: self.models,
            priority: None,
            limits: KeyLimits {
                requests_per_minute: self.requests_per_minute,
                tokens_per_minute: self.tokens_per_minute,
                tokens_per_month: self.tokens_per_month,
            },
            share_identical: false,
        })
    }
}

#[derive(Default)]
pub(crate) struct IdentityChanges;

/// Keys, people and organisations.
#[Object]
impl IdentityChanges {
    /// Makes an API key.
    #[graphql(complexity = "cost::CHANGE + child_complexity")]
    async fn create_key(&self, ctx: &Context<'_>, input: NewKey) -> Result<CreatedKey> {
        let admin = permitted(ctx, Permission::KeysManage)?;
        let services = services(ctx)?;
        let made = services.identity.create_key(&admin, input.request()?).await;
        let (key, secret) = made.map_err(refused)?;
        Ok(CreatedKey {
            key: Key::at(services.clock.now(), key),
            secret: secret.expose().clone(),
        })
    }

    /// Revokes an API key, for good.
    #[graphql(complexity = "cost::CHANGE")]
    async fn revoke_key(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "id")] wanted: ID,
    ) -> Result<bool> {
        let admin = permitted(ctx, Permission::KeysManage)?;
        let revoked = services(ctx)?
            .identity
            .revoke_key(&admin, id(&wanted)?)
            .await;
        revoked.map(|()| true).map_err(refused)
    }

    /// Makes a person.
    #[graphql(complexity = "cost::CHANGE + child_complexity")]
    async fn create_user(&self, ctx: &Context<'_>, input: NewUser) -> Result<User> {
        let admin = permitted(ctx, Permission::UsersManage)?;
        let request = UserRequest {
            username: input.username,
            password: Secret::new(input.password),
            role: wanted_role(input.role.unwrap_or_else(|| "user".to_owned())),
            org_id: input.org_id.as_ref().map(|wanted| id(wanted)).transpose()?,
        };
        let made = services(ctx)?.identity.create_user(&admin, request).await;
        made.map(User::from).map_err(refused)
    }

    /// Changes what a person may do, or whether they may sign in. With a version, only while it is theirs.
    #[graphql(complexity = "cost::CHANGE + child_complexity")]
    async fn edit_user(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "id")] wanted: ID,
        role: Option<String>,
        disabled: Option<bool>,
        version: Option<String>,
    ) -> Result<User> {
        let admin = permitted(ctx, Permission::UsersManage)?;
        let edit = UserEdit {
            role: role.map(wanted_role),
            disabled,
            password: None,
        };
        let expected = expected(ctx, version).await?;
        let identity = &services(ctx)?.identity;
        let edited = identity
            .edit_user(&admin, id(&wanted)?, edit, &expected)
            .await;
        edited.map(User::from).map_err(refused)
    }

    /// Makes an organisation.
    #[graphql(complexity = "cost::CHANGE + child_complexity")]
    async fn create_organisation(&self, ctx: &Context<'_>, name: String) -> Result<Organisation> {
        let admin: Admin = by(ctx).await?;
        let made = services(ctx)?
            .identity
            .create_organisation(&admin, &name)
            .await;
        made.map(Organisation::from).map_err(refused)
    }
}
