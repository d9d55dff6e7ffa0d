//! Secrets that callers present: how they are made, recognised, hashed, and found in a request.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use primitives::Secret;
use subtle::ConstantTimeEq as _;

/// What a secret is for; shown by its first letters, so that people and secret scanners can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CredentialKind {
    Key,
    /// One token for a whole session, as earlier builds made them. None are made any more.
    Session,
    Refresh,
    SetupToken,
    PasswordReset,
    Invitation,
}

impl CredentialKind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Key => "rmd_",
            Self::Session => "rms_",
            Self::Refresh => "rmr_",
            Self::SetupToken => "rmt_",
            Self::PasswordReset => "rmp_",
            Self::Invitation => "rmi_",
        }
    }
}

/// How many characters of a secret are kept to recognise it by: the prefix and four more.
const SHOWN: usize = 8;

/// Makes a secret with 256 random bits.
pub(crate) fn generate(kind: CredentialKind) -> Secret<String> {
    let mut noise: [u8; 32] = rand::random();
    let secret = Secret::new(format!(
        "{}{}",
        kind.prefix(),
        URL_SAFE_NO_PAD.encode(noise)
    ));
    noise.fill(0);
    secret
}

/// Returns the start of a secret, by which people recognise it in a list.
pub(crate) fn shown_prefix(secret: &Secret<String>) -> String {
    secret.expose().chars().take(SHOWN).collect()
}

/// Tells whether the text is meant as one of our secrets, valid or not.
pub(crate) fn is_ours(text: &str) -> bool {
    [
        CredentialKind::Key,
        CredentialKind::Session,
        CredentialKind::Refresh,
    ]
    .iter()
    .any(|kind| text.starts_with(kind.prefix()))
}

/// The hash by which a secret is stored. Secrets are random, so a fast hash is enough; comparison takes constant time.
#[derive(Clone, Copy, Eq)]
pub(crate) struct SecretHash([u8; 32]);

impl SecretHash {
    pub(crate) fn of(secret: &str) -> Self {
        Self(*blake3::hash(secret.as_bytes()).as_bytes())
    }

    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().map(Self).ok()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the first eight bytes: as evenly spread as any hash of them.
    pub(crate) fn spread(&self) -> u64 {
        self.0
            .first_chunk()
            .map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash")
    }
}

/// Finds the credential in a request's headers: `Authorization: Bearer`, `x-api-key`, or the password of `Authorization: Basic`.
///
/// Returns `None` when none is presented, also for an empty one. A header that cannot be understood counts as presented, so that a
/// damaged credential is refused instead of being taken for none.
pub fn presented_credential(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let Ok(text) = value.to_str() else {
            return Some(Cow::Borrowed("?"));
        };
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            if !rest.is_empty() {
                return Some(Cow::Borrowed(rest));
            }
        } else if scheme.eq_ignore_ascii_case("basic") {
            return Some(basic_password(rest).map_or(Cow::Borrowed("?"), Cow::Owned));
        } else if !scheme.is_empty() {
            return Some(Cow::Borrowed(text));
        }
    }
    let value = headers.get("x-api-key")?;
    match value.to_str().map(str::trim) {
        Ok("") => None,
        Ok(text) => Some(Cow::Borrowed(text)),
        Err(_) => Some(Cow::Borrowed("?")),
    }
}

fn basic_password(encoded: &str) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    text.split_once(':')
        .map(|(_, password)| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn presented(headers: &[(&'static str, &str)]) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        presented_credential(&map).map(Cow::into_owned)
    }

    #[test]
    fn secrets_name_their_kind_and_differ() {
        let (one, two) = (generate(CredentialKind::Key), generate(CredentialKind::Key));
        assert_ne!(one.expose(), two.expose());
        assert_eq!(one.expose().len(), 4 + 43);
        assert!(one.expose().starts_with(&shown_prefix(&one)));
        assert!(is_ours(one.expose()) && !is_ours("sk-abc"));
    }

    #[test]
    fn a_credential_is_found_in_each_place() {
        for scheme in ["Bearer", "bearer", "BEARER"] {
            assert_eq!(
                presented(&[("authorization", &format!("{scheme}  rmd_x "))]).as_deref(),
                Some("rmd_x")
            );
        }
        assert_eq!(
            presented(&[("x-api-key", "rmd_x")]).as_deref(),
            Some("rmd_x")
        );
        let basic = format!("Basic {}", STANDARD.encode("user:rmd_x:y"));
        assert_eq!(
            presented(&[("authorization", &basic)]).as_deref(),
            Some("rmd_x:y")
        );
    }

    #[test]
    fn no_credential_is_told_from_a_damaged_one() {
        assert_eq!(presented(&[]), None);
        assert_eq!(presented(&[("authorization", "Bearer ")]), None);
        assert_eq!(presented(&[("x-api-key", "")]), None);
        assert!(presented(&[("authorization", "Basic ***")]).is_some());
        assert!(presented(&[("authorization", "Bearer \u{e9}")]).is_some());
        assert!(presented(&[("authorization", "rmd_x")]).is_some());
    }
}
