//! Settings that apply while the program runs, with their history.

use std::collections::BTreeMap;

use ::store::StoreError;
use identity::Admin;
use identity::journal::{self, Action, Change};
use primitives::{Classify, Cursor, ErrorKind, InvalidCursor, Page, PageRequest, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use web::{ChangedMeanwhile, ETag, IfMatch};

use crate::catalogue::{CATALOGUE, Definition, SettingValue};
use crate::store;
use crate::surface::System;

/// What somebody has set, by name.
pub(crate) type Stored = BTreeMap<String, SettingValue>;

/// All settings of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// One more than before each change; 0 while nothing was ever set.
    pub version: i64,
    values: BTreeMap<&'static str, (SettingValue, bool)>,
}

impl Settings {
    /// Puts what is stored over what holds otherwise. What this build does not know, or not so, is left out.
    pub(crate) fn of(
        defaults: &BTreeMap<&'static str, SettingValue>,
        (version, stored): (i64, Stored),
    ) -> Self {
        let mut values: BTreeMap<_, _> = defaults
            .iter()
            .map(|(key, value)| (*key, (value.clone(), false)))
            .collect();
        for definition in &CATALOGUE {
            if let Some(value) = stored.get(definition.key)
                && definition.refuse(value).is_none()
            {
                values.insert(definition.key, (value.clone(), true));
            }
        }
        Self { version, values }
    }

    /// Returns a setting's value, and whether somebody has set it.
    pub(crate) fn find(&self, key: &str) -> Option<(&SettingValue, bool)> {
        self.values.get(key).map(|(value, set)| (value, *set))
    }

    /// Returns a number; 0 for what is none.
    pub fn integer(&self, key: &str) -> i64 {
        match self.values.get(key) {
            Some((SettingValue::Integer(number), _)) => *number,
            _ => 0,
        }
    }

    /// Returns a choice; nothing for what is none.
    pub fn text(&self, key: &str) -> &str {
        match self.values.get(key) {
            Some((SettingValue::Text(text), _)) => text,
            _ => "",
        }
    }

    /// Returns the version as a condition names it.
    pub fn tag(&self) -> ETag {
        ETag::of(&("settings", self.version))
    }
}

/// One change of settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SettingsChange {
    pub(crate) version: i64,
    pub(crate) at: Timestamp,
    pub(crate) by: String,
    pub(crate) differences: Vec<Difference>,
}

/// What became of one setting. Absent: what holds otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Difference {
    pub(crate) key: String,
    pub(crate) old: Option<SettingValue>,
    pub(crate) new: Option<SettingValue>,
}

/// Why settings were not changed or shown.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// There is no such setting.
    #[error("there is no setting {0:?}")]
    Unknown(String),
    /// The value cannot be had.
    #[error("{0}")]
    Value(String),
    /// Nothing was named.
    #[error("no setting is named")]
    Nothing,
    /// There is no such version.
    #[error("there is no version {0} of the settings, or it was forgotten")]
    UnknownVersion(i64),
    /// The settings are not as the caller believes.
    #[error(transparent)]
    Changed(#[from] ChangedMeanwhile),
    /// The cursor is not ours.
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for SettingError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown(_) | Self::Value(_) | Self::Nothing | Self::Cursor(_) => {
                ErrorKind::Invalid
            }
            Self::UnknownVersion(_) => ErrorKind::NotFound,
            Self::Changed(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Unknown(_) => format!("{self}: `remuda setting list` shows those there are"),
            Self::Value(_) | Self::Cursor(_) => self.to_string(),
            Self::Nothing => format!("{self}: send {{\"config\": {{\"queue.batch\": 5000}}}}"),
            Self::UnknownVersion(_) => {
                format!("{self}: `remuda setting history` shows those there are")
            }
            Self::Changed(error) => error.public_message(),
            Self::Store(error) => error.public_message(),
        }
    }
}

