//! What calls present: nothing, a key, or the stored sign-in, whose access token is refreshed when it has ended.

use primitives::{Clock as _, Secret, SystemClock};
use serde::Deserialize;
use tokio::sync::Mutex;
use web::outbound::Client;

use super::address::ServerAddress;
use super::credentials::{Credential, CredentialStore};
use super::error::ClientError;

/// What calls present.
pub(crate) enum Presented {
    /// Nothing.
    Nothing,
    /// A key, as it is.
    Key(Secret<String>),
    /// The stored sign-in at the server.
    SignIn(Box<StoredSignIn>),
}

/// A sign-in that is kept in the user's file.
pub(crate) struct StoredSignIn {
    store: CredentialStore,
    server: ServerAddress,
    /// As it was read or refreshed last.
    credential: Mutex<Credential>,
    clock: SystemClock,
}

/// What a sign-in or a refresh answers.
#[derive(Deserialize)]
pub(crate) struct Tokens {
    access_token: Secret<String>,
    expires_at: String,
    refresh_token: Secret<String>,
    session_expires_at: String,
}

impl Tokens {
    /// Makes what is kept of them.
    pub(crate) fn kept(self, username: &str) -> Credential {
        Credential {
            token: self.access_token,
            token_expires_at: Some(self.expires_at),
            refresh_token: Some(self.refresh_token),
            username: username.to_owned(),
            expires_at: Some(self.session_expires_at),
        }
    }
}

impl StoredSignIn {
    /// Takes what `store` has kept for `server`.
    pub(crate) fn new(
        store: CredentialStore,
        server: ServerAddress,
        credential: Credential,
    ) -> Self {
        Self {
            store,
            server,
            credential: Mutex::new(credential),
            clock: SystemClock::new(),
        }
    }

    /// Returns an access token that has not ended, as far as the server gives one.
    pub(super) async fn token(&self, client: &Client) -> Result<Secret<String>, ClientError> {
        let mut credential = self.credential.lock().await;
        if credential.is_stale(self.clock.now()) {
            *credential = self.refreshed(client, &credential).await?;
        }
        Ok(credential.token.clone())
    }

    /// Refreshes, unless another process has done so meanwhile. A refused refresh leaves the old token: the server then says why a
    /// call with it is not answered.
    async fn refreshed(
        &self,
        client: &Client,
        stale: &Credential,
    ) -> Result<Credential, ClientError> {
        let server = self.server.to_string();
        let _alone = self.store.lock()?;
        let stored = self.store.find(&server)?.unwrap_or_else(|| stale.clone());
        let Some(refresh_token) = &stored.refresh_token else {
            return Ok(stored);
        };
        if !stored.is_stale(self.clock.now()) {
            return Ok(stored);
        }
        let failed = |error| ClientError::from_outbound(&server, &error);
        let answer = client
            .call(
                http::Method::POST,
                &self.server.join("/api/v1/token/refresh"),
            )
            .json(&serde_json::json!({"refresh_token": refresh_token.expose()}))
            .send()
            .await
            .map_err(failed)?;
        if answer.status() == http::StatusCode::UNAUTHORIZED {
            return Ok(stored);
        }
        let status = answer.status();
        let body = answer.bytes(64 * 1024).await.map_err(failed)?;
        if !status.is_success() {
            return Err(ClientError::from_answer(status, &body));
        }
        let tokens: Tokens =
            serde_json::from_slice(&body).map_err(|error| ClientError::Unexpected {
                server: server.clone(),
                reason: error.to_string(),
            })?;
        let fresh = tokens.kept(&stored.username);
        self.store.insert(&server, fresh.clone())?;
        Ok(fresh)
    }
}
