//! Reads the file and the environment into one [`Config`], remembering where each value came from.
//!
//! Unknown keys are looked for first, then every value is tried alone, so that an error can name its key.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::changes::ConfigValues;
use super::error::ConfigError;
use super::origin::{KeyPath, Origins};
use super::schema::{self, Shape};
use super::suggest::hint;
use super::{Config, Environment};

const PREFIX: &str = "REMUDA_";
const SEPARATOR: &str = "__";

/// A configuration, who set what, and what was set.
pub(super) struct Built {
    pub(super) config: Config,
    pub(super) origins: Origins,
    pub(super) values: ConfigValues,
}

/// Builds the configuration from a file's path and text and the environment.
pub(super) fn build(
    file: Option<(&Path, &str)>,
    environment: &Environment,
) -> Result<Built, ConfigError> {
    let mut origins = Origins::default();
    let mut merged = Table::new();
    if let Some((path, text)) = file {
        let (table, lines) = parse(path, text)?;
        for (key, line) in lines {
            origins.set_file(key, path.to_owned(), Some(line));
        }
        merged = table;
        check_file(&merged, &origins)?;
    }
    for (name, value) in environment.iter() {
        if let Some(rest) = name.strip_prefix(PREFIX)
            && rest.contains(SEPARATOR)
        {
            overlay(&mut merged, name, rest, value, &mut origins)?;
        }
    }
    let values = ConfigValues::of(&merged);
    let config = Config::deserialize(Value::Table(merged))
        .map_err(|error| origins.bad(["configuration"], one_line(&error.to_string())))?;
    Ok(Built {
        config,
        origins,
        values,
    })
}

fn parse(path: &Path, text: &str) -> Result<(Table, BTreeMap<KeyPath, usize>), ConfigError> {
    let syntax = |error: &toml::de::Error| {
        let (line, column) = position(text, error.span().map_or(0, |span| span.start));
        ConfigError::Syntax {
            path: path.to_owned(),
            line,
            column,
            reason: one_line(error.message()),
        }
    };
    let table = toml::from_str::<Table>(text).map_err(|error| syntax(&error))?;
    let spanned = DeTable::parse(text).map_err(|error| syntax(&error))?;
    let mut lines = BTreeMap::new();
    record_lines(text, &mut Vec::new(), spanned.get_ref(), &mut lines);
    Ok((table, lines))
}

fn record_lines(
    text: &str,
    way: &mut Vec<String>,
    table: &DeTable<'_>,
    lines: &mut BTreeMap<KeyPath, usize>,
) {
    for (key, value) in table {
        way.push(key.get_ref().to_string());
        let (line, _) = position(text, key.span().start);
        lines.insert(KeyPath::new(way.iter().cloned()), line);
        match value.get_ref() {
            DeValue::Table(inner) => record_lines(text, way, inner, lines),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if let DeValue::Table(inner) = item.get_ref() {
                        way.push(index.to_string());
                        record_lines(text, way, inner, lines);
                        way.pop();
                    }
                }
            }
            _ => {}
        }
        way.pop();
    }
}

/// Returns line and column, both from 1, of a byte offset.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |last| last.chars().count())
        + 1;
    (line, column)
}

/// Refuses unknown keys, sections of the wrong shape and values that cannot be read.
fn check_file(table: &Table, origins: &Origins) -> Result<(), ConfigError> {
    for (section, content) in table {
        match (shape_of(section, origins)?, content) {
            (Shape::Table(keys), Value::Table(values)) => {
                check_keys(&[section], values, keys, origins)?;
            }
            (Shape::Named(keys), Value::Table(entries)) => {
                for (name, entry) in entries {
                    let Value::Table(values) = entry else {
                        return Err(origins.bad(
                            [section, name],
                            format!("write it as a table: [{section}.{name:?}]"),
                        ));
                    };
                    check_keys(&[section, name], values, keys, origins)?;
                }
            }
            (Shape::Texts, Value::Table(values)) => {
                for (key, value) in values {
                    check_value(KeyPath::new([section, key]), value, origins)?;
                }
            }
            (Shape::List(keys), Value::Array(entries)) => {
                for (index, entry) in entries.iter().enumerate() {
                    let index = index.to_string();
                    let Value::Table(values) = entry else {
                        return Err(origins.bad(
                            [section.as_str()],
                            format!("write each entry as a table: [[{section}]]"),
                        ));
                    };
                    check_keys(&[section, &index], values, keys, origins)?;
                }
            }
            (Shape::List(_), _) => {
                return Err(origins.bad(
                    [section.as_str()],
                    format!("write it with two brackets: [[{section}]]"),
                ));
            }
            _ => {
                return Err(origins.bad(
                    [section.as_str()],
                    format!("this is a section: write [{section}] and the keys below it"),
                ));
            }
        }
    }
    Ok(())
}

fn shape_of(section: &str, origins: &Origins) -> Result<Shape, ConfigError> {
    schema::shape(section).ok_or_else(|| ConfigError::UnknownKey {
        place: origins.place(KeyPath::new([section])),
        hint: schema::section_with(section).map_or_else(
            || hint(section, schema::sections()),
            |home| format!("\"{section}\" belongs below [{home}]"),
        ),
    })
}

fn check_keys(
    way: &[&str],
    values: &Table,
    keys: &[&str],
    origins: &Origins,
) -> Result<(), ConfigError> {
    for (key, value) in values {
        let path = KeyPath::new(way.iter().copied().chain([key.as_str()]));
        if !keys.contains(&key.as_str()) {
            return Err(ConfigError::UnknownKey {
                place: origins.place(path),
                hint: hint(key, keys),
            });
        }
        check_value(path, value, origins)?;
    }
    Ok(())
}

