//! `remuda password`: changes one's own, or resets a lost one.

use clap::{Args, Subcommand};
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use super::password::{PasswordSource, prompt_or};

/// Changes your password, or resets a lost one.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda password change
  remuda password reset --token rmp_...")]
pub(super) struct Password {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Change your password. All your other sessions end.
    Change,
    /// Set another password with the token that an administrator made (`remuda user reset`). All your sessions end.
    Reset(Reset),
}

#[derive(Debug, Args)]
struct Reset {
    /// The token. Without it, it is asked for.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "REMUDA_RESET_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    /// Read the password from standard input in place of asking for it.
    #[arg(long)]
    password_stdin: bool,
}

impl Password {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.action {
            Action::Change => change(context).await,
            Action::Reset(reset) => reset.run(context).await,
        }
    }
}

async fn change(context: &Context) -> Result<(), Failure> {
    let no_terminal =
        "there is no terminal to ask for the passwords on: use PUT /api/v1/me/password";
    let current = prompt_or("Present password: ", no_terminal)?;
    let new = PasswordSource::Terminal.ask_new()?;
    let body = json!({"current": current.expose(), "new": new.expose()});
    context.api()?.put("/api/v1/me/password", &body).await?;
    said(
        context,
        "Changed your password; your other sessions have ended.",
    )
}

impl Reset {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let token = match self.token {
            Some(token) => token,
            None => prompt_or(
                "Token (an administrator makes it with `remuda user reset`): ",
                "there is no terminal to ask for the token on: give it with --token",
            )?
            .expose()
            .trim()
            .to_owned(),
        };
        let password = PasswordSource::from_flag(self.password_stdin).ask_new()?;
        let body = json!({"token": token, "password": password.expose()});
        context
            .anonymous_api()?
            .post("/api/v1/password-reset", &body)
            .await?;
        said(
            context,
            "Your password is reset: sign in with `remuda login`.",
        )
    }
}

fn said(context: &Context, line: &str) -> Result<(), Failure> {
    if context.out.is_json() {
        context.out.json(&json!({"changed": true}))?;
    } else {
        context.out.line(line)?;
    }
    Ok(())
}
