//! Tickets: what a provider states, kept for two minutes for who holds the verifier.

use std::time::Duration;

use ::store::Tx;

use super::cookie::secret;
use super::error::OidcError;
use super::exchange::Statement;
use super::journey::is_verifier_of;
use crate::credential::SecretHash;
use crate::identity::Identity;
use crate::store;

/// How long a ticket is good.
const LIFE: Duration = Duration::from_mins(2);
/// The most tickets at once.
const MOST: u64 = 10_000;

impl Identity {
    /// Makes a ticket.
    pub(super) async fn issue_ticket(
        &self,
        provider: &str,
        challenge: &str,
        statement: &Statement,
    ) -> Result<String, OidcError> {
        let ticket = secret();
        let now = self.inner.clock.now();
        let text = serde_json::to_string(statement).unwrap_or_default();
        let mut tx = self.inner.db.write().await?;
        if store::count_tickets(&mut tx, now).await? >= MOST {
            return Err(OidcError::TooManyTickets);
        }
        let row = store::TicketRow {
            provider: provider.to_owned(),
            challenge: challenge.to_owned(),
            statement: text,
        };
        let hash = SecretHash::of(&ticket);
        store::insert_ticket(&mut tx, &hash, &row, now.after(LIFE)).await?;
        tx.commit().await?;
        Ok(ticket)
    }

    /// Uses a ticket up, if the transaction is committed.
    pub(super) async fn take_ticket(
        &self,
        tx: &mut Tx,
        ticket: &str,
        verifier: &str,
    ) -> Result<(String, Statement), OidcError> {
        let now = self.inner.clock.now();
        let row = store::take_ticket(tx, &SecretHash::of(ticket), now)
            .await?
            .ok_or(OidcError::Ticket)?;
        if !is_verifier_of(verifier, &row.challenge) {
            return Err(OidcError::Ticket);
        }
        let statement = serde_json::from_str(&row.statement).map_err(|_| OidcError::Ticket)?;
        Ok((row.provider, statement))
    }

    /// Uses a ticket up that somebody presented with a wrong verifier: it may be in wrong hands.
    pub(super) async fn burn_ticket(&self, ticket: &str) -> Result<(), OidcError> {
        let mut tx = self.inner.db.write().await?;
        store::take_ticket(&mut tx, &SecretHash::of(ticket), self.inner.clock.now()).await?;
        tx.commit().await?;
        Ok(())
    }
}
