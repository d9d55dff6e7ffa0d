//! `GET /.well-known/jwks.json`.

use axum::extract::State;
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::CACHE_CONTROL;
use serde::Serialize;
use utoipa::ToSchema;
use web::JsonBody;

use crate::identity::Identity;

/// Keys to verify access tokens with, as in RFC 7517.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeySetBody {
    /// The keys, the newest first; one of them may not sign yet, and one may sign no more.
    keys: Vec<PublicKeyBody>,
}

/// A public key, as in RFC 8037.
#[derive(Serialize, ToSchema)]
pub(crate) struct PublicKeyBody {
    /// Always `OKP`.
    #[schema(example = "OKP")]
    kty: &'static str,
    /// Always `Ed25519`.
    #[schema(example = "Ed25519")]
    crv: &'static str,
    /// Always `EdDSA`.
    #[schema(example = "EdDSA")]
    alg: &'static str,
    /// Always `sig`.
    #[serde(rename = "use")]
    #[schema(example = "sig")]
    purpose: &'static str,
    /// Names the key in a token's head.
    kid: String,
    /// The key's 32 bytes.
    x: String,
}

/// Shows the keys that access tokens are signed with
///
/// A key stands here an hour before it signs, and two hours after another has taken over.
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    operation_id = "show_keys",
    tag = "identity",
    responses((status = 200, description = "The public keys.", body = KeySetBody))
)]
pub(crate) async fn show_keys(State(identity): State<Identity>) -> impl IntoResponse {
    let snapshot = identity.snapshot();
    let keys = snapshot.signing().all().map(|key| PublicKeyBody {
        kty: "OKP",
        crv: "Ed25519",
        alg: "EdDSA",
        purpose: "sig",
        kid: key.id.clone(),
        x: URL_SAFE_NO_PAD.encode(&key.public_key),
    });
    let body = KeySetBody {
        keys: keys.collect(),
    };
    // Shorter than a key is published ahead.
    ([(CACHE_CONTROL, "public, max-age=600")], JsonBody(body))
}
