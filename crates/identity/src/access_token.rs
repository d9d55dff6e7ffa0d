//! Access tokens: short-lived, signed, and good only as long as their session stands in the snapshot.
//!
//! A JWT (RFC 7519) of the profile for access tokens (RFC 9068): algorithm, type, key, issuer, audience and kind are all checked, so
//! that nothing else that we or others sign is ever taken for one.

use std::time::Duration;

use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, encode};
use primitives::{Secret, SessionId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

use crate::known_tokens::Verified;
use crate::model::AuthError;
use crate::signing::SigningKeys;

/// How long an access token lives.
pub(crate) const LIFE: Duration = Duration::from_hours(1);
/// How far the clocks of two replicas may be apart.
const LEEWAY: Duration = Duration::from_mins(1);
/// For whom the tokens are.
const AUDIENCE: &str = "remuda";
/// The type in the head.
const TYPE: &str = "at+jwt";
/// The kind among the claims.
const KIND: &str = "access";

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    sid: SessionId,
    kind: String,
    /// In seconds, as all times here.
    iat: i64,
    exp: i64,
    jti: String,
}

/// Why no token was issued.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// There is no key to sign with.
    #[error("there is no key to sign access tokens with")]
    NoKey,
    /// The signature failed.
    #[error("an access token could not be signed")]
    Failed,
}

/// Issues a token for a session, which it does not outlive. Returns it with its end.
pub(crate) fn issue(
    keys: &SigningKeys,
    issuer: &str,
    (user, session, session_end): (UserId, SessionId, Timestamp),
    now: Timestamp,
) -> Result<(Secret<String>, Timestamp), TokenError> {
    let key = keys.current(now).ok_or(TokenError::NoKey)?;
    let signing = key.signing.as_ref().ok_or(TokenError::NoKey)?;
    let end = now.after(LIFE).min(session_end).as_secs();
    let claims = Claims {
        iss: issuer.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: user,
        sid: session,
        kind: KIND.to_owned(),
        iat: now.as_secs(),
        exp: end,
        jti: hex::encode(rand::random::<[u8; 16]>()),
    };
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(TYPE.to_owned());
    header.kid = Some(key.id.clone());
    let token = encode(&header, &claims, signing).map_err(|_| TokenError::Failed)?;
    Ok((Secret::new(token), Timestamp::from_micros(end * 1_000_000)))
}

