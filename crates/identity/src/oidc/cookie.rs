//! What a browser carries on its journey to a provider and back: sealed, so that it can neither be read nor made up.

use std::time::Duration;

use ::store::{SealError, Sealer};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::COOKIE;
use primitives::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

/// How long a person may take to sign in at a provider.
pub(super) const JOURNEY: Duration = Duration::from_mins(10);
/// Where it was sealed for.
const PLACE: &str = "oidc|journey";
/// How the cookie's name begins; a part of the state follows, so that several journeys of one browser stand beside each other.
const NAME: &str = "remuda_oidc_";
/// Characters of the state in the name.
const TOLD: usize = 8;

/// A journey under way.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Journey {
    pub(super) provider: String,
    pub(super) state: String,
    pub(super) nonce: String,
    /// Ours towards the provider (RFC 7636).
    pub(super) verifier: String,
    /// The client's towards us.
    pub(super) challenge: String,
    pub(super) return_to: String,
    /// In microseconds.
    expires_at: i64,
}

impl Journey {
    pub(super) fn new(provider: &str, challenge: &str, return_to: &str, now: Timestamp) -> Self {
        Self {
            provider: provider.to_owned(),
            state: secret(),
            nonce: secret(),
            verifier: secret(),
            challenge: challenge.to_owned(),
            return_to: return_to.to_owned(),
            expires_at: now.after(JOURNEY).as_micros(),
        }
    }

    /// Writes the cookie that only `callback` gets back.
    pub(super) fn cookie(&self, callback: &Url, sealer: &Sealer) -> Result<String, SealError> {
        let plain = serde_json::to_vec(self).unwrap_or_default();
        let value = URL_SAFE_NO_PAD.encode(sealer.seal(PLACE, &plain)?);
        Ok(set(&self.state, &value, callback, JOURNEY))
    }

    /// Finds the journey of a state among a browser's cookies.
    pub(super) fn find(
        headers: &HeaderMap,
        state: &str,
        sealer: &Sealer,
        now: Timestamp,
    ) -> Option<Self> {
        let name = name(state);
        let cookies = headers.get_all(COOKIE).iter();
        let value = cookies
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(';'))
            .find_map(|cookie| cookie.trim().strip_prefix(&name)?.strip_prefix('='))?;
        let bytes = URL_SAFE_NO_PAD.decode(value).ok()?;
        let plain = sealer.open(PLACE, &bytes).ok()?;
        let journey: Self = serde_json::from_slice(plain.expose()).ok()?;
        let is_it = journey.state == state && journey.expires_at > now.as_micros();
        is_it.then_some(journey)
    }
}

/// Writes the cookie that takes a journey's back.
pub(super) fn forget(state: &str, callback: &Url) -> String {
    set(state, "", callback, Duration::ZERO)
}

fn name(state: &str) -> String {
    format!("{NAME}{}", state.get(..TOLD).unwrap_or_default())
}

fn set(state: &str, value: &str, callback: &Url, life: Duration) -> String {
    let secure = if callback.scheme() == "https" {
        "; Secure"
    } else {
        ""
    };
    // Lax: the provider's page leads back here, which is another site's.
    format!(
        "{}={value}; Path={}; Max-Age={}; HttpOnly; SameSite=Lax{secure}",
        name(state),
        callback.path(),
        life.as_secs()
    )
}

/// Returns 256 random bits in base64url.
pub(super) fn secret() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;
    use primitives::Secret;

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    #[test]
    fn a_journey_is_found_by_its_state_in_its_own_browser_for_ten_minutes() {
        let sealer = |byte| Sealer::from_base64(&Secret::new(STANDARD.encode([byte; 32]))).unwrap();
        let ours = sealer(1);
        let callback: Url = "https://llm.example.org/x/callback".parse().unwrap();
        let journey = Journey::new("corp", "c", "/ui/", NOW);
        let cookie = journey.cookie(&callback, &ours).unwrap();
        for part in ["; Path=/x/callback;", "HttpOnly", "SameSite=Lax", "Secure"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        let pair = cookie.split(';').next().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, format!("a=b; {pair}; c=d").parse().unwrap());
        let find = |state: &str, sealer: &Sealer, now| Journey::find(&headers, state, sealer, now);
        let state = journey.state.clone();
        assert_eq!(find(&state, &ours, NOW).as_ref(), Some(&journey));
        assert_eq!(find(&state, &sealer(2), NOW), None);
        assert_eq!(find(&state, &ours, NOW.after(JOURNEY)), None);
        assert_eq!(find(&format!("{}x", &state[..8]), &ours, NOW), None);
        assert_eq!(find("", &ours, NOW), None);
        assert_eq!(Journey::find(&HeaderMap::new(), &state, &ours, NOW), None);
        let plain = cookie.contains(&journey.nonce) || cookie.contains(&journey.verifier);
        assert!(!plain, "the cookie is sealed");
    }
}
