//! The limits of everybody who calls: reserved when a request is let in, settled when it has ended.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use primitives::{KeyId, MonotonicTime, OrgId, Timestamp, UserId};

use super::bucket::Bucket;
use super::headers::{LimitHeaders, Window};
use crate::model::KeyLimits;

/// The most subjects that are remembered. At the bound those whose buckets are full go, which changes nothing for them; when none is,
/// the ones that were quiet the longest.
const CAPACITY: usize = 100_000;

/// Whose use is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A key's.
    Key(KeyId),
    /// A person's.
    User(UserId),
    /// An organisation's.
    Org(OrgId),
    /// An address's.
    Ip(IpAddr),
}

/// What a request counts against.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Whose limits.
    pub subject: Subject,
    /// Which limits.
    pub limits: KeyLimits,
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// Requests in a minute.
    Requests,
    /// Tokens in a minute.
    Tokens,
    /// Tokens in a calendar month (UTC).
    Month,
}

/// Why a request is not let in now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Whose limit was reached.
    pub subject: Subject,
    /// Which one.
    pub kind: LimitKind,
    /// How long to wait before it may be let in.
    pub retry_after: Duration,
    /// How the limits stand.
    pub headers: LimitHeaders,
}

/// Counts what is used. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Limiter {
    pub(super) state: Arc<Mutex<HashMap<Subject, Used>>>,
    /// Where it is counted together with other processes.
    pub(super) shared: Option<bus::Allowances>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    pub(super) requests: Option<Bucket>,
    pub(super) tokens: Option<Bucket>,
    /// The month that is counted, in months since the year 0.
    pub(super) month: i64,
    /// What requests that have ended used of it.
    pub(super) month_tokens: u64,
    /// What was counted here while others could not be told.
    pub(super) untold: Untold,
    seen_at: MonotonicTime,
}

/// What was counted here alone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Untold {
    pub(super) requests: f64,
    pub(super) tokens: f64,
    pub(super) month_tokens: u64,
}

/// A moment, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) at: MonotonicTime,
    pub(super) month: i64,
    pub(super) month_left: Duration,
}

impl Moment {
    pub(super) fn new(at: MonotonicTime, now: Timestamp) -> Self {
        let (month, month_left) = month_of(now);
        Self {
            at,
            month,
            month_left,
        }
    }
}

impl Used {
    fn new(moment: Moment) -> Self {
        Self {
            requests: None,
            tokens: None,
            month: moment.month,
            month_tokens: 0,
            untold: Untold::default(),
            seen_at: moment.at,
        }
    }

    /// Takes over limits that may have changed.
    pub(super) fn follow(&mut self, limits: &KeyLimits, moment: Moment) {
        self.seen_at = moment.at;
        if self.month != moment.month {
            self.month = moment.month;
            self.month_tokens = 0;
            self.untold.month_tokens = 0;
        }
        follow_bucket(
            &mut self.requests,
            limits.requests_per_minute.map(u64::from),
            moment.at,
        );
        follow_bucket(&mut self.tokens, limits.tokens_per_minute, moment.at);
    }

    fn refusal(
        &mut self,
        limits: &KeyLimits,
        tokens: u64,
        moment: Moment,
    ) -> Option<(LimitKind, Duration)> {
        // By what was used, not by what may be: a wait until the next month is no answer to a large `max_tokens`.
        if limits
            .tokens_per_month
            .is_some_and(|most| self.month_tokens >= most)
        {
            return Some((LimitKind::Month, moment.month_left));
        }
        let of = |kind, bucket: &mut Option<Bucket>, amount| {
            let wait = bucket.as_mut()?.wait_for(amount, moment.at)?;
            Some((kind, wait))
        };
        let requests = of(LimitKind::Requests, &mut self.requests, 1);
        let tokens = of(LimitKind::Tokens, &mut self.tokens, tokens.max(1));
        [requests, tokens]
            .into_iter()
            .flatten()
            .max_by_key(|(_, wait)| *wait)
    }

    fn take(&mut self, tokens: u64) {
        if let Some(bucket) = &mut self.requests {
            bucket.take(1);
        }
        if let Some(bucket) = &mut self.tokens {
            bucket.take(tokens);
        }
        self.untold.requests += 1.0;
        self.untold.tokens += tokens as f64;
    }