/// Tells whether the text has the form of a JWT, ours or another's.
pub(crate) fn looks_like_one(text: &str) -> bool {
    text.starts_with("ey") && text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// Tells whether a JWT claims to be an access token of ours, valid or not.
pub(crate) fn claims_to_be_ours(keys: &SigningKeys, text: &str) -> bool {
    decode_header(text).is_ok_and(|header| {
        header.typ.as_deref() == Some(TYPE) && header.kid.is_some_and(|id| keys.find(&id).is_some())
    })
}

/// Verifies everything about a token but that its session stands.
pub(crate) fn verify(
    keys: &SigningKeys,
    issuer: &str,
    text: &str,
    now: Timestamp,
) -> Result<Verified, AuthError> {
    let header = decode_header(text).map_err(|_| AuthError::Unknown)?;
    let key = header
        .kid
        .as_deref()
        .and_then(|id| keys.find(id))
        .ok_or(AuthError::Unknown)?;
    if header.typ.as_deref() != Some(TYPE) {
        return Err(AuthError::Unknown);
    }
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
    // The time is ours to check: it comes from the clock that everything else goes by.
    validation.validate_exp = false;
    let claims = decode::<Claims>(text, &key.verifying, &validation)
        .map_err(|_| AuthError::Unknown)?
        .claims;
    let end = claims
        .exp
        .checked_mul(1_000_000)
        .map(Timestamp::from_micros)
        .ok_or(AuthError::Unknown)?;
    if claims.kind != KIND || claims.iat > now.after(LEEWAY).as_secs() {
        return Err(AuthError::Unknown);
    }
    if end <= now {
        return Err(AuthError::Expired);
    }
    Ok(Verified {
        session: claims.sid,
        expires_at: end,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::StoredKey;
    use ::store::Sealer;
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use jsonwebtoken::EncodingKey;
    use serde_json::{Value, json};

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn keys() -> SigningKeys {
        let sealer = Sealer::from_base64(&Secret::new(STANDARD.encode([1; 32]))).unwrap();
        let stored = StoredKey::generate(&sealer, NOW, NOW).unwrap();
        SigningKeys::open(vec![stored], &sealer)
    }

    fn claims(session: SessionId) -> Value {
        json!({
            "iss": "here", "aud": "remuda", "sub": UserId::generate(NOW), "sid": session, "kind": "access",
            "iat": NOW.as_secs(), "exp": NOW.as_secs() + 60, "jti": "j",
        })
    }

    fn signed(keys: &SigningKeys, change: impl FnOnce(&mut Header, &mut Value)) -> String {
        let key = keys.current(NOW).unwrap();
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(key.id.clone());
        let mut claims = claims(SessionId::generate(NOW));
        change(&mut header, &mut claims);
        encode(&header, &claims, key.signing.as_ref().unwrap()).unwrap()
    }

    #[test]
    fn a_token_is_good_for_an_hour_and_not_beyond_its_session() {
        let keys = keys();
        let (user, session) = (UserId::generate(NOW), SessionId::generate(NOW));
        for (session_life, life) in [
            (Duration::from_hours(24), LIFE),
            (Duration::from_mins(5), Duration::from_mins(5)),
        ] {
            let who = (user, session, NOW.after(session_life));
            let (token, end) = issue(&keys, "here", who, NOW).unwrap();
            assert_eq!(end, NOW.after(life));
            let good = verify(
                &keys,
                "here",
                token.expose(),
                end.before(Duration::from_secs(1)),
            );
            assert_eq!(
                good,
                Ok(Verified {
                    session,
                    expires_at: end
                })
            );
            assert_eq!(
                verify(&keys, "here", token.expose(), end),
                Err(AuthError::Expired)
            );
            assert!(claims_to_be_ours(&keys, token.expose()));
        }
    }

    #[test]
    fn whatever_differs_is_refused() {
        let keys = keys();
        assert!(verify(&keys, "here", &signed(&keys, |_, _| {}), NOW).is_ok());
        let set =
            |name: &'static str, value: Value| signed(&keys, move |_, claims| claims[name] = value);
        let without = |name: &'static str| {
            signed(&keys, move |_, claims| {
                claims.as_object_mut().unwrap().remove(name);
            })
        };
        for token in [
            set("iss", json!("elsewhere")),
            set("aud", json!("another")),
            set("kind", json!("refresh")),
            set("exp", json!(i64::MAX)),
            set("iat", json!(NOW.as_secs() + 3600)),
            without("iss"),
            without("aud"),
            without("exp"),
            without("kind"),
            without("sid"),
            signed(&keys, |header, _| header.typ = Some("JWT".to_owned())),
            signed(&keys, |header, _| header.kid = Some("another".to_owned())),
            signed(&keys, |header, _| header.kid = None),
        ] {
            assert_eq!(
                verify(&keys, "here", &token, NOW),
                Err(AuthError::Unknown),
                "{token}"
            );
        }
        let other = self::keys();
        let foreign = signed(&other, |header, _| {
            header.kid = Some(keys.current(NOW).unwrap().id.clone());
        });
        assert_eq!(
            verify(&keys, "here", &foreign, NOW),
            Err(AuthError::Unknown)
        );
    }

    #[test]
    fn no_other_algorithm_is_taken() {
        let keys = keys();
        let key = keys.current(NOW).unwrap();
        let body = URL_SAFE_NO_PAD.encode(claims(SessionId::generate(NOW)).to_string());
        let head = json!({"alg": "none", "typ": TYPE, "kid": key.id});
        let unsigned = format!("{}.{body}.", URL_SAFE_NO_PAD.encode(head.to_string()));
        // The classic confusion: the public key taken as a shared secret.
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(key.id.clone());
        let secret = EncodingKey::from_secret(&key.public_key);
        let confused = encode(&header, &claims(SessionId::generate(NOW)), &secret).unwrap();
        for token in [unsigned.as_str(), &confused, "ey.x.y", "", "a.b.c"] {
            assert_eq!(
                verify(&keys, "here", token, NOW),
                Err(AuthError::Unknown),
                "{token}"
            );
        }
    }
}
