//! What processes that serve together share beside the database: allowances, messages and cached answers.
//!
//! One process shares with nobody and keeps everything in memory; several share through Redis. Redis is a convenience, never the truth:
//! when it is away or slow everything goes on in each process alone, nothing waits for it longer than a small bound, and what that
//! means is told by health and metrics. The only crate that speaks to Redis.

mod allowances;
mod bus;
pub mod cache;
mod config;
mod error;
mod health;
mod memory;
mod messages;
mod metrics;
mod redis;

pub use allowances::{Allowances, Ask, Month, Settlement, Spent, Standing, Told, Which, Window};
pub use bus::Bus;
pub use config::{BadRedisUrl, RedisConfig};
pub use error::BusError;
pub use health::Health;
pub use messages::{Heard, Listening, Messages};