    /// Replaces a reservation by what was used.
    fn settle(&mut self, reserved: u64, used: u64, month: i64) {
        if let Some(bucket) = &mut self.tokens {
            if used > reserved {
                bucket.take(used - reserved);
            } else {
                bucket.put_back(reserved - used);
            }
        }
        self.untold.tokens += used as f64 - reserved as f64;
        // Who was let in in another month has used that one's budget, which is gone.
        if self.month == month {
            self.month_tokens = self.month_tokens.saturating_add(used);
            self.untold.month_tokens = self.untold.month_tokens.saturating_add(used);
        }
    }

    /// Notes what others know already, for when they are away.
    fn note_month(&mut self, used: u64, month: i64) {
        if self.month == month {
            self.month_tokens = self.month_tokens.saturating_add(used);
        }
    }

    fn is_idle(&mut self, at: MonotonicTime) -> bool {
        let full = |bucket: &mut Option<Bucket>| bucket.as_mut().is_none_or(|b| b.is_full(at));
        full(&mut self.requests) && full(&mut self.tokens) && self.month_tokens == 0
    }
}

fn follow_bucket(bucket: &mut Option<Bucket>, limit: Option<u64>, at: MonotonicTime) {
    match (bucket.as_mut(), limit) {
        (_, None) => *bucket = None,
        (None, Some(limit)) => *bucket = Some(Bucket::full(limit, at)),
        (Some(known), Some(limit)) if known.capacity() != limit.max(1) => known.resize(limit, at),
        (Some(_), Some(_)) => {}
    }
}

impl Limiter {
    /// Lets a request in when every claim allows it: takes one request and `tokens`, an estimate, from each. When one refuses, nothing
    /// is taken from any.
    ///
    /// # Errors
    /// The refusal with the longest wait.
    pub fn reserve(
        &self,
        claims: &[Claim],
        tokens: u64,
        at: MonotonicTime,
        now: Timestamp,
    ) -> Result<Reservation, Refused> {
        let moment = Moment::new(at, now);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut refused: Option<(Subject, LimitKind, Duration)> = None;
        for claim in claims {
            let used = known(&mut state, claim, moment);
            if let Some((kind, wait)) = used.refusal(&claim.limits, tokens, moment)
                && refused.is_none_or(|(_, _, longest)| wait > longest)
            {
                refused = Some((claim.subject, kind, wait));
            }
        }
        if let Some((subject, kind, retry_after)) = refused {
            return Err(Refused {
                subject,
                kind,
                retry_after,
                headers: headers(&mut state, claims, at),
            });
        }
        for claim in claims {
            if let Some(used) = state.get_mut(&claim.subject) {
                used.take(tokens);
            }
        }
        let headers = headers(&mut state, claims, at);
        drop(state);
        Ok(Reservation {
            limiter: self.clone(),
            subjects: claims.iter().map(|claim| claim.subject).collect(),
            reserved: tokens,
            month: moment.month,
            headers,
            told: false,
        })
    }

    /// Tells what was used in earlier processes of the month of `now`, before the first request.
    pub fn restore_month(&self, subject: Subject, tokens: u64, at: MonotonicTime, now: Timestamp) {
        let moment = Moment::new(at, now);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let used = state.entry(subject).or_insert_with(|| Used::new(moment));
        if used.month == moment.month {
            used.month_tokens = used.month_tokens.saturating_add(tokens);
        }
    }

    fn settle(&self, reservation: &Reservation, used: u64) {
        let is_told = reservation.told && self.settle_shared(reservation, used);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for subject in &reservation.subjects {
            let Some(known) = state.get_mut(subject) else {
                continue;
            };
            if is_told {
                known.note_month(used, reservation.month);
            } else {
                known.settle(reservation.reserved, used, reservation.month);
            }
        }
    }
}

/// Finds what a claim's subject has used, with its limits as they are now.
pub(super) fn known<'a>(
    state: &'a mut HashMap<Subject, Used>,
    claim: &Claim,
    moment: Moment,
) -> &'a mut Used {
    if state.len() >= CAPACITY && !state.contains_key(&claim.subject) {
        make_room(state, moment.at);
    }
    let used = state
        .entry(claim.subject)
        .or_insert_with(|| Used::new(moment));
    used.follow(&claim.limits, moment);
    used
}

