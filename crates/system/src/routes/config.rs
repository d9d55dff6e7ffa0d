//! `GET` and `PUT /api/v1/system/config`, its history and going back in it.

use std::collections::BTreeMap;

use axum::extract::State;
use identity::Admin;
use primitives::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::{IfMatch, JsonBody, PageBody, PageQuery, Problem, QueryParams, SMALL_BODY, Tagged};

use crate::catalogue::{CATALOGUE, Kind, SettingValue};
use crate::settings::{Difference, Settings, SettingsChange};
use crate::surface::System;

/// All settings.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConfigBody {
    /// One more than before each change; 0 while nothing was ever set.
    version: i64,
    /// The settings by name.
    settings: Vec<SettingBody>,
}

/// A setting.
#[derive(Serialize, ToSchema)]
pub(crate) struct SettingBody {
    /// Its name.
    #[schema(example = "queue.batch")]
    key: &'static str,
    /// What it is.
    value: SettingValue,
    /// What it is while nobody sets it: what the configuration file says, or what is built in.
    default: SettingValue,
    /// Whether somebody has set it.
    set: bool,
    /// What it is for.
    description: &'static str,
    /// The least that it may be, where it is a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum: Option<i64>,
    /// The most that it may be, where it is a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum: Option<i64>,
    /// What it may be, where there is a choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    choices: Option<&'static [&'static str]>,
}

impl ConfigBody {
    fn new(system: &System, settings: &Settings) -> Self {
        let shown = CATALOGUE.iter().filter_map(|definition| {
            let (value, set) = settings.find(definition.key)?;
            let (minimum, maximum, choices) = match definition.kind {
                Kind::Integer { minimum, maximum } => (Some(minimum), Some(maximum), None),
                Kind::Choice(choices) => (None, None, Some(choices)),
            };
            Some(SettingBody {
                key: definition.key,
                value: value.clone(),
                default: system.inner.defaults.get(definition.key)?.clone(),
                set,
                description: definition.meaning,
                minimum,
                maximum,
                choices,
            })
        });
        Self {
            version: settings.version,
            settings: shown.collect(),
        }
    }

    fn tagged(system: &System, settings: &Settings) -> Tagged<JsonBody<Self>> {
        Tagged(settings.tag(), JsonBody(Self::new(system, settings)))
    }
}

/// What to set.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetConfigBody {
    /// Values by the settings' names; `null` for what it is while nobody sets it. All of them are set, or none.
    #[schema(value_type = Object, example = json!({"queue.batch": 5000, "auth.registration": null}))]
    config: BTreeMap<String, Option<SettingValue>>,
}

/// What to go back to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RollBackBody {
    /// The version whose settings are wanted; 0 for none set.
    #[schema(minimum = 0)]
    version: i64,
}

/// A change of settings.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConfigChangeBody {
    /// The version that it made.
    version: i64,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// By whom.
    by: String,
    /// What became of each setting.
    differences: Vec<DifferenceBody>,
}

/// What became of a setting.
#[derive(Serialize, ToSchema)]
pub(crate) struct DifferenceBody {
    /// Its name.
    key: String,
    /// What was set before; absent where nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<SettingValue>,
    /// What is set after; absent where nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<SettingValue>,
}

impl From<Difference> for DifferenceBody {
    fn from(difference: Difference) -> Self {
        Self {
            key: difference.key,
            old: difference.old,
            new: difference.new,
        }
    }
}

impl From<SettingsChange> for ConfigChangeBody {
    fn from(change: SettingsChange) -> Self {
        Self {
            version: change.version,
            at: change.at,
            by: change.by,
            differences: change.differences.into_iter().map(Into::into).collect(),
        }
    }
}

/// Shows the settings that apply while the program runs
#[utoipa::path(get, path = "/api/v1/system/config", operation_id = "show_config", tag = "system", security(("bearer" = [])),
    responses(
        (status = 200, description = "The settings.", body = ConfigBody, headers(("ETag" = String, description = "Their version."))),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
    ))]
pub(super) async fn show_config(
    _: Admin,
    State(system): State<System>,
) -> Tagged<JsonBody<ConfigBody>> {
    let settings = system.inner.settings.borrow().clone();
    ConfigBody::tagged(&system, &settings)
}

/// Sets settings
///
/// They apply at once here, and within a second on every other replica.
#[utoipa::path(put, path = "/api/v1/system/config", operation_id = "set_config", tag = "system", security(("bearer" = [])),
    params(("If-Match" = Option<String>, Header)),
    request_body = SetConfigBody,
    responses(
        (status = 200, description = "The settings as they are now.", body = ConfigBody, headers(("ETag" = String, description = "Their version."))),
        (status = 400, description = "There is no such setting, or it cannot be so. Nothing was set.", body = Problem),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
    ))]
pub(super) async fn set_config(
    admin: Admin,
    State(system): State<System>,
    expected: IfMatch,
    body: JsonBody<SetConfigBody, SMALL_BODY>,
) -> Result<Tagged<JsonBody<ConfigBody>>, Problem> {
    let JsonBody(SetConfigBody { config }) = body;
    let settings = system.set(&admin, config, &expected).await?;
    Ok(ConfigBody::tagged(&system, &settings))
}

/// Lists the changes of settings, the newest first
///
/// The last 1,000 are remembered; the journal of changes has them all.
#[utoipa::path(get, path = "/api/v1/system/config/history", operation_id = "list_config_history", tag = "system",
    security(("bearer" = [])),
    params(PageQuery),
    responses(
        (status = 200, description = "A page of changes.", body = PageBody<ConfigChangeBody>),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
    ))]
pub(super) async fn list_config_history(
    _: Admin,
    State(system): State<System>,
    QueryParams(query): QueryParams<PageQuery>,
) -> Result<JsonBody<PageBody<ConfigChangeBody>>, Problem> {
    let page = system.settings_history(&query.request()).await?;
    Ok(JsonBody(PageBody::from(page).map(ConfigChangeBody::from)))
}

/// Makes the settings what they were at a version
///
/// That is a change like any other, with a version of its own.
#[utoipa::path(post, path = "/api/v1/system/config/rollback", operation_id = "roll_back_config", tag = "system",
    security(("bearer" = [])),
    params(("If-Match" = Option<String>, Header)),
    request_body = RollBackBody,
    responses(
        (status = 200, description = "The settings as they are now.", body = ConfigBody, headers(("ETag" = String, description = "Their version."))),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "There is no such version.", body = Problem),
    ))]
pub(super) async fn roll_back_config(
    admin: Admin,
    State(system): State<System>,
    expected: IfMatch,
    body: JsonBody<RollBackBody, SMALL_BODY>,
) -> Result<Tagged<JsonBody<ConfigBody>>, Problem> {
    let JsonBody(RollBackBody { version }) = body;
    let settings = system.roll_back(&admin, version, &expected).await?;
    Ok(ConfigBody::tagged(&system, &settings))
}
