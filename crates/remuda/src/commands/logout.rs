//! `remuda logout`: ends the session and forgets it.

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use crate::client::{Api, Presented, StoredSignIn};

/// Ends the session and forgets it.
#[derive(Debug, Args)]
pub(super) struct Logout {
    /// End all of your sessions at the server, on other machines too.
    #[arg(long)]
    everywhere: bool,
}

impl Logout {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let store = context.credentials()?;
        let server = context.server.to_string();
        let Some(credential) = store.find(&server)? else {
            return said(context, &server, false, None);
        };
        let sign_in = StoredSignIn::new(store.clone(), context.server.clone(), credential);
        let api = Api::new(
            context.server.clone(),
            Presented::SignIn(Box::new(sign_in)),
            context.trust()?,
        )?;
        let ended = if self.everywhere {
            api.delete("/api/v1/me/sessions", None).await
        } else {
            api.poke("/api/v1/logout").await
        };
        store.remove(&server)?;
        // The session is forgotten here either way; say so when the server still holds it.
        let held = match ended {
            Err(error) if !error.is_about_rights() => Some(error.to_string()),
            _ => None,
        };
        said(context, &server, true, held)
    }
}

fn said(
    context: &Context,
    server: &str,
    was_signed_in: bool,
    held: Option<String>,
) -> Result<(), Failure> {
    if context.out.is_json() {
        context.out.json(
            &json!({"server": server, "was_signed_in": was_signed_in, "server_error": held}),
        )?;
    } else if let Some(reason) = held {
        context.out.line(format!(
            "Forgot the session at {server}; the server still holds it until it expires ({reason})."
        ))?;
    } else if was_signed_in {
        context.out.line(format!("Signed out of {server}."))?;
    } else {
        context
            .out
            .line(format!("You were not signed in to {server}."))?;
    }
    Ok(())
}
