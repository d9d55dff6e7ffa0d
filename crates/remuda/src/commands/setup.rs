//! `remuda setup`: makes the first administrator.

use clap::Args;
use primitives::Secret;
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use super::login;
use super::password::{PasswordSource, ask_token};

/// Makes the first administrator and signs in.
#[derive(Debug, Args)]
#[command(
    after_long_help = "The set-up token is printed by the first start of `remuda up` and works once.

Examples:
  remuda setup
  remuda setup --token rmt_...
  remuda setup --token rmt_... --username ana
  echo \"$PASSWORD\" | remuda setup --token rmt_... --password-stdin"
)]
pub(super) struct Setup {
    /// The set-up token. Without it, it is asked for.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "REMUDA_SETUP_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    /// The administrator's name.
    #[arg(long, default_value = "admin", value_name = "NAME")]
    username: String,
    /// Read the password from standard input in place of asking for it.
    #[arg(long)]
    password_stdin: bool,
}

impl Setup {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let token = match self.token {
            Some(token) => token,
            None => ask_token()?.expose().trim().to_owned(),
        };
        let password = PasswordSource::from_flag(self.password_stdin).ask_new()?;
        make_administrator(context, &token, &self.username, &password).await
    }
}

/// Makes the administrator, signs in and says so.
pub(super) async fn make_administrator(
    context: &Context,
    token: &str,
    username: &str,
    password: &Secret<String>,
) -> Result<(), Failure> {
    let body = json!({"token": token, "username": username, "password": password.expose()});
    let session = context
        .anonymous_api()?
        .post("/api/v1/setup", &body)
        .await?;
    login::keep_session(context, username, session)
}
