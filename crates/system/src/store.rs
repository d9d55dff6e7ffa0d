//! All SQL of this domain: settings and their history, and what the databases tell of themselves.

mod database;
mod settings;

pub(crate) use database::{
    analyse, clean, counts_statements, health, slow_queries, statistics, tables,
};
pub(crate) use settings::{
    erase_settings_name, list_settings_changes, load_settings, put_settings, settings_at,
    settings_changed_by, settings_version,
};
