//! Where messages come from: what other domains publish, made into messages of topics.

mod fleet;
mod inference;
mod system;

pub use inference::InferenceEvent;
pub use system::SystemSampler;
