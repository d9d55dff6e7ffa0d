//! `remuda register`: makes one's own account and signs in.

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use super::login;
use super::password::PasswordSource;

/// Makes your own account, where the server lets you, and signs in.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Most servers take an invitation, which an administrator makes with `remuda invitation create`.

Examples:
  remuda register --invitation rmi_... --username ann
  echo \"$PASSWORD\" | remuda register --username ann --password-stdin"
)]
pub(super) struct Register {
    /// The name to sign in with.
    #[arg(long, value_name = "NAME")]
    username: String,
    /// The invitation.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "REMUDA_INVITATION",
        hide_env_values = true
    )]
    invitation: Option<String>,
    /// Where you are reached.
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// Read the password from standard input in place of asking for it.
    #[arg(long)]
    password_stdin: bool,
}

impl Register {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let password = PasswordSource::from_flag(self.password_stdin).ask_new()?;
        let body = json!({
            "username": self.username,
            "password": password.expose(),
            "email": self.email,
            "invitation": self.invitation,
        });
        context
            .anonymous_api()?
            .post("/api/v1/register", &body)
            .await?;
        login::sign_in(context, &self.username, &password, None).await
    }
}
