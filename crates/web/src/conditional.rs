//! Changes on condition: `ETag` and `If-Match` (RFC 9110, sections 8.8.3 and 13.1.1).

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::header::ETAG;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use primitives::{Classify, ErrorKind};
use serde::Serialize;

/// The header by which a client says what it believes to change.
pub const IF_MATCH: &str = "If-Match";

/// The version of a thing: a hash of what can be changed of it, quoted as HTTP wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ETag(String);

impl ETag {
    /// Makes the tag of a state; equal states have equal tags on every replica.
    pub fn of<T: Serialize + ?Sized>(state: &T) -> Self {
        let text = serde_json::to_vec(state).unwrap_or_default();
        let hash = blake3::hash(&text);
        let short: [u8; 16] = *hash.as_bytes().first_chunk().unwrap_or(&[0; 16]);
        Self(format!("\"{:032x}\"", u128::from_be_bytes(short)))
    }

    /// Returns the tag with its quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An answer with the version of what it shows.
#[derive(Clone, Debug)]
pub struct Tagged<T>(pub ETag, pub T);

impl<T: IntoResponse> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let Self(ETag(tag), body) = self;
        let mut response = body.into_response();
        if let Ok(tag) = HeaderValue::try_from(tag) {
            response.headers_mut().insert(ETAG, tag);
        }
        response
    }
}

/// The same for things of which some have no version.
#[derive(Clone, Debug)]
pub struct Versioned<T>(pub Option<ETag>, pub T);

impl<T: IntoResponse> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        match self {
            Self(Some(tag), body) => Tagged(tag, body).into_response(),
            Self(None, body) => body.into_response(),
        }
    }
}

/// What a client believes to change, from the header `If-Match`. Without that header every version will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IfMatch(Option<String>);

/// The thing has another version than the client believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was changed meanwhile")]
pub struct ChangedMeanwhile;

impl Classify for ChangedMeanwhile {
    fn kind(&self) -> ErrorKind {
        ErrorKind::PreconditionFailed
    }

    fn public_message(&self) -> String {
        format!("{self}: read it again, and send the change with the `ETag` that it has now")
    }
}

impl IfMatch {
    /// Accepts every version.
    pub const ANY: Self = Self(None);

    /// Checks that a thing still has one of the versions that the client named. `current` is asked for its own only where one is.
    ///
    /// # Errors
    /// When it has none of them. A weak tag matches nothing: a change needs certainty.
    pub fn check(&self, current: impl FnOnce() -> ETag) -> Result<(), ChangedMeanwhile> {
        let Some(named) = &self.0 else { return Ok(()) };
        let current = current();
        let matches = named.trim() == "*" || named.split(',').any(|tag| tag.trim() == current.0);
        if matches {
            Ok(())
        } else {
            Err(ChangedMeanwhile)
        }
    }

    fn of(headers: &HeaderMap) -> Self {
        let mut named = headers.get_all(http::header::IF_MATCH).iter().peekable();
        if named.peek().is_none() {
            return Self::ANY;
        }
        // What cannot be read matches nothing.
        let texts: Vec<&str> = named.map(|value| value.to_str().unwrap_or("?")).collect();
        Self(Some(texts.join(",")))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn if_match(values: &[&'static str]) -> IfMatch {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(http::header::IF_MATCH, HeaderValue::from_static(value));
        }
        IfMatch::of(&headers)
    }

    #[test]
    fn a_change_needs_one_of_the_named_versions() {
        let (now, before) = (ETag::of("now"), ETag::of("before"));
        assert_ne!(now, before);
        assert_eq!(now, ETag::of("now"));
        assert_eq!(now.as_str().len(), 34);
        assert!(if_match(&[]).check(|| now.clone()).is_ok());
        assert!(if_match(&["*"]).check(|| now.clone()).is_ok());
        let either = format!("{}, {}", before.as_str(), now.as_str());
        let either: &'static str = either.leak();
        assert!(if_match(&[either]).check(|| now.clone()).is_ok());
        assert!(
            if_match(&["\"other\"", either])
                .check(|| now.clone())
                .is_ok()
        );
        for wrong in ["\"other\"", "", "now"] {
            assert!(if_match(&[wrong]).check(|| now.clone()).is_err(), "{wrong}");
        }
        let weak: &'static str = format!("W/{}", now.as_str()).leak();
        assert!(if_match(&[weak]).check(|| now.clone()).is_err());
    }
}
