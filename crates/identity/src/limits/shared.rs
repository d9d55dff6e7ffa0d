//! Counting together with other processes: they have what is used, this one has a copy that it goes on from when they are away.
//!
//! While they are in reach every request is counted there, at once for all of its subjects. While they are not it is counted here, from
//! what was left when they were last heard, and told when they are back: N processes that are cut off from each other let in at most N
//! times what was left then and comes with time.

use std::sync::PoisonError;

use bus::{Allowances, Ask, Month, Settlement, Spent, Told, Which, Window};
use primitives::{MonotonicTime, Timestamp};

use super::bucket::Bucket;
use super::limiter::{
    Claim, LimitKind, Limiter, Moment, Refused, Reservation, Subject, Untold, headers, known,
};

impl Limiter {
    /// Makes one that counts together with all that share `allowances`.
    pub fn sharing(allowances: Allowances) -> Self {
        Self {
            shared: Some(allowances),
            ..Self::default()
        }
    }

    /// As [`reserve`](Self::reserve), together with other processes where there are any.
    ///
    /// # Errors
    /// The refusal with the longest wait.
    pub async fn reserve_together(
        &self,
        claims: &[Claim],
        tokens: u64,
        at: MonotonicTime,
        now: Timestamp,
    ) -> Result<Reservation, Refused> {
        let Some(shared) = &self.shared else {
            return self.reserve(claims, tokens, at, now);
        };
        let moment = Moment::new(at, now);
        let (asks, untold) = self.asks(claims, moment);
        if let Ok(told) = shared.reserve(&asks, tokens).await {
            self.learn(claims, tokens, &told, moment)
        } else {
            self.take_back(claims, &untold);
            self.reserve(claims, tokens, at, now)
        }
    }

    /// What others are asked and told. What is told counts as told until [`take_back`](Self::take_back).
    fn asks(&self, claims: &[Claim], moment: Moment) -> (Vec<Ask>, Vec<Untold>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let ask = |claim: &Claim| {
            let used = known(&mut state, claim, moment);
            let untold = std::mem::take(&mut used.untold);
            let window = |bucket: &mut Option<Bucket>, untold: f64| {
                bucket.as_mut().map(|bucket| Window {
                    capacity: bucket.capacity(),
                    level: bucket.level(moment.at),
                    untold,
                })
            };
            let ask = Ask {
                subject: name(claim.subject),
                requests: window(&mut used.requests, untold.requests),
                tokens: window(&mut used.tokens, untold.tokens),
                month: Month {
                    number: moment.month,
                    most: claim.limits.tokens_per_month,
                    used: used.month_tokens,
                    untold: untold.month_tokens,
                    left: moment.month_left,
                },
            };
            (ask, untold)
        };
        claims.iter().map(ask).unzip()
    }

    fn take_back(&self, claims: &[Claim], untold: &[Untold]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (claim, untold) in claims.iter().zip(untold) {
            if let Some(used) = state.get_mut(&claim.subject) {
                used.untold.requests += untold.requests;
                used.untold.tokens += untold.tokens;
                used.untold.month_tokens += untold.month_tokens;
            }
        }
    }

    /// Takes over how everybody stands, and lets the request in or not.
    fn learn(
        &self,
        claims: &[Claim],
        tokens: u64,
        told: &Told,
        moment: Moment,
    ) -> Result<Reservation, Refused> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (claim, standing) in claims.iter().zip(&told.standings) {
            let used = known(&mut state, claim, moment);
            if let Some(bucket) = &mut used.requests {
                bucket.set_level(standing.requests, moment.at);
            }
            if let Some(bucket) = &mut used.tokens {
                bucket.set_level(standing.tokens, moment.at);
            }
            if claim.limits.tokens_per_month.is_some() {
                used.month_tokens = standing.month_used;
            }
        }
        let headers = headers(&mut state, claims, moment.at);
        drop(state);
        if let Some((refusing, which, retry_after)) = told.refused
            && let Some(claim) = claims.get(refusing)
        {
            return Err(Refused {
                subject: claim.subject,
                kind: match which {
                    Which::Requests => LimitKind::Requests,
                    Which::Tokens => LimitKind::Tokens,
                    Which::Month => LimitKind::Month,
                },
                retry_after,
                headers,
            });
        }
        Ok(Reservation {
            limiter: self.clone(),
            subjects: claims.iter().map(|claim| claim.subject).collect(),
            reserved: tokens,
            month: moment.month,
            headers,
            told: true,
        })
    }

    /// Tells others what a request has used that was counted there. Returns whether they will know.
    pub(super) fn settle_shared(&self, reservation: &Reservation, used: u64) -> bool {
        let Some(shared) = &self.shared else {
            return false;
        };
        let subjects = reservation.subjects.iter().map(|subject| Spent {
            subject: name(*subject),
            month: reservation.month,
        });
        shared
            .settle(Settlement {
                subjects: subjects.collect(),
                reserved: reservation.reserved,
                used,
            })
            .is_ok()
    }
}

fn name(subject: Subject) -> String {
    match subject {
        Subject::Key(id) => format!("key:{id}"),
        Subject::User(id) => format!("user:{id}"),
        Subject::Org(id) => format!("organisation:{id}"),
        Subject::Ip(address) => format!("address:{address}"),
    }
}
