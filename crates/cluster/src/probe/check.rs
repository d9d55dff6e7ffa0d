//! The one-token check: the only proof that a node which answers its lists also generates.

use std::time::Duration;

use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::contact::{Contact, ContactError};
use crate::model::{ModelView, NodeKind};

/// Asks for one token of `model` (or one vector, from a model that only makes those).
///
/// An error that the node words itself counts as an answer: a node that refuses is not one that hangs.
pub(crate) async fn check(
    contact: &Contact,
    kind: NodeKind,
    model: &ModelView,
    limit: Duration,
) -> Result<(), ContactError> {
    let (path, body) = request(kind, model);
    match contact
        .post::<Value, IgnoredAny>(path, &body, Some(limit))
        .await
    {
        Err(ContactError::Status(status, _)) if status.is_client_error() => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}

fn request(kind: NodeKind, model: &ModelView) -> (&'static str, Value) {
    let name = &*model.name;
    match (kind, model.is_embedding_only()) {
        (NodeKind::Ollama, true) => ("/api/embed", json!({"model": name, "input": "1"})),
        (NodeKind::Ollama, false) => (
            "/api/generate",
            json!({"model": name, "prompt": "1", "stream": false, "options": {"num_predict": 1}}),
        ),
        (_, true) => ("/v1/embeddings", json!({"model": name, "input": "1"})),
        (_, false) => (
            "/v1/chat/completions",
            json!({"model": name, "messages": [{"role": "user", "content": "1"}], "max_tokens": 1, "stream": false}),
        ),
    }
}

/// Chooses the model to check with: the one whose calls went unanswered, else a loaded one, else the smallest.
pub(crate) fn choose<'a>(models: &'a [ModelView], doubted: Option<&str>) -> Option<&'a ModelView> {
    let by_doubt = models.iter().find(|model| Some(&*model.name) == doubted);
    let loaded = || models.iter().find(|model| model.loaded.is_some());
    let smallest = || {
        models
            .iter()
            .min_by_key(|model| model.size_bytes.unwrap_or(u64::MAX))
    };
    by_doubt.or_else(loaded).or_else(smallest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Loaded;

    #[test]
    fn an_embedding_model_is_not_asked_to_chat() {
        let embedding = ModelView {
            capabilities: vec!["embedding".to_owned()],
            ..ModelView::named("e")
        };
        assert_eq!(request(NodeKind::Ollama, &embedding).0, "/api/embed");
        assert_eq!(request(NodeKind::OpenAi, &embedding).0, "/v1/embeddings");
        assert_eq!(
            request(NodeKind::Ollama, &ModelView::named("m")).0,
            "/api/generate"
        );
    }

    #[test]
    fn the_doubted_model_is_checked_and_otherwise_the_cheapest() {
        let sized = |name: &str, size| ModelView {
            size_bytes: Some(size),
            ..ModelView::named(name)
        };
        let mut models = vec![sized("big", 9), sized("small", 1)];
        let chosen =
            |models: &[ModelView], doubted| choose(models, doubted).map(|m| m.name.to_string());
        assert_eq!(chosen(&models, None).as_deref(), Some("small"));
        models[0].loaded = Some(Loaded::default());
        assert_eq!(chosen(&models, None).as_deref(), Some("big"));
        assert_eq!(chosen(&models, Some("small")).as_deref(), Some("small"));
        assert_eq!(chosen(&[], Some("small")), None);
    }
}
