//! Checking what a provider states about somebody (OpenID Connect Core 1.0, section 3.1.3.7).

use std::time::Duration;

use jsonwebtoken::jwk::{Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use primitives::Timestamp;
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;

/// How far a provider's clock may be from ours.
const SKEW: Duration = Duration::from_mins(1);
/// The longest token that is looked at, in bytes.
const LONGEST: usize = 64 * 1024;
/// The most bytes of a subject (OpenID Connect Core 1.0, section 2).
const LONGEST_SUBJECT: usize = 255;

/// The algorithms that are taken. None with a shared secret: that would be any text that the provider and we both know.
const ALGORITHMS: [(Algorithm, KeyAlgorithm); 9] = [
    (Algorithm::RS256, KeyAlgorithm::RS256),
    (Algorithm::RS384, KeyAlgorithm::RS384),
    (Algorithm::RS512, KeyAlgorithm::RS512),
    (Algorithm::PS256, KeyAlgorithm::PS256),
    (Algorithm::PS384, KeyAlgorithm::PS384),
    (Algorithm::PS512, KeyAlgorithm::PS512),
    (Algorithm::ES256, KeyAlgorithm::ES256),
    (Algorithm::ES384, KeyAlgorithm::ES384),
    (Algorithm::EdDSA, KeyAlgorithm::EdDSA),
];

/// What a token must say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    pub(super) now: Timestamp,
}

/// Why a provider's token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    /// It is no token.
    #[error("it is no signed JWT")]
    Form,
    /// Its algorithm is none of those that are taken, or not the key's.
    #[error("its algorithm is not taken")]
    Algorithm,
    /// The provider publishes no such key.
    #[error("it is signed with a key that the provider does not publish")]
    Key,
    /// The signature, the issuer or the audience is wrong.
    #[error("its signature, issuer or audience is not right")]
    Signature,
    /// It is for several, and another asked for it.
    #[error("it was made for another client")]
    Party,
    /// It has ended, or is of the future.
    #[error("it is not of this time")]
    Time,
    /// It answers another question.
    #[error("it does not answer this sign-in: the nonce is another")]
    Nonce,
    /// It does not say about whom it is.
    #[error("it does not say about whom it is")]
    Subject,
}

/// What names the key of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) key_id: Option<String>,
    algorithm: Algorithm,
}

/// Reads a token's head.
pub(super) fn head(token: &str) -> Result<Head, IdTokenError> {
    if token.len() > LONGEST {
        return Err(IdTokenError::Form);
    }
    let header = decode_header(token).map_err(|_| IdTokenError::Form)?;
    if !ALGORITHMS.iter().any(|(one, _)| *one == header.alg) {
        return Err(IdTokenError::Algorithm);
    }
    Ok(Head {
        key_id: header.kid,
        algorithm: header.alg,
    })
}

/// Checks everything about a token and returns what it says.
pub(super) fn verify(
    token: &str,
    head: &Head,
    key: &Jwk,
    expected: Expected<'_>,
) -> Result<Map<String, Value>, IdTokenError> {
    let is_keys = |algorithm: &KeyAlgorithm| ALGORITHMS.contains(&(head.algorithm, *algorithm));
    if !key.common.key_algorithm.as_ref().is_none_or(is_keys) {
        return Err(IdTokenError::Algorithm);
    }
    if matches!(
        key.common.public_key_use,
        Some(PublicKeyUse::Encryption | PublicKeyUse::Other(_))
    ) {
        return Err(IdTokenError::Key);
    }
    let verifying = DecodingKey::from_jwk(key).map_err(|_| IdTokenError::Key)?;
    let mut validation = Validation::new(head.algorithm);
    validation.set_issuer(&[expected.issuer]);
    validation.set_audience(&[expected.client_id]);
    validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
    // The time is ours to check: it comes from the clock that everything else goes by.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    let claims = decode::<Map<String, Value>>(token, &verifying, &validation)
        .map_err(|_| IdTokenError::Signature)?
        .claims;
    check_party(&claims, expected.client_id)?;
    check_time(&claims, expected.now)?;
    let nonce = claims.get("nonce").and_then(Value::as_str);
    let nonce = nonce.ok_or(IdTokenError::Nonce)?;
    if !bool::from(nonce.as_bytes().ct_eq(expected.nonce.as_bytes())) {
        return Err(IdTokenError::Nonce);
    }
    let subject = claims
        .get("sub")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if subject.is_empty() || subject.len() > LONGEST_SUBJECT {
        return Err(IdTokenError::Subject);
    }
    Ok(claims)
}

/// Whoever asked for the token must be us.
fn check_party(claims: &Map<String, Value>, client_id: &str) -> Result<(), IdTokenError> {
    let is_for_several = matches!(claims.get("aud"), Some(Value::Array(all)) if all.len() > 1);
    match claims.get("azp") {
        Some(Value::String(party)) if party == client_id => Ok(()),
        None if !is_for_several => Ok(()),
        _ => Err(IdTokenError::Party),
    }
}