/// The tightest windows of the claims: those with the least left.
pub(super) fn headers(
    state: &mut HashMap<Subject, Used>,
    claims: &[Claim],
    at: MonotonicTime,
) -> LimitHeaders {
    let tighter = |one: Option<Window>, other: Option<Window>| match (one, other) {
        (Some(one), Some(other)) if other.remaining < one.remaining => Some(other),
        (None, other) => other,
        (one, _) => one,
    };
    let mut headers = LimitHeaders::default();
    for claim in claims {
        let Some(used) = state.get_mut(&claim.subject) else {
            continue;
        };
        let window = |bucket: &mut Option<Bucket>| {
            bucket.as_mut().map(|bucket| Window {
                limit: bucket.capacity(),
                remaining: bucket.left(at),
                reset: bucket.full_in(at),
            })
        };
        headers.requests = tighter(headers.requests, window(&mut used.requests));
        headers.tokens = tighter(headers.tokens, window(&mut used.tokens));
    }
    headers
}

/// Forgets whom that does not hurt, else the quietest tenth.
fn make_room(state: &mut HashMap<Subject, Used>, at: MonotonicTime) {
    state.retain(|_, used| !used.is_idle(at));
    if state.len() < CAPACITY {
        return;
    }
    let mut seen: Vec<MonotonicTime> = state.values().map(|used| used.seen_at).collect();
    seen.sort_unstable();
    if let Some(bound) = seen.get(CAPACITY / 10).copied() {
        state.retain(|_, used| used.seen_at > bound);
    }
}

/// What a request has reserved. When it is dropped unsettled, what was reserved counts as not used, as of a request that failed.
#[derive(Debug)]
#[must_use = "dropping it gives the tokens back"]
pub struct Reservation {
    pub(super) limiter: Limiter,
    pub(super) subjects: Vec<Subject>,
    pub(super) reserved: u64,
    pub(super) month: i64,
    pub(super) headers: LimitHeaders,
    /// Whether it was counted together with other processes.
    pub(super) told: bool,
}

impl Reservation {
    /// Returns how the limits stand after the reservation.
    pub fn headers(&self) -> LimitHeaders {
        self.headers
    }

    /// Replaces the estimate by the tokens that were used.
    pub fn settle(mut self, used: u64) {
        self.limiter.clone().settle(&self, used);
        self.subjects.clear();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.subjects.is_empty() {
            self.limiter.clone().settle(self, 0);
        }
    }
}

/// Returns the calendar month (UTC) of a time, in months since the year 0, and the time until the next one.
///
/// Days are turned into a civil date as in Hinnant, "chrono-compatible low-level date algorithms".
fn month_of(now: Timestamp) -> (i64, Duration) {
    const DAY: i64 = 86_400;
    let seconds = now.as_secs();
    let month = civil_month(seconds.div_euclid(DAY));
    let mut day = seconds.div_euclid(DAY) + 1;
    while civil_month(day) == month {
        day += 1;
    }
    let left = u64::try_from(day * DAY - seconds).unwrap_or(0);
    (month, Duration::from_secs(left))
}

/// Returns when the calendar month (UTC) of a time began.
pub fn month_start(now: Timestamp) -> Timestamp {
    const DAY: i64 = 86_400;
    let today = now.as_secs().div_euclid(DAY);
    let month = civil_month(today);
    let mut first = today;
    while civil_month(first - 1) == month {
        first -= 1;
    }
    Timestamp::from_micros(first * DAY * 1_000_000)
}

