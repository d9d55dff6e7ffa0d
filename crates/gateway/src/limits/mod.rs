//! How much callers may use: what a request counts against, and what its client hears of it.
//!
//! The counting is [`identity::limits`]', by this process for itself or together with others; here it meets requests. What keys have used
//! of their month is read from the request records at start.

mod proxies;

use std::net::IpAddr;

use dialects::ApiError;
use http::{HeaderName, HeaderValue, Response};
use identity::limits::{Claim, LimitHeaders, LimitKind, Limiter, Refused, Reservation, Subject};
use identity::{KeyLimits, Principal, PrincipalKind};
use primitives::{Clock, ErrorKind, Timestamp};
use store::{Db, StoreError};

use crate::config::CallerLimits;
use crate::metrics::Metrics;
use crate::store as records;

pub(crate) use proxies::TrustedProxies;

/// Counts what all callers use.
pub(crate) struct Limits {
    limiter: Limiter,
}

/// A request that is not let in: the error, and how the limits stand.
#[derive(Debug)]
pub(crate) struct Limited {
    pub(crate) error: ApiError,
    pub(crate) headers: LimitHeaders,
}

impl Limits {
    pub(crate) fn new(limiter: Limiter) -> Self {
        Self { limiter }
    }

    /// Lets a request in that will use about `tokens`. `None`: nothing limits it.
    ///
    /// # Errors
    ///
    /// 429 with the time to wait.
    pub(crate) async fn reserve(
        &self,
        rules: &CallerLimits,
        principal: &Principal,
        address: IpAddr,
        tokens: u64,
        clock: &dyn Clock,
        metrics: &Metrics,
    ) -> Result<Option<Reservation>, Box<Limited>> {
        let claims = claims(rules, principal, address);
        if claims.is_empty() {
            return Ok(None);
        }
        self.limiter
            .reserve_together(&claims, tokens, clock.monotonic(), clock.now())
            .await
            .map(Some)
            .map_err(|refused| {
                metrics.limited(subject_name(refused.subject), kind_name(refused.kind));
                Box::new(limited(&refused, &claims))
            })
    }

    /// Learns what keys have used of the month before `started`, when this process began.
    pub(crate) async fn restore(
        &self,
        db: &Db,
        started: Timestamp,
        clock: &dyn Clock,
    ) -> Result<(), StoreError> {
        let since = identity::limits::month_start(started);
        for (key, tokens) in records::tokens_of_keys(db, since, started).await? {
            self.limiter
                .restore_month(Subject::Key(key), tokens, clock.monotonic(), started);
        }
        Ok(())
    }
}

fn claims(rules: &CallerLimits, principal: &Principal, address: IpAddr) -> Vec<Claim> {
    let key = match principal.kind {
        PrincipalKind::Key(id) => Some((Subject::Key(id), principal.limits)),
        PrincipalKind::User(_) | PrincipalKind::Anonymous => None,
    };
    [
        key,
        principal.user.map(|id| (Subject::User(id), rules.user)),
        Some((Subject::Org(principal.org), rules.organisation)),
        Some((Subject::Ip(network(address)), rules.address)),
    ]
    .into_iter()
    .flatten()
    .filter(|(_, limits)| *limits != KeyLimits::default())
    .map(|(subject, limits)| Claim { subject, limits })
    .collect()
}

/// Adds how the limits stand to an answer.
pub(crate) fn tell<B>(response: &mut Response<B>, limits: &LimitHeaders) {
    for (name, value) in limits.pairs() {
        response
            .headers_mut()
            .insert(HeaderName::from_static(name), HeaderValue::from(value));
    }
}

/// Returns the address that is counted. Of IPv6 it is the network of 64 bits: whoever has one address there has all of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

const fn subject_name(subject: Subject) -> &'static str {
    match subject {
        Subject::Key(_) => "key",
        Subject::User(_) => "user",
        Subject::Org(_) => "organisation",
        Subject::Ip(_) => "address",
    }
}

const fn kind_name(kind: LimitKind) -> &'static str {
    match kind {
        LimitKind::Requests => "requests",
        LimitKind::Tokens => "tokens",
        LimitKind::Month => "month",
    }
}

fn limited(refused: &Refused, claims: &[Claim]) -> Limited {
    let limits = claims
        .iter()
        .find(|claim| claim.subject == refused.subject)
        .map(|claim| claim.limits)
        .unwrap_or_default();
    let (most, of) = match refused.kind {
        LimitKind::Requests => (
            limits.requests_per_minute.map(u64::from),
            "requests a minute",
        ),
        LimitKind::Tokens => (limits.tokens_per_minute, "tokens a minute"),
        LimitKind::Month => (limits.tokens_per_month, "tokens a month"),
    };
    let whose = match refused.subject {
        Subject::Key(_) => "this key",
        Subject::User(_) => "this person",
        Subject::Org(_) => "this organisation",
        Subject::Ip(_) => "this address",
    };
    let advice = match refused.subject {
        Subject::Key(_) => "remuda key edit",
        _ => "[limits] in the configuration",
    };
    let seconds = refused.retry_after.as_millis().div_ceil(1_000);
    Limited {
        error: ApiError::new(
            ErrorKind::TooMany,
            format!(
                "{whose} has used its {} {of}: try again in {seconds} s, or have an administrator raise the limit ({advice})",
                most.unwrap_or_default()
            ),
        )
        .with_code("rate_limit_exceeded")
        .with_retry_after(refused.retry_after),
        headers: refused.headers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.2"), of("10.0.0.1"));
    }
}
