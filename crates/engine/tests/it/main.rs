//! The engine through its public interface: real threads, real files, the shipped demo model.

#[cfg(test)]
mod architectures;
#[cfg(test)]
#[cfg(feature = "llama-cpp")]
mod backends;
#[cfg(test)]
mod bad_files;
#[cfg(test)]
mod constraints;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod embeddings;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod keep_alive;
mod queueing;
#[cfg(test)]
mod streams;
