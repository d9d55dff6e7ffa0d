//! What the models of a vLLM server are for. Its list of models does not say; but a server that was started for pooling has no route
//! for chats (seen in 0.32; older versions have all routes, and of them nothing is learned).

use std::sync::Arc;

use futures_util::join;
use http::StatusCode;
use serde::de::IgnoredAny;

use super::contact::{Contact, ContactError};
use crate::model::ModelView;

/// Which models were asked for last, and whether they only make vectors: asked again only when other ones are served.
#[derive(Debug, Default)]
pub(super) struct KnownTask(Option<(Vec<Arc<str>>, bool)>);

impl KnownTask {
    /// Fills in what the models can do.
    pub(super) async fn complete(&mut self, contact: &Contact, models: &mut [ModelView]) {
        let is_known = self.0.as_ref().is_some_and(|(names, _)| {
            let present = models.iter().map(|model| &model.name);
            names.iter().eq(present)
        });
        if !is_known {
            let (chats, embeds) = join!(
                has_route(contact, "/v1/chat/completions"),
                has_route(contact, "/v1/embeddings"),
            );
            let (Some(chats), Some(embeds)) = (chats, embeds) else {
                return;
            };
            let names = models.iter().map(|model| Arc::clone(&model.name));
            self.0 = Some((names.collect(), embeds && !chats));
        }
        if matches!(self.0, Some((_, true))) {
            for model in models {
                model.capabilities = vec!["embedding".to_owned()];
            }
        }
    }
}

/// Tells whether a server has a route for `POST`, by how it refuses a `GET`; `None` when it says neither yes nor no.
async fn has_route(contact: &Contact, path: &str) -> Option<bool> {
    match contact.get::<IgnoredAny>(path).await {
        Err(ContactError::Status(StatusCode::METHOD_NOT_ALLOWED, _)) => Some(true),
        Err(ContactError::Status(StatusCode::NOT_FOUND, _)) => Some(false),
        _ => None,
    }
}
