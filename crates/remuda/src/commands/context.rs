//! What every command gets: the environment, the server, the output, the clock.

use std::path::PathBuf;

use primitives::{Classify as _, Clock as _, Secret, SystemClock, Timestamp};

use web::outbound::Trust;

use super::failure::Failure;
use crate::client::{Api, ClientError, CredentialStore, Presented, ServerAddress, StoredSignIn};
use crate::config::Environment;
use crate::output::{Audience, Output};

/// The surroundings of a command.
pub(crate) struct Context {
    pub(super) environment: Environment,
    pub(super) server: ServerAddress,
    pub(super) out: Output,
    ca_file: Option<PathBuf>,
    clock: SystemClock,
}

impl Context {
    pub(super) fn new(
        environment: Environment,
        server: ServerAddress,
        ca_file: Option<PathBuf>,
        json: bool,
    ) -> Self {
        let audience = if json {
            Audience::Program
        } else {
            Audience::Person
        };
        Self {
            out: Output::new(audience, &environment),
            environment,
            server,
            ca_file,
            clock: SystemClock::new(),
        }
    }

    /// Returns the time.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns what the person presents: `REMUDA_API_KEY`, or the stored sign-in at `server`.
    pub(super) fn presented_to(&self, server: &ServerAddress) -> Result<Presented, Failure> {
        if let Some(key) = self.environment.get("REMUDA_API_KEY") {
            return Ok(Presented::Key(Secret::new(key.to_owned())));
        }
        let Some(store) = CredentialStore::of_user(&self.environment) else {
            return Ok(Presented::Nothing);
        };
        Ok(match store.find(&server.to_string())? {
            Some(credential) => Presented::SignIn(Box::new(StoredSignIn::new(
                store,
                server.clone(),
                credential,
            ))),
            None => Presented::Nothing,
        })
    }

    /// Returns which authorities may vouch for the server: the public ones, and those of `--ca-file`.
    pub(super) fn trust(&self) -> Result<Trust, Failure> {
        match &self.ca_file {
            None => Ok(Trust::default()),
            Some(path) => Trust::from_file(path)
                .map_err(|error| Failure::Usage(format!("--ca-file: {}", error.public_message()))),
        }
    }

    /// Returns a caller with the person's credential.
    pub(super) fn api(&self) -> Result<Api, Failure> {
        Ok(Api::new(
            self.server.clone(),
            self.presented_to(&self.server)?,
            self.trust()?,
        )?)
    }

    /// Returns a caller without a credential, for signing in.
    pub(super) fn anonymous_api(&self) -> Result<Api, Failure> {
        Ok(Api::new(
            self.server.clone(),
            Presented::Nothing,
            self.trust()?,
        )?)
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