fn civil_month(days_since_epoch: i64) -> i64 {
    let shifted = days_since_epoch + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March on: March is 0.
    let month = (5 * day_of_year + 2) / 153;
    (era * 400 + year_of_era) * 12 + month + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> MonotonicTime {
        MonotonicTime::from_micros(seconds * 1_000_000)
    }

    fn day(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z")).unwrap()
    }

    fn key() -> Subject {
        Subject::Key(KeyId::generate(Timestamp::from_micros(1_000_000)))
    }

    fn claim(
        subject: Subject,
        requests: Option<u32>,
        tokens: Option<u64>,
        month: Option<u64>,
    ) -> Claim {
        Claim {
            subject,
            limits: KeyLimits {
                requests_per_minute: requests,
                tokens_per_minute: tokens,
                tokens_per_month: month,
            },
        }
    }

    #[test]
    fn requests_are_counted_and_tokens_settled() {
        let (limiter, now) = (Limiter::default(), day("2026-01-15"));
        let claims = [claim(key(), Some(2), Some(1_000), None)];
        let first = limiter.reserve(&claims, 400, at(0), now).unwrap();
        assert_eq!(first.headers().tokens.unwrap().remaining, 600);
        first.settle(100);
        let second = limiter.reserve(&claims, 900, at(0), now).unwrap();
        assert_eq!(second.headers().tokens.unwrap().remaining, 0);
        drop(second);
        let refused = limiter.reserve(&claims, 1, at(0), now).unwrap_err();
        assert_eq!(refused.kind, LimitKind::Requests);
        assert_eq!(refused.retry_after, Duration::from_secs(30));
        assert_eq!(refused.headers.tokens.unwrap().remaining, 900, "given back");
        assert!(limiter.reserve(&claims, 900, at(30), now).is_ok());
    }

    #[test]
    fn every_claim_must_allow_it_and_a_refusal_takes_nothing() {
        let (limiter, now) = (Limiter::default(), day("2026-01-15"));
        let (key, org) = (key(), Subject::Org(crate::organisations::DEFAULT_ORG));
        let both = [
            claim(key, Some(100), None, None),
            claim(org, Some(1), None, None),
        ];
        limiter.reserve(&both, 0, at(0), now).unwrap().settle(0);
        for _ in 0..200 {
            let refused = limiter.reserve(&both, 0, at(0), now).unwrap_err();
            assert_eq!((refused.subject, refused.kind), (org, LimitKind::Requests));
        }
        let alone = [claim(key, Some(100), None, None)];
        let left = limiter.reserve(&alone, 0, at(0), now).unwrap().headers();
        assert_eq!(left.requests.unwrap().remaining, 98);
    }

    #[test]
    fn a_months_budget_ends_with_the_month() {
        let limiter = Limiter::default();
        let claims = [claim(key(), None, None, Some(1_000))];
        limiter.restore_month(claims[0].subject, 300, at(0), day("2026-01-30"));
        limiter
            .reserve(&claims, 600, at(0), day("2026-01-30"))
            .unwrap()
            .settle(700);
        let refused = limiter
            .reserve(&claims, 1, at(9), day("2026-01-30"))
            .unwrap_err();
        assert_eq!(refused.kind, LimitKind::Month);
        assert_eq!(refused.retry_after, Duration::from_hours(48));
        let next = limiter.reserve(&claims, 900, at(10), day("2026-02-01"));
        next.unwrap().settle(1);
        assert!(
            limiter
                .reserve(&claims, 900, at(11), day("2026-02-28"))
                .is_ok()
        );
    }

    #[test]
    fn a_month_begins_on_its_first_day() {
        let last = Timestamp::from_micros(day("2026-03-01").as_micros() - 1);
        assert_eq!(month_start(last), day("2026-02-01"));
        assert_eq!(month_start(day("2026-03-01")), day("2026-03-01"));
    }

    #[test]
    fn changed_limits_are_kept_to_at_once() {
        let (limiter, now, key) = (Limiter::default(), day("2026-01-15"), key());
        let reserve =
            |requests| limiter.reserve(&[claim(key, requests, None, None)], 0, at(0), now);
        reserve(Some(1)).unwrap().settle(0);
        assert!(reserve(Some(1)).is_err());
        reserve(Some(2)).unwrap().settle(0);
        assert!(reserve(Some(2)).is_err());
        assert!(reserve(None).is_ok());
    }

    #[test]
    fn memory_is_bounded() {
        let (limiter, now) = (Limiter::default(), day("2026-01-15"));
        for number in 0..(CAPACITY as u32 + 1_000) {
            let subject = Subject::Ip(IpAddr::from(number.to_be_bytes()));
            let claims = [claim(subject, Some(10), None, None)];
            limiter
                .reserve(&claims, 0, at(u64::from(number) / 10_000), now)
                .unwrap()
                .settle(0);
        }
        assert!(limiter.state.lock().unwrap().len() <= CAPACITY);
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        let month = |text: &str| month_of(day(text)).0;
        assert_eq!(month("2026-01-01"), 2026 * 12);
        assert_eq!(month("2026-12-31"), 2026 * 12 + 11);
        assert_eq!(month("2024-02-29"), 2024 * 12 + 1);
        assert_eq!(month("1970-01-01"), 1970 * 12);
        assert_eq!(month_of(day("2024-02-28")).1, Duration::from_hours(48));
        assert_eq!(month_of(day("2025-12-31")).1, Duration::from_hours(24));
    }
}
