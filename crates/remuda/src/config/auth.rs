//! `[auth]`: who must present a key, and what signed-in people present.

use std::time::Duration;

use identity::Registration;
use primitives::Secret;
use serde::Deserialize;

use super::error::ConfigError;
use super::oidc::OidcSection;
use super::origin::Origins;
use super::quantity::Period;

/// The most characters of an issuer.
const LONGEST_ISSUER: usize = 200;

/// Who must present a key.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSection {
    /// Whether inference on loopback needs a key too. Beyond loopback it always does.
    pub required: Option<bool>,
    /// The password of the administrator `admin`, who is made at start while there is none; another one that is stored is replaced at
    /// every start. Usually set as `REMUDA_ADMIN_PASSWORD`.
    pub admin_password: Option<Secret<String>>,
    /// Who issues access tokens, as they say: `remuda` when absent. Others who verify them usually want this server's address.
    pub issuer: Option<String>,
    /// Who may make their own account: nobody (`closed`), who has an invitation (`invite`), everybody (`open`).
    pub registration: Registration,
    /// How long records of changes are kept: at least a day; a year when absent.
    pub audit_retention: Option<Period>,
    /// How long keys and sessions are believed while the database cannot confirm them: at least a minute; a day when absent.
    pub max_staleness: Option<Period>,
    /// Providers that people may sign in by.
    pub oidc: Vec<OidcSection>,
}

impl AuthSection {
    pub(super) fn check(&self, at: &Origins) -> Result<(), ConfigError> {
        let fits = |issuer: &str| {
            (1..=LONGEST_ISSUER).contains(&issuer.len())
                && issuer.bytes().all(|b| b.is_ascii_graphic())
        };
        if self
            .audit_retention
            .is_some_and(|kept| kept.0 < Duration::from_hours(24))
        {
            return Err(at.bad(
                ["auth", "audit_retention"],
                "records of changes are kept at least a day: write \"365d\"",
            ));
        }
        if self
            .max_staleness
            .is_some_and(|most| most.0 < Duration::from_mins(1))
        {
            return Err(at.bad(
                ["auth", "max_staleness"],
                "keys are believed at least a minute without the database: write \"24h\"",
            ));
        }
        match &self.issuer {
            Some(issuer) if !fits(issuer) => Err(at.bad(
                ["auth", "issuer"],
                format!(
                    "{issuer:?} cannot be an issuer: use this server's address, as in \"https://llm.example.org\""
                ),
            )),
            _ => Ok(()),
        }
    }
}
