//! The keys that a provider signs with (RFC 7517), fetched when a token names one that is not known.

use std::time::Duration;

use jsonwebtoken::jwk::{Jwk, JwkSet};
use primitives::{Clock, MonotonicTime};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;
use web::outbound::Client;

use super::discovery::fetch;
use super::error::OidcError;

/// How long keys are believed: one that a provider has withdrawn is not taken any longer.
const BELIEVED: Duration = Duration::from_hours(1);
/// How soon keys are fetched again for a token that names one that was not among them.
const PAUSE: Duration = Duration::from_secs(10);
/// The most keys of one provider.
const MOST: usize = 100;

/// A provider's keys, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Keys(Mutex<Option<(MonotonicTime, JwkSet)>>);

/// The keys, of which some may be of kinds that nobody here knows.
#[derive(Deserialize)]
struct Published {
    keys: Vec<Value>,
}

impl Keys {
    /// Returns the key of this name; without a name, the only one there is.
    pub(super) async fn find(
        &self,
        id: Option<&str>,
        uri: &Url,
        (client, clock): (&Client, &dyn Clock),
    ) -> Result<Option<Jwk>, OidcError> {
        let mut held = self.0.lock().await;
        let now = clock.monotonic();
        if let Some((at, keys)) = &*held {
            let age = now.since(*at);
            let found = pick(keys, id);
            if age < BELIEVED && (found.is_some() || age < PAUSE) {
                return Ok(found);
            }
        }
        let published: Published = fetch(client.get(uri)).await?;
        let keys = JwkSet {
            keys: published
                .keys
                .into_iter()
                .take(MOST)
                .filter_map(|key| serde_json::from_value(key).ok())
                .collect(),
        };
        let found = pick(&keys, id);
        *held = Some((now, keys));
        Ok(found)
    }
}

fn pick(keys: &JwkSet, id: Option<&str>) -> Option<Jwk> {
    match (id, keys.keys.as_slice()) {
        (Some(id), _) => keys.find(id).cloned(),
        (None, [only]) => Some(only.clone()),
        (None, _) => None,
    }
}
