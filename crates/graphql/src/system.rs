//! Settings and statistics.

use std::collections::BTreeMap;

use ::system::{SettingValue, Settings, System};
use async_graphql::{Context, InputObject, Object, Result, SimpleObject};
use identity::Admin;

use crate::cost;
use crate::error::{invalid, refused};
use crate::session::{by, expected, services};

/// A setting that applies while the server runs.
#[derive(SimpleObject)]
pub(crate) struct Setting {
    /// Its name.
    key: &'static str,
    /// Its value, when it is a number.
    integer: Option<i64>,
    /// Its value, when it is a choice.
    text: Option<String>,
    /// What it is for.
    meaning: &'static str,
}

/// All settings of one moment.
#[derive(SimpleObject)]
pub(crate) struct SettingsOf {
    /// How often they were changed.
    number: i64,
    /// What a change may name as the version that it believes to change.
    version: String,
    /// The settings, by name.
    settings: Vec<Setting>,
}

impl From<&Settings> for SettingsOf {
    fn from(settings: &Settings) -> Self {
        let of = |key: &'static str, meaning| {
            let text = settings.text(key);
            let is_text = !text.is_empty();
            Setting {
                key,
                integer: (!is_text).then(|| settings.integer(key)),
                text: is_text.then(|| text.to_owned()),
                meaning,
            }
        };
        let all = System::definitions().iter();
        Self {
            number: settings.version,
            version: settings.tag().as_str().to_owned(),
            settings: all.map(|one| of(one.key, one.meaning)).collect(),
        }
    }
}

/// What a setting shall be. Without a value it is what holds otherwise.
#[derive(InputObject)]
pub(crate) struct NewSetting {
    /// Its name.
    key: String,
    /// A number.
    integer: Option<i64>,
    /// A choice.
    text: Option<String>,
}

#[derive(Default)]
pub(crate) struct SystemQueries;

/// Settings.
#[Object]
impl SystemQueries {
    /// The settings that apply while the server runs. For administrators of the platform.
    async fn settings(&self, ctx: &Context<'_>) -> Result<SettingsOf> {
        let _admin: Admin = by(ctx).await?;
        let settings = services(ctx)?.system.settings();
        let shown = SettingsOf::from(&*settings.borrow());
        Ok(shown)
    }
}

#[derive(Default)]
pub(crate) struct SystemChanges;

/// Settings.
#[Object]
impl SystemChanges {
    /// Sets settings, all of them or none. With a version, only while it is theirs. For administrators of the platform.
    #[graphql(complexity = "cost::CHANGE + child_complexity")]
    async fn set_settings(
        &self,
        ctx: &Context<'_>,
        values: Vec<NewSetting>,
        version: Option<String>,
    ) -> Result<SettingsOf> {
        let admin: Admin = by(ctx).await?;
        let mut wanted = BTreeMap::new();
        for one in values {
            let value = match (one.integer, one.text) {
                (Some(_), Some(_)) => {
                    return Err(invalid("integer and text exclude each other"));
                }
                (Some(number), None) => Some(SettingValue::Integer(number)),
                (None, Some(text)) => Some(SettingValue::Text(text)),
                (None, None) => None,
            };
            wanted.insert(one.key, value);
        }
        let expected = expected(ctx, version).await?;
        let set = services(ctx)?.system.set(&admin, wanted, &expected).await;
        set.map(|settings| SettingsOf::from(&settings))
            .map_err(refused)
    }
}
