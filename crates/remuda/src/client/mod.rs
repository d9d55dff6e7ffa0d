//! The commands' side of the HTTP API: where the server is, who calls, and what came back.

mod address;
mod api;
mod chat;
mod credentials;
mod error;
mod events;
mod health;
mod lines;
mod presented;
mod socket;

pub(crate) use address::ServerAddress;
pub(crate) use api::{Api, query};
pub(crate) use chat::{AnswerStream, ChatCall, Piece, Turn};
pub(crate) use credentials::CredentialStore;
pub(crate) use error::ClientError;
pub(crate) use events::Event;
pub(crate) use health::{Health, remedy};
pub(crate) use presented::{Presented, StoredSignIn, Tokens};
pub(crate) use socket::Arrived;
