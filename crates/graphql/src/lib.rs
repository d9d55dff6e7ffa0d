//! The operations of the control plane by GraphQL: the same rules, rights and organisations as every other way in.
//!
//! Resolvers call the domains' operations, with the same proofs of who calls that routes have to bring; nothing here reads a database
//! or decides who may. What a query may cost is known before it is carried out.

mod cost;
mod error;
mod fleet;
mod identity;
mod inference;
mod page;
mod route;
mod schema;
mod session;
mod system;

pub use route::{HasChanged, routes};
pub use schema::description;
pub use session::Services;
