//! What clients are told of their limits, under the names that clients of the large providers know.

use std::time::Duration;

/// How one limit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// What the window allows.
    pub limit: u64,
    /// What is left of it.
    pub remaining: u64,
    /// The time until all of it is there again.
    pub reset: Duration,
}

/// How the tightest limits of a request stand. Absent: there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitHeaders {
    /// Requests in a minute.
    pub requests: Option<Window>,
    /// Tokens in a minute.
    pub tokens: Option<Window>,
}

impl LimitHeaders {
    /// Returns the headers with their values: `x-ratelimit-limit-requests`, `…-remaining-requests`, `…-reset-requests` (seconds, rounded
    /// up), and the same of `tokens`.
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, u64)> {
        const REQUESTS: [&str; 3] = [
            "x-ratelimit-limit-requests",
            "x-ratelimit-remaining-requests",
            "x-ratelimit-reset-requests",
        ];
        const TOKENS: [&str; 3] = [
            "x-ratelimit-limit-tokens",
            "x-ratelimit-remaining-tokens",
            "x-ratelimit-reset-tokens",
        ];
        let values = |window: Window| {
            let reset = window.reset.as_millis().div_ceil(1_000) as u64;
            [window.limit, window.remaining, reset]
        };
        let named = move |names: [&'static str; 3], window: Option<Window>| {
            window
                .into_iter()
                .flat_map(move |window| names.into_iter().zip(values(window)))
        };
        named(REQUESTS, self.requests).chain(named(TOKENS, self.tokens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_limits_that_there_are_are_told() {
        assert_eq!(LimitHeaders::default().pairs().count(), 0);
        let headers = LimitHeaders {
            tokens: Some(Window {
                limit: 10,
                remaining: 3,
                reset: Duration::from_millis(1_001),
            }),
            requests: None,
        };
        assert_eq!(
            headers.pairs().collect::<Vec<_>>(),
            [
                ("x-ratelimit-limit-tokens", 10),
                ("x-ratelimit-remaining-tokens", 3),
                ("x-ratelimit-reset-tokens", 2),
            ]
        );
    }
}
