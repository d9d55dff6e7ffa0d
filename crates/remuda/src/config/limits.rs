//! `[limits]`: what callers may use, beside the limits of their keys.

use gateway::CallerLimits;
use identity::KeyLimits;
use ipnet::IpNet;
use serde::Deserialize;

use super::error::ConfigError;
use super::origin::Origins;

/// What callers may use. Absent: as much as they like.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsSection {
    /// Proxies of one's own, as addresses or networks (`10.0.0.0/8`): their `X-Forwarded-For` tells where a request comes from.
    pub trusted_proxies: Vec<String>,
    /// Requests in any minute of one address; of IPv6 of one network of 64 bits.
    pub address_requests_per_minute: Option<u32>,
    /// Tokens, of prompts and answers together, in any minute of one address.
    pub address_tokens_per_minute: Option<u64>,
    /// Requests in any minute of one person, with all of their keys and sessions.
    pub user_requests_per_minute: Option<u32>,
    /// Tokens in any minute of one person.
    pub user_tokens_per_minute: Option<u64>,
    /// Requests in any minute of one organisation.
    pub organisation_requests_per_minute: Option<u32>,
    /// Tokens in any minute of one organisation.
    pub organisation_tokens_per_minute: Option<u64>,
}

impl LimitsSection {
    pub(super) fn check(&self, at: &Origins) -> Result<(), ConfigError> {
        if self.trusted_proxies.len() > 100 {
            return Err(at.bad(["limits", "trusted_proxies"], "must be at most 100"));
        }
        if self
            .trusted_proxies
            .iter()
            .any(|text| network(text).is_none())
        {
            return Err(at.bad(
                ["limits", "trusted_proxies"],
                "must be addresses or networks such as \"10.0.0.0/8\"",
            ));
        }
        let requests = [
            (
                "address_requests_per_minute",
                self.address_requests_per_minute,
            ),
            ("user_requests_per_minute", self.user_requests_per_minute),
            (
                "organisation_requests_per_minute",
                self.organisation_requests_per_minute,
            ),
        ];
        let tokens = [
            ("address_tokens_per_minute", self.address_tokens_per_minute),
            ("user_tokens_per_minute", self.user_tokens_per_minute),
            (
                "organisation_tokens_per_minute",
                self.organisation_tokens_per_minute,
            ),
        ];
        let requests = requests.map(|(key, limit)| (key, limit.map(u64::from)));
        for (key, limit) in requests.into_iter().chain(tokens) {
            if limit == Some(0) {
                return Err(at.bad(
                    ["limits", key],
                    "must be at least 1; leave it out for no limit",
                ));
            }
        }
        Ok(())
    }

    /// Returns the proxies as networks.
    pub fn proxies(&self) -> Vec<IpNet> {
        self.trusted_proxies
            .iter()
            .filter_map(|text| network(text))
            .collect()
    }

    /// Returns the limits as the data plane keeps them.
    pub const fn callers(&self) -> CallerLimits {
        const fn of(requests_per_minute: Option<u32>, tokens_per_minute: Option<u64>) -> KeyLimits {
            KeyLimits {
                requests_per_minute,
                tokens_per_minute,
                tokens_per_month: None,
            }
        }
        CallerLimits {
            address: of(
                self.address_requests_per_minute,
                self.address_tokens_per_minute,
            ),
            user: of(self.user_requests_per_minute, self.user_tokens_per_minute),
            organisation: of(
                self.organisation_requests_per_minute,
                self.organisation_tokens_per_minute,
            ),
        }
    }
}

/// Reads an address or a network.
fn network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    let address = || {
        text.parse()
            .ok()
            .map(|address: std::net::IpAddr| address.to_canonical().into())
    };
    text.parse().ok().or_else(address)
}
