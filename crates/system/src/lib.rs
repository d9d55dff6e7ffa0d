//! What administrators of the platform set and see of the whole: settings that apply at once, the database and its care, the keys
//! that seal secrets.
//!
//! Everything here is for administrators of the platform only. No rule of another domain stands here: a setting is checked for its
//! type and range, and whoever it concerns applies it.

mod catalogue;
mod database;
mod personal;
mod routes;
mod secrets;
mod settings;
mod store;
mod surface;

pub use catalogue::{Definition, Kind, SettingValue};
pub use secrets::Reseals;
pub use settings::{SettingError, Settings};
pub use surface::{System, SystemDeps};
