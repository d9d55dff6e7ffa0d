//! The routing policies, one file each.

mod least_load;
mod remuda;
mod round_robin;

pub use least_load::LeastLoad;
pub use remuda::Remuda;
pub use round_robin::RoundRobin;
