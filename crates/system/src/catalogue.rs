//! The settings there are: their types, their ranges, what they are for.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The value of a setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum SettingValue {
    /// A whole number.
    Integer(i64),
    /// One of the choices.
    Text(String),
}

impl From<i64> for SettingValue {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for SettingValue {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

/// What values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number between two others, both included.
    Integer {
        /// The least.
        minimum: i64,
        /// The most.
        maximum: i64,
    },
    /// One of these.
    Choice(&'static [&'static str]),
}

/// A setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its name.
    pub key: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// What it is for.
    pub meaning: &'static str,
}

const PLACES: Kind = Kind::Integer {
    minimum: 1,
    maximum: 1_000_000,
};

/// Every setting that can be changed while the program runs, by name.
pub(crate) const CATALOGUE: [Definition; 8] = [
    Definition {
        key: "audit.retention_days",
        kind: Kind::Integer {
            minimum: 1,
            maximum: 36_500,
        },
        meaning: "How many days records of changes are kept.",
    },
    Definition {
        key: "auth.registration",
        kind: Kind::Choice(&["closed", "invite", "open"]),
        meaning: "Who may make their own account: nobody, who has an invitation, everybody.",
    },
    Definition {
        key: "database.clean_every_hours",
        kind: Kind::Integer {
            minimum: 0,
            maximum: 8_760,
        },
        meaning: "How often expired sessions, invitations and the like are removed; 0 for never by itself.",
    },
    Definition {
        key: "queue.batch",
        kind: PLACES,
        meaning: "Requests of the class `batch` that may wait.",
    },
    Definition {
        key: "queue.default",
        kind: PLACES,
        meaning: "Requests of the class `default` that may wait.",
    },
    Definition {
        key: "queue.interactive",
        kind: PLACES,
        meaning: "Requests of the class `interactive` that may wait.",
    },
    Definition {
        key: "queue.organisation_percent",
        kind: Kind::Integer {
            minimum: 1,
            maximum: 100,
        },
        meaning: "The share of a class's places that one organisation may fill, in percent.",
    },
    Definition {
        key: "queue.system",
        kind: PLACES,
        meaning: "Calls of the program itself that may wait.",
    },
];

impl Definition {
    /// Finds a setting by its name.
    pub fn find(key: &str) -> Option<&'static Self> {
        CATALOGUE.iter().find(|definition| definition.key == key)
    }

    /// Says what is wrong with a value, if anything.
    pub fn refuse(&self, value: &SettingValue) -> Option<String> {
        match (self.kind, value) {
            (Kind::Integer { minimum, maximum }, SettingValue::Integer(number))
                if (minimum..=maximum).contains(number) =>
            {
                None
            }
            (Kind::Choice(choices), SettingValue::Text(text))
                if choices.contains(&text.as_str()) =>
            {
                None
            }
            (Kind::Integer { minimum, maximum }, _) => Some(format!(
                "{} must be a whole number from {minimum} to {maximum}",
                self.key
            )),
            (Kind::Choice(choices), _) => Some(format!(
                "{} must be one of {}",
                self.key,
                choices.join(", ")
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_sorted_and_refuse_what_they_cannot_be() {
        assert!(CATALOGUE.is_sorted_by_key(|definition| definition.key));
        let refuses = |key: &str, value: SettingValue| {
            Definition::find(key).unwrap().refuse(&value).is_some()
        };
        assert!(!refuses("queue.batch", 5.into()));
        assert!(refuses("queue.batch", 0.into()));
        assert!(refuses("queue.batch", "5".into()));
        assert!(!refuses("auth.registration", "open".into()));
        assert!(refuses("auth.registration", "ajar".into()));
        assert!(Definition::find("queue.size").is_none());
    }
}
