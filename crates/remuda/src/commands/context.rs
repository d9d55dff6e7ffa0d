//! What every command gets: the environment, the server, the output, the clock.

use primitives::{Clock as _, Secret, SystemClock, Timestamp};

use super::failure::Failure;
use crate::client::{Api, ClientError, CredentialStore, ServerAddress};
use crate::config::Environment;
use crate::output::{Audience, Output};

/// The surroundings of a command.
pub(crate) struct Context {
    pub(super) environment: Environment,
    pub(super) server: ServerAddress,
    pub(super) out: Output,
    clock: SystemClock,
}

impl Context {
    pub(super) fn new(environment: Environment, server: ServerAddress, json: bool) -> Self {
        let audience = if json {
            Audience::Program
        } else {
            Audience::Person
        };
        Self {
            out: Output::new(audience, &environment),
            environment,
            server,
            clock: SystemClock::new(),
        }
    }

    /// Returns the time.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the person's credential: `REMUDA_API_KEY`, or the stored sign-in at `server`.
    pub(super) fn credential_for(
        &self,
        server: &ServerAddress,
    ) -> Result<Option<Secret<String>>, Failure> {
        if let Some(key) = self.environment.get("REMUDA_API_KEY") {
            return Ok(Some(Secret::new(key.to_owned())));
        }
        match CredentialStore::of_user(&self.environment) {
            Some(store) => Ok(store
                .find(&server.to_string())?
                .map(|credential| credential.token)),
            None => Ok(None),
        }
    }

    /// Returns a caller with the person's credential.
    pub(super) fn api(&self) -> Result<Api, Failure> {
        Ok(Api::new(
            self.server.clone(),
            self.credential_for(&self.server)?,
        )?)
    }

    /// Returns a caller without a credential, for signing in.
    pub(super) fn anonymous_api(&self) -> Result<Api, Failure> {
        Ok(Api::new(self.server.clone(), None)?)
    }

    /// Returns the store of sign-ins.
    pub(super) fn credentials(&self) -> Result<CredentialStore, Failure> {
        CredentialStore::of_user(&self.environment).ok_or_else(|| {
            ClientError::Credentials {
                path: "~/.config/remuda/credentials.toml".to_owned(),
                reason: "HOME is not set: set it, or use REMUDA_API_KEY".to_owned(),
            }
            .into()
        })
    }
}
