//! Gateways that are each other's nodes: who answers, and through whom a request has come. Pure.
//!
//! Every answer of a Remuda to its clients names the installation ([`INSTANCE_HEADER`]), so that it is not added to itself as
//! a node. Every request that a Remuda sends to a node names the installations it has passed ([`HOPS_HEADER`]), so that a
//! ring of them ends a request instead of multiplying it.

use std::fmt;
use std::str::FromStr;

use http::{HeaderMap, HeaderName, HeaderValue};
use primitives::{Classify, ErrorKind, Timestamp};
use uuid::Uuid;

/// Names the installation that answers: its id.
pub const INSTANCE_HEADER: HeaderName = HeaderName::from_static("x-remuda-instance");

/// Names the installations that a request has passed: their ids, separated by commas, the first one first.
pub const HOPS_HEADER: HeaderName = HeaderName::from_static("x-remuda-hops");

/// The most gateways that a request passes, one behind the other.
pub const MAX_HOPS: usize = 4;

/// The identity of an installation: of all processes that share a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InstanceId(Uuid);

impl InstanceId {
    /// Makes the id of a new installation.
    pub fn generate(now: Timestamp) -> Self {
        let micros = u64::try_from(now.as_micros()).unwrap_or(0);
        let seconds = uuid::Timestamp::from_unix(uuid::NoContext, micros / 1_000_000, 0);
        Self(Uuid::new_v7(seconds))
    }

    /// Returns the value of [`INSTANCE_HEADER`].
    pub fn header_value(self) -> HeaderValue {
        // Hexadecimal digits and hyphens are always a header value.
        HeaderValue::try_from(self.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// Reads who has sent these headers; `None` when it was no Remuda.
    pub fn of_answer(headers: &HeaderMap) -> Option<Self> {
        headers.get(INSTANCE_HEADER)?.to_str().ok()?.parse().ok()
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// The text is not the id of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the id of an installation: expected a UUID")]
pub struct ParseInstanceIdError;

impl FromStr for InstanceId {
    type Err = ParseInstanceIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text.trim())
            .map(Self)
            .map_err(|_| ParseInstanceIdError)
    }
}

/// Why a request is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HopsError {
    /// It has been here before.
    #[error("the request has come back to a gateway that it had already passed")]
    Loop,
    /// It has passed too many gateways.
    #[error("the request has passed {MAX_HOPS} gateways, which is the most")]
    TooMany,
    /// The header does not list installations.
    #[error("the header x-remuda-hops does not list installations of Remuda")]
    Malformed,
}

impl Classify for HopsError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    fn public_message(&self) -> String {
        match self {
            Self::Loop => format!(
                "{self}: gateways are each other's nodes; remove one of them from the nodes of the other (`remuda node list`)"
            ),
            Self::TooMany => format!(
                "{self}: send it to a gateway nearer to the model servers, or add these servers as nodes here"
            ),
            Self::Malformed => format!("{self}: leave the header out"),
        }
    }
}

/// The installations that a request has passed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hops(Vec<InstanceId>);

impl Hops {
    /// Reads the headers of a request that arrived here, and refuses one that must not go on.
    pub fn arriving(headers: &HeaderMap, here: InstanceId) -> Result<Self, HopsError> {
        let mut passed = Vec::new();
        for value in headers.get_all(HOPS_HEADER) {
            let text = value.to_str().map_err(|_| HopsError::Malformed)?;
            for id in text.split(',') {
                let id: InstanceId = id.parse().map_err(|_| HopsError::Malformed)?;
                if id == here {
                    return Err(HopsError::Loop);
                }
                if passed.len() + 1 >= MAX_HOPS {
                    return Err(HopsError::TooMany);
                }
                passed.push(id);
            }
        }
        Ok(Self(passed))
    }

    /// Returns the value of [`HOPS_HEADER`] for the request to a node: what it has passed, and this installation.
    pub fn leaving(&self, here: InstanceId) -> HeaderValue {
        if self.0.is_empty() {
            return here.header_value();
        }
        let mut text = String::with_capacity(37 * (self.0.len() + 1));
        for id in &self.0 {
            text.push_str(&id.to_string());
            text.push(',');
        }
        text.push_str(&here.to_string());
        HeaderValue::try_from(text).unwrap_or_else(|_| here.header_value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> InstanceId {
        InstanceId(Uuid::from_u128(number))
    }

    fn arriving(value: &HeaderValue, here: InstanceId) -> Result<Hops, HopsError> {
        let mut headers = HeaderMap::new();
        headers.insert(HOPS_HEADER, value.clone());
        Hops::arriving(&headers, here)
    }

    #[test]
    fn a_ring_of_gateways_ends_a_request_where_it_began() {
        let at_first = Hops::arriving(&HeaderMap::new(), id(1)).unwrap();
        let at_second = arriving(&at_first.leaving(id(1)), id(2)).unwrap();
        assert_eq!(
            arriving(&at_second.leaving(id(2)), id(1)),
            Err(HopsError::Loop)
        );
        assert_eq!(
            arriving(&at_first.leaving(id(1)), id(1)),
            Err(HopsError::Loop)
        );
    }

    #[test]
    fn a_chain_is_passed_up_to_its_bound() {
        let mut hops = Hops::arriving(&HeaderMap::new(), id(1)).unwrap();
        for number in 1..MAX_HOPS as u128 {
            hops = arriving(&hops.leaving(id(number)), id(number + 1)).unwrap();
        }
        let last = hops.leaving(id(MAX_HOPS as u128));
        assert_eq!(arriving(&last, id(99)), Err(HopsError::TooMany));
    }

    #[test]
    fn several_header_lines_count_together_and_nonsense_is_refused() {
        let mut headers = HeaderMap::new();
        headers.append(HOPS_HEADER, id(1).header_value());
        headers.append(HOPS_HEADER, id(2).header_value());
        assert_eq!(Hops::arriving(&headers, id(2)), Err(HopsError::Loop));
        for nonsense in ["", "7", "a,b", "\u{e4}"] {
            let value = HeaderValue::from_bytes(nonsense.as_bytes()).unwrap();
            assert_eq!(arriving(&value, id(1)), Err(HopsError::Malformed));
        }
    }

    #[test]
    fn an_answer_names_its_installation() {
        let mut headers = HeaderMap::new();
        assert_eq!(InstanceId::of_answer(&headers), None);
        headers.insert(INSTANCE_HEADER, id(7).header_value());
        assert_eq!(InstanceId::of_answer(&headers), Some(id(7)));
        assert!(
            HopsError::Loop
                .public_message()
                .contains("remuda node list")
        );
    }
}