fn check_value(path: KeyPath, value: &Value, origins: &Origins) -> Result<(), ConfigError> {
    read_alone(&path, value).map_err(|reason| ConfigError::BadValue {
        place: origins.place(path),
        reason,
    })
}

/// Deserialises a configuration that holds only this value.
fn read_alone(path: &KeyPath, value: &Value) -> Result<(), String> {
    let mut parts = path.parts().iter().rev();
    let mut nested = value.clone();
    while let Some(part) = parts.next() {
        let is_entry_of_list = part.parse::<usize>().is_ok()
            && path.parts().len() == 3
            && matches!(
                path.parts().first().and_then(|s| schema::shape(s)),
                Some(Shape::List(_))
            )
            && parts.len() == 1;
        nested = if is_entry_of_list {
            Value::Array(vec![nested])
        } else {
            Value::Table(Table::from_iter([(part.clone(), nested)]))
        };
    }
    Config::deserialize(nested)
        .map(drop)
        .map_err(|error| one_line(error.message()))
}

/// Sets one value from an environment variable such as `REMUDA_STORE__URL`.
fn overlay(
    merged: &mut Table,
    variable: &str,
    rest: &str,
    text: &str,
    origins: &mut Origins,
) -> Result<(), ConfigError> {
    let lower = rest.to_ascii_lowercase();
    let parts: Vec<&str> = lower.split(SEPARATOR).collect();
    let mut named = Origins::default();
    named.set_variable(KeyPath::new(parts.iter().copied()), variable);
    let section = parts.first().copied().unwrap_or_default();
    let Some(shape) = schema::shape(section) else {
        return Err(ConfigError::UnknownKey {
            place: named.place(KeyPath::new(parts.iter().copied())),
            hint: hint(section, schema::sections()),
        });
    };
    let path = match (shape, parts.as_slice()) {
        (Shape::Table(keys) | Shape::Named(keys) | Shape::List(keys), [.., key])
            if !keys.contains(key) =>
        {
            return Err(ConfigError::UnknownKey {
                place: named.place(KeyPath::new(parts.iter().copied())),
                hint: hint(key, keys),
            });
        }
        (Shape::Table(_) | Shape::Texts, [_, _]) | (Shape::Named(_), [_, _, _]) => {
            KeyPath::new(parts.iter().copied())
        }
        (Shape::List(_), [_, name, key]) => {
            let index = entry_named(merged, section, name);
            KeyPath::new([section, &index.to_string(), key])
        }
        _ => {
            return Err(ConfigError::UnknownKey {
                place: named.place(KeyPath::new(parts.iter().copied())),
                hint:
                    "write REMUDA_SECTION__KEY, or REMUDA_SECTION__NAME__KEY for models and nodes"
                        .to_owned(),
            });
        }
    };
    origins.set_variable(path.clone(), variable);
    let value = interpret(&path, text).map_err(|reason| ConfigError::BadValue {
        place: origins.place(path.clone()),
        reason,
    })?;
    set(merged, &path, value);
    Ok(())
}

/// Finds the entry of a list whose `name` is `name` but for case and `-` against `_`; adds one when there is none.
fn entry_named(merged: &mut Table, section: &str, name: &str) -> usize {
    let same = |entry: &Value| {
        entry
            .get("name")
            .and_then(Value::as_str)
            .is_some_and(|found| {
                found.to_ascii_lowercase().replace('-', "_") == name.replace('-', "_")
            })
    };
    let list = merged
        .entry(section)
        .or_insert_with(|| Value::Array(Vec::new()));
    let Value::Array(entries) = list else {
        return 0;
    };
    entries.iter().position(same).unwrap_or_else(|| {
        let entry = Table::from_iter([("name".to_owned(), Value::String(name.to_owned()))]);
        entries.push(Value::Table(entry));
        entries.len() - 1
    })
}

/// Reads a variable's text as the type that its key wants: a TOML value, else plain text, else a comma-separated list.
fn interpret(path: &KeyPath, text: &str) -> Result<Value, String> {
    let typed = toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"));
    let plain = Value::String(text.to_owned());
    let list = Value::Array(
        text.split(',')
            .map(|item| Value::String(item.trim().to_owned()))
            .collect(),
    );
    let mut first_error = None;
    for candidate in typed.into_iter().chain([plain, list]) {
        match read_alone(path, &candidate) {
            Ok(()) => return Ok(candidate),
            Err(reason) => {
                first_error.get_or_insert(reason);
            }
        }
    }
    Err(first_error.unwrap_or_default())
}

fn set(merged: &mut Table, path: &KeyPath, value: Value) {
    match path.parts() {
        [section, key] => {
            if let Value::Table(table) = merged
                .entry(section.clone())
                .or_insert_with(|| Value::Table(Table::new()))
            {
                table.insert(key.clone(), value);
            }
        }
        [section, name, key] => {
            let entry = match merged
                .entry(section.clone())
                .or_insert_with(|| Value::Table(Table::new()))
            {
                Value::Table(entries) => Some(
                    entries
                        .entry(name.clone())
                        .or_insert_with(|| Value::Table(Table::new())),
                ),
                Value::Array(entries) => name
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| entries.get_mut(index)),
                _ => None,
            };
            if let Some(Value::Table(table)) = entry {
                table.insert(key.clone(), value);
            }
        }
        _ => {}
    }
}

fn one_line(text: &str) -> String {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}
