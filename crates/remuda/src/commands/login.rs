//! `remuda login`: signs in and keeps the session.

use clap::Args;
use primitives::{Secret, Timestamp};
use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::password::PasswordSource;
use super::{login_by_provider, setup};
use crate::client::{Api, Presented, Tokens};
use crate::output::minute;

/// Signs in and keeps the session for later commands.
#[derive(Debug, Args)]
#[command(
    after_long_help = "The session is kept in ~/.config/remuda/credentials.toml, readable by you only. It lasts 24 hours, and 24 more
whenever it is used in its last one; `remuda session list` shows it and others of yours.
Where a session cannot be kept, set REMUDA_API_KEY to a key from `remuda key create`.

Examples:
  remuda login
  remuda login --setup-token rmt_...      the first time: makes the administrator too
  remuda --server https://llm.example login --username ana
  remuda --server https://llm.example login --provider corp
  echo \"$PASSWORD\" | remuda login --password-stdin"
)]
pub(super) struct Login {
    /// Your name.
    #[arg(long, default_value = "admin", value_name = "NAME")]
    username: String,
    /// The token that the first start printed: make the administrator with it first.
    #[arg(long, value_name = "TOKEN")]
    setup_token: Option<String>,
    /// Sign in by this provider's page in a browser on this machine.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["username", "setup_token", "password_stdin"])]
    provider: Option<String>,
    /// A code of your authenticator, or a recovery code. Without it, it is asked for where it is needed.
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// Read the password from standard input in place of asking for it.
    #[arg(long)]
    password_stdin: bool,
}

impl Login {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        if let Some(provider) = &self.provider {
            let session = login_by_provider::sign_in(context, provider, self.code).await?;
            let name = name_of(context, &session).await?;
            return keep_session(context, &name, session);
        }
        let source = PasswordSource::from_flag(self.password_stdin);
        match &self.setup_token {
            Some(token) => {
                let password = source.ask_new()?;
                setup::make_administrator(context, token, &self.username, &password).await
            }
            None => sign_in(context, &self.username, &source.ask()?, self.code).await,
        }
    }
}

/// Signs in, asking for a code where one is needed, and keeps the session.
pub(super) async fn sign_in(
    context: &Context,
    username: &str,
    password: &Secret<String>,
    code: Option<String>,
) -> Result<(), Failure> {
    let asked = code.is_none();
    let mut body = json!({"username": username, "password": password.expose(), "code": code});
    let api = context.anonymous_api()?;
    let session = match api.post("/api/v1/login", &body).await {
        Err(error) if asked && error.reason() == Some("code_required") => {
            body["code"] = json!(super::totp::ask_code()?);
            api.post("/api/v1/login", &body).await?
        }
        outcome => outcome?,
    };
    keep_session(context, username, session)
}

/// Asks whose a session is.
async fn name_of(context: &Context, session: &Value) -> Result<String, Failure> {
    let token = session.get("access_token").and_then(Value::as_str);
    let key = Presented::Key(Secret::new(token.unwrap_or_default().to_owned()));
    let api = Api::new(context.server.clone(), key, context.trust()?)?;
    let me = api.get("/api/v1/me").await?;
    let name = me.get("name").and_then(Value::as_str);
    Ok(name.unwrap_or("you").to_owned())
}

/// Keeps the session that the server has begun, and says so.
pub(super) fn keep_session(
    context: &Context,
    username: &str,
    session: Value,
) -> Result<(), Failure> {
    let tokens: Tokens = context.anonymous_api()?.decode(session)?;
    let credential = tokens.kept(username);
    let store = context.credentials()?;
    let server = context.server.to_string();
    let expires_at = credential.expires_at.clone().unwrap_or_default();
    store.insert(&server, credential)?;
    if context.out.is_json() {
        context.out.json(
            &json!({"server": server, "username": username, "expires_at": expires_at, "stored_in": store.path()}),
        )?;
    } else {
        let until = Timestamp::parse_rfc3339(&expires_at).map_or(expires_at, minute);
        context.out.line(format!(
            "Signed in to {server} as {username} until {until}."
        ))?;
    }
    Ok(())
}
