//! What one successful probe learned.

use std::sync::Arc;

use primitives::Timestamp;

use super::detect::Found;
use crate::model::{ModelView, Pressure};
use crate::name::{MAX_BYTES, model_key};

/// The most models of one node that are kept.
pub(crate) const MAX_MODELS: usize = 10_000;

/// What stands behind an address.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Learned {
    pub(crate) found: Found,
    pub(crate) version: Option<Arc<str>>,
    pub(crate) models: Vec<ModelView>,
    pub(crate) slots: Option<u32>,
    pub(crate) pressure: Option<Pressure>,
}

/// Sorts by name, and leaves out doubles, unusable names and what is over the bound.
pub(super) fn orderly(mut models: Vec<ModelView>) -> Vec<ModelView> {
    let listed = models.len();
    models.retain(|model| {
        !model.name.is_empty()
            && model.name.len() <= MAX_BYTES
            && !model.name.chars().any(char::is_control)
    });
    models.sort_by(|a, b| a.name.cmp(&b.name));
    let mut keys = std::collections::HashSet::new();
    models.retain(|model| keys.insert(model_key(&model.name).into_owned()));
    models.truncate(MAX_MODELS);
    if models.len() < listed {
        tracing::debug!(
            left_out = listed - models.len(),
            "models with equal, unusable or too many names are left out"
        );
    }
    models
}

/// Reads a time that a node wrote. Times before 1970 stand for "never" in Go programs.
pub(super) fn time(text: Option<&str>) -> Option<Timestamp> {
    text.and_then(Timestamp::parse_rfc3339)
        .filter(|time| time.as_micros() > 0)
}

/// Cuts a version text to a size that can be shown.
pub(super) fn version(text: &str) -> Option<Arc<str>> {
    let text: String = text.chars().filter(|c| !c.is_control()).take(64).collect();
    (!text.is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_and_unusable_names_are_left_out_and_the_rest_is_sorted() {
        let names = |models: Vec<ModelView>| -> Vec<String> {
            orderly(models)
                .into_iter()
                .map(|m| m.name.to_string())
                .collect()
        };
        let models = |names: &[&str]| names.iter().map(|n| ModelView::named(*n)).collect();
        assert_eq!(
            names(models(&[
                "b",
                "a:latest",
                "A",
                "",
                "x\ny",
                &"n".repeat(600)
            ])),
            ["A", "b"]
        );
        let many = (0..MAX_MODELS + 5)
            .map(|i| ModelView::named(format!("m{i}")))
            .collect();
        assert_eq!(names(many).len(), MAX_MODELS);
    }

    #[test]
    fn the_year_one_means_never() {
        assert_eq!(time(Some("0001-01-01T00:00:00Z")), None);
        assert!(time(Some("2026-01-02T03:04:05.123456789+02:00")).is_some());
        assert_eq!(time(Some("soon")), None);
    }
}