impl System {
    /// Sets settings, or has them be what they are otherwise; all of them or none.
    ///
    /// # Errors
    /// When one of them cannot be so, or they are not as `expected`.
    pub async fn set(
        &self,
        admin: &Admin,
        wanted: BTreeMap<String, Option<SettingValue>>,
        expected: &IfMatch,
    ) -> Result<Settings, SettingError> {
        if wanted.is_empty() {
            return Err(SettingError::Nothing);
        }
        for (key, value) in &wanted {
            let definition = Definition::find(key)
                .ok_or_else(|| SettingError::Unknown(key.chars().take(80).collect()))?;
            if let Some(reason) = value.as_ref().and_then(|value| definition.refuse(value)) {
                return Err(SettingError::Value(reason));
            }
        }
        self.change(admin, Action::SettingEdit, expected, |stored| {
            for (key, value) in wanted {
                match value {
                    Some(value) => stored.insert(key, value),
                    None => stored.remove(&key),
                };
            }
        })
        .await
    }

    /// Makes the settings what they were at a version.
    ///
    /// # Errors
    /// When that version is not known.
    pub async fn roll_back(
        &self,
        admin: &Admin,
        version: i64,
        expected: &IfMatch,
    ) -> Result<Settings, SettingError> {
        let past = if version == 0 {
            Some(Stored::new())
        } else {
            let mut tx = self.inner.db.read().await?;
            let past = store::settings_at(&mut tx, version).await?;
            tx.commit().await?;
            past
        };
        let past = past.ok_or(SettingError::UnknownVersion(version))?;
        self.change(admin, Action::SettingRollback, expected, |stored| {
            *stored = past;
        })
        .await
    }

    async fn change(
        &self,
        admin: &Admin,
        action: Action,
        expected: &IfMatch,
        edit: impl FnOnce(&mut Stored),
    ) -> Result<Settings, SettingError> {
        let now = self.inner.clock.now();
        let mut tx = self.inner.db.write_ordered().await?;
        journal::begin(&mut tx).await?;
        let (version, before) = store::load_settings(&mut tx).await?;
        expected.check(|| Settings::of(&self.inner.defaults, (version, before.clone())).tag())?;
        let mut after = before.clone();
        edit(&mut after);
        let differences = differences(&before, &after);
        if differences.is_empty() {
            tx.commit().await?;
            return Ok(Settings::of(&self.inner.defaults, (version, before)));
        }
        let change = SettingsChange {
            version: version + 1,
            at: now,
            by: admin.principal().name.to_string(),
            differences,
        };
        store::put_settings(&mut tx, &change, &after).await?;
        let pick = |state: fn(&Difference) -> &Option<SettingValue>| {
            let named = change.differences.iter();
            let fields = named.map(|one| (one.key.clone(), json!(state(one))));
            Some(serde_json::Value::Object(fields.collect()))
        };
        let recorded = Change {
            action,
            org: None,
            subject: ("settings", Some(change.version.to_string())),
            old: pick(|one| &one.old),
            new: pick(|one| &one.new),
        };
        journal::record(&mut tx, now, &admin.actor(), recorded).await?;
        tx.commit().await?;
        let settings = Settings::of(&self.inner.defaults, (change.version, after));
        self.publish(settings.clone());
        Ok(settings)
    }

    /// Lists the changes of settings, the newest first.
    pub(crate) async fn settings_history(
        &self,
        page: &PageRequest,
    ) -> Result<Page<SettingsChange>, SettingError> {
        let before = match page.cursor.as_deref().map(Cursor::key).transpose()? {
            Some(key) => key.parse().map_err(|_| InvalidCursor)?,
            None => i64::MAX,
        };
        let mut tx = self.inner.db.read().await?;
        let (found, total) = store::list_settings_changes(&mut tx, before, page).await?;
        tx.commit().await?;
        let key = |change: &SettingsChange| change.version.to_string();
        Ok(Page::from_overfetched(found, page.size(), key).of_total(total))
    }
}

fn differences(before: &Stored, after: &Stored) -> Vec<Difference> {
    let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter()
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|key| Difference {
            key: key.clone(),
            old: before.get(key).cloned(),
            new: after.get(key).cloned(),
        })
        .collect()
}