fn check_time(claims: &Map<String, Value>, now: Timestamp) -> Result<(), IdTokenError> {
    let seconds = |name: &str| match claims.get(name) {
        None => Ok(None),
        // Some write fractions.
        Some(value) => value.as_f64().map(Some).ok_or(IdTokenError::Time),
    };
    let (now, skew) = (now.as_secs() as f64, SKEW.as_secs_f64());
    let end = seconds("exp")?.ok_or(IdTokenError::Time)?;
    let issued = seconds("iat")?.ok_or(IdTokenError::Time)?;
    let begin = seconds("nbf")?.unwrap_or(issued);
    if end + skew <= now || issued > now + skew || begin > now + skew {
        return Err(IdTokenError::Time);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
    const EXPECTED: Expected<'static> = Expected {
        issuer: "https://login.example.org",
        client_id: "remuda",
        nonce: "the nonce",
        now: NOW,
    };

    struct Signer {
        document: Vec<u8>,
        key: Value,
    }

    fn signer() -> Signer {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let document = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        Signer {
            document: document.as_ref().to_vec(),
            key: json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "one", "alg": "EdDSA", "use": "sig"}),
        }
    }

    fn claims() -> Value {
        let now = NOW.as_secs();
        json!({
            "iss": EXPECTED.issuer, "aud": "remuda", "sub": "ann", "nonce": EXPECTED.nonce, "iat": now, "exp": now + 300,
        })
    }

    impl Signer {
        fn sign(&self, claims: &Value) -> String {
            let mut header = Header::new(Algorithm::EdDSA);
            header.kid = Some("one".to_owned());
            encode(&header, claims, &EncodingKey::from_ed_der(&self.document)).unwrap()
        }

        fn check(&self, token: &str) -> Result<Map<String, Value>, IdTokenError> {
            let key: Jwk = serde_json::from_value(self.key.clone()).unwrap();
            verify(token, &head(token)?, &key, EXPECTED)
        }
    }

    #[test]
    fn a_good_token_is_believed_and_clocks_may_be_a_minute_apart() {
        let signer = signer();
        let now = NOW.as_secs();
        for (name, value) in [
            ("aud", json!("remuda")),
            ("aud", json!(["remuda"])),
            ("exp", json!(now - 59)),
            ("iat", json!(now + 60)),
            ("azp", json!("remuda")),
            ("exp", json!(now as f64 + 0.5)),
        ] {
            let mut claims = claims();
            claims[name] = value;
            assert_eq!(
                signer.check(&signer.sign(&claims)).unwrap()["sub"],
                "ann",
                "{name}"
            );
        }
    }

    #[test]
    fn whatever_differs_is_not_believed() {
        let signer = signer();
        let now = NOW.as_secs();
        for (name, value, error) in [
            (
                "iss",
                json!("https://elsewhere.example.org"),
                IdTokenError::Signature,
            ),
            ("aud", json!("another"), IdTokenError::Signature),
            ("aud", json!(["remuda", "another"]), IdTokenError::Party),
            ("azp", json!("another"), IdTokenError::Party),
            ("nonce", json!("another"), IdTokenError::Nonce),
            ("nonce", json!(null), IdTokenError::Nonce),
            ("exp", json!(now - 60), IdTokenError::Time),
            ("iat", json!(now + 61), IdTokenError::Time),
            ("nbf", json!(now + 61), IdTokenError::Time),
            ("sub", json!(""), IdTokenError::Subject),
            ("sub", json!("x".repeat(256)), IdTokenError::Subject),
        ] {
            let mut claims = claims();
            claims[name] = value;
            assert_eq!(signer.check(&signer.sign(&claims)), Err(error), "{name}");
        }
        for name in ["iss", "aud", "sub", "exp", "iat", "nonce"] {
            let mut claims = claims();
            claims.as_object_mut().unwrap().remove(name);
            assert!(signer.check(&signer.sign(&claims)).is_err(), "{name}");
        }
        let other = self::signer();
        assert_eq!(
            signer.check(&other.sign(&claims())),
            Err(IdTokenError::Signature)
        );
    }

    #[test]
    fn unsigned_tokens_shared_secrets_and_other_uses_of_keys_are_not_taken() {
        let mut signer = signer();
        let body = URL_SAFE_NO_PAD.encode(claims().to_string());
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"one"}"#);
        assert!(signer.check(&format!("{none}.{body}.")).is_err());
        // The public key, which everybody knows, taken as a shared secret.
        let public = signer.key["x"].as_str().unwrap().to_owned();
        let secret = EncodingKey::from_secret(public.as_bytes());
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("one".to_owned());
        let confused = encode(&header, &claims(), &secret).unwrap();
        assert_eq!(signer.check(&confused), Err(IdTokenError::Algorithm));
        let good = signer.sign(&claims());
        for (name, value) in [("alg", "ES256"), ("use", "enc")] {
            let key = signer.key.clone();
            signer.key[name] = json!(value);
            assert!(signer.check(&good).is_err(), "{name}");
            signer.key = key;
        }
        assert!(signer.check(&good).is_ok());
        assert_eq!(
            signer.check(&"x".repeat(LONGEST + 1)),
            Err(IdTokenError::Form)
        );
    }
}
