//! Who asks, and what answers.

use std::sync::Arc;

use ::system::System;
use async_graphql::{Context, Error};
use axum::extract::{FromRef, FromRequestParts};
use cluster::Registry;
use gateway::RequestRecords;
use http::HeaderValue;
use http::header::IF_MATCH;
use http::request::Parts;
use identity::{Identity, OrgAdmin, Permission};
use jobs::Jobs;
use primitives::Clock;
use web::{IfMatch, Problem};

use crate::error::{invalid, refused};

/// The domains whose operations are offered. Clones share everything.
#[derive(Clone)]
pub struct Services {
    /// People, keys, organisations, the journal of changes.
    pub identity: Identity,
    /// Nodes and models.
    pub registry: Registry,
    /// Settings and statistics.
    pub system: System,
    /// Answers in the background.
    pub jobs: Jobs,
    /// Request records.
    pub records: RequestRecords,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl FromRef<Services> for Identity {
    fn from_ref(services: &Services) -> Self {
        services.identity.clone()
    }
}

/// One request: its head, by which callers are proven.
pub(crate) struct Session(pub(crate) Parts);

/// Returns the domains.
pub(crate) fn services<'a>(ctx: &Context<'a>) -> Result<&'a Services, Error> {
    ctx.data()
}

/// Proves who calls, as a route with this extractor does.
pub(crate) async fn by<E>(ctx: &Context<'_>) -> Result<E, Error>
where
    E: FromRequestParts<Services, Rejection = Problem>,
{
    let mut parts = ctx.data::<Session>()?.0.clone();
    E::from_request_parts(&mut parts, services(ctx)?)
        .await
        .map_err(refused)
}

/// Proves that the caller has a permission in their organisation, as a route that takes it does.
pub(crate) fn permitted(ctx: &Context<'_>, permission: Permission) -> Result<OrgAdmin, Error> {
    let mut parts = ctx.data::<Session>()?.0.clone();
    let identity = &services(ctx)?.identity;
    OrgAdmin::with_permission(&mut parts, identity, permission).map_err(refused)
}

/// Returns the version that the client believes to change; any when it names none.
pub(crate) async fn expected(ctx: &Context<'_>, version: Option<String>) -> Result<IfMatch, Error> {
    let Some(version) = version else {
        return Ok(IfMatch::ANY);
    };
    let mut parts = ctx.data::<Session>()?.0.clone();
    let value = HeaderValue::try_from(version)
        .map_err(|_| invalid("version is not one that was given out"))?;
    parts.headers.insert(IF_MATCH, value);
    match IfMatch::from_request_parts(&mut parts, &()).await {
        Ok(expected) => Ok(expected),
        Err(never) => match never {},
    }
}
