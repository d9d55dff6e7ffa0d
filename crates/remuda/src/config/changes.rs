//! What another reading of the configuration changes, and whether that can be applied without a restart.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use toml::{Table, Value};

use super::origin::KeyPath;

/// What the file and the environment set: a digest for each key, since some are secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigValues(BTreeMap<KeyPath, u64>);

impl ConfigValues {
    pub(super) fn of(values: &Table) -> Self {
        let mut digests = BTreeMap::new();
        collect(values, &mut Vec::new(), &mut digests);
        Self(digests)
    }

    /// Returns the keys that were set, unset or set differently in `later`, in the order of the sections' names.
    pub fn changed(&self, later: &Self) -> BTreeSet<KeyPath> {
        let keys = self.0.keys().chain(later.0.keys());
        keys.filter(|key| self.0.get(key) != later.0.get(key))
            .cloned()
            .collect()
    }
}

/// Tells whether a running process takes over a change of this key; otherwise only a restart does.
pub(crate) fn applies_at_once(key: &KeyPath) -> bool {
    let parts: Vec<&str> = key.parts().iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["routing", key, ..] => *key != "connect_timeout",
        ["limits", key, ..] => *key != "trusted_proxies",
        [section, ..] => matches!(*section, "models" | "aliases" | "nodes" | "coalescing"),
        [] => false,
    }
}

/// Tables within tables are ways to keys; anything else is a value, entries of `[[lists]]` as a whole.
fn collect(table: &Table, way: &mut Vec<String>, digests: &mut BTreeMap<KeyPath, u64>) {
    for (key, value) in table {
        way.push(key.clone());
        if let Value::Table(inner) = value {
            collect(inner, way, digests);
        } else {
            let mut hasher = DefaultHasher::new();
            value.to_string().hash(&mut hasher);
            digests.insert(KeyPath::new(way.iter().cloned()), hasher.finish());
        }
        way.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> ConfigValues {
        ConfigValues::of(&text.parse().expect("TOML"))
    }

    #[test]
    fn changes_are_named_and_those_that_need_a_restart_told_apart() {
        let before = values(
            "[server]\nlisten = \"127.0.0.1:1\"\nworkers = 2\n[routing]\npolicy = \"remuda\"\n[aliases]\na = \"b\"\n",
        );
        let later = values(
            "[server]\nlisten = \"127.0.0.1:2\"\nworkers = 2\n[routing]\nconnect_timeout = \"1s\"\n[[nodes]]\nname = \"n\"\nurl = \"http://n\"\n",
        );
        let changed: Vec<(String, bool)> = before
            .changed(&later)
            .iter()
            .map(|key| (key.to_string(), applies_at_once(key)))
            .collect();
        let expected = [
            ("[aliases] a", true),
            ("nodes", true),
            ("[routing] connect_timeout", false),
            ("[routing] policy", true),
            ("[server] listen", false),
        ];
        let expected = expected.map(|(key, at_once)| (key.to_owned(), at_once));
        assert_eq!(changed, expected);
        assert!(before.changed(&before).is_empty());
    }

    #[test]
    fn secrets_cannot_be_read_from_it() {
        let values = values("[auth]\nadmin_password = \"correct horse\"\n");
        assert!(!format!("{values:?}").contains("horse"));
    }
}
