//! SQLite and PostgreSQL behind one SQL text: transactions, migrations, bulk inserts and encryption at rest.
//!
//! This is the only crate that knows the database driver; nothing of it shows in the public types.
//!
//! SQL is written once, in the subset that both engines share: `$1` parameters, `BIGINT`, `TEXT`, `DOUBLE PRECISION`, `BOOLEAN`,
//! JSON and bytes; ids and times are made in Rust; aggregates are cast (`CAST(sum(x) AS BIGINT)`); no `now()`, no arrays. Where one
//! engine needs its own words, [`Statement::per_engine`] names both variants side by side.

pub mod backup;
mod begin;
mod bind;
mod bulk;
mod config;
mod db;
mod direct;
mod ending;
mod error;
#[cfg(feature = "testing")]
mod explain;
mod glance;
mod group;
mod metrics;
mod migrate;
mod months;
mod param;
mod pool;
mod readers;
mod row;
mod sealer;
mod statement;
#[cfg(feature = "testing")]
pub mod testing;
mod tx;
mod wake;

pub use bulk::{Bulk, BulkColumn, ColumnType, Existing};
pub use config::{Engine, StoreConfig};
pub use db::{Db, Durability};
pub use error::StoreError;
pub use migrate::{Applied, MigrateError, Step, StepState};
pub use months::Monthly;
pub use param::{JsonText, Param, Params};
pub use row::{FromColumn, Json, Place, Row};
pub use sealer::{SealError, Sealer};
pub use statement::Statement;
pub use tx::Tx;
pub use wake::Wakes;
