//! Metrics of who came in, and who was sent away.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::sessions::{RefreshError, SignIn};
use crate::sign_in::SignInError;

/// How something ended: one of a few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Ended {
    outcome: &'static str,
}

/// Counts by how they ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcomes(Family<Ended, Counter>);

impl Outcomes {
    pub(crate) fn count(&self, outcome: &'static str) {
        self.0.get_or_create(&Ended { outcome }).inc();
    }

    /// Shows outcomes from the beginning, so that their first time is seen as a change.
    pub(crate) fn announce(&self, outcomes: &[&'static str]) {
        for outcome in outcomes {
            drop(self.0.get_or_create(&Ended { outcome }));
        }
    }
}

/// What is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    sign_ins: Outcomes,
    refreshes: Outcomes,
    /// Sign-ins by providers.
    pub(crate) by_provider: Outcomes,
    credentials: Gauge,
    age: Gauge<f64, std::sync::atomic::AtomicU64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("remuda"),
            sign_ins: Outcomes::default(),
            refreshes: Outcomes::default(),
            by_provider: Outcomes::default(),
            credentials: Gauge::default(),
            age: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "sign_ins",
            "Sign-ins by password",
            metrics.sign_ins.0.clone(),
        );
        registry.register(
            "provider_sign_ins",
            "Sign-ins by OpenID Connect providers",
            metrics.by_provider.0.clone(),
        );
        registry.register(
            "session_refreshes",
            "Sessions that asked for their next tokens",
            metrics.refreshes.0.clone(),
        );
        registry.register(
            "credentials",
            "Keys and sessions that are let in",
            metrics.credentials.clone(),
        );
        registry.register_with_unit(
            "credentials_age",
            "How long ago the database confirmed them",
            Unit::Seconds,
            metrics.age.clone(),
        );
        metrics
    }

    pub(crate) fn signed_in(&self, result: &Result<SignIn, SignInError>) {
        self.sign_ins.count(match result {
            Ok(_) => "signed_in",
            Err(SignInError::Wrong) => "wrong",
            Err(SignInError::CodeMissing) => "code_missing",
            Err(SignInError::WrongCode) => "wrong_code",
            Err(SignInError::TooManyAttempts { .. }) => "too_many",
            Err(
                SignInError::Seal(_)
                | SignInError::Password(_)
                | SignInError::Token(_)
                | SignInError::Store(_),
            ) => "failed",
        });
    }

    pub(crate) fn refreshed(&self, result: &Result<SignIn, RefreshError>) {
        self.refreshes.count(match result {
            Ok(_) => "refreshed",
            Err(RefreshError::Unknown) => "unknown",
            Err(RefreshError::Reused) => "reused",
            Err(RefreshError::Seal(_) | RefreshError::Token(_) | RefreshError::Store(_)) => {
                "failed"
            }
        });
    }

    /// Writes them in the text format, with its end mark; `credentials` are let in, confirmed `age_s` seconds ago.
    pub(crate) fn render(&self, credentials: usize, age_s: f64) -> String {
        self.credentials
            .set(i64::try_from(credentials).unwrap_or(i64::MAX));
        self.age.set(age_s);
        let mut text = String::new();
        // Writing into a string does not fail.
        text::encode(&mut text, &self.registry).ok();
        text
    }
}
