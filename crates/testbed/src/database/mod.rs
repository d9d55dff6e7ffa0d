//! A fresh database for each test, on either engine.

mod postgres;
mod sqlite;

pub use postgres::PostgresDatabase;
pub use sqlite::SqliteDatabase;
