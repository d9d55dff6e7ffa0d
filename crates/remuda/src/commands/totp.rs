//! `remuda totp`: one's own second factor.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::password::{PasswordSource, prompt_or};
use crate::output::remark;

/// Sets up and removes your second factor: one-time codes of an authenticator.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda totp enable
  remuda totp status
  remuda totp recovery-codes
  remuda totp disable")]
pub(super) struct Totp {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Enrol an authenticator. From then on signing in takes a code.
    Enable,
    /// Show whether signing in takes a code.
    Status,
    /// Make new recovery codes; the earlier ones work no more.
    RecoveryCodes,
    /// Sign in with the password alone again.
    Disable,
}

impl Totp {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.action {
            Action::Enable => enable(context).await,
            Action::Status => status(context).await,
            Action::RecoveryCodes => renew(context).await,
            Action::Disable => disable(context).await,
        }
    }
}

/// Asks for a one-time code.
pub(super) fn ask_code() -> Result<String, Failure> {
    let code = prompt_or(
        "Code of your authenticator, or a recovery code: ",
        "there is no terminal to ask for the code on: give it with --code",
    )?;
    Ok(code.expose().trim().to_owned())
}

async fn enable(context: &Context) -> Result<(), Failure> {
    let password = PasswordSource::Terminal.ask()?;
    let api = context.api()?;
    let begun = api
        .post("/api/v1/me/totp", &json!({"password": password.expose()}))
        .await?;
    let text = |field: &str| begun.get(field).and_then(Value::as_str).unwrap_or_default();
    remark(&format!(
        "Put this into your authenticator: {}",
        text("secret")
    ));
    remark(&format!("Or as a link: {}", text("uri")));
    let code = ask_code()?;
    let codes = api
        .post("/api/v1/me/totp/confirm", &json!({"code": code}))
        .await?;
    show_codes(context, &codes)
}

async fn renew(context: &Context) -> Result<(), Failure> {
    let code = ask_code()?;
    let codes = context
        .api()?
        .post("/api/v1/me/totp/recovery-codes", &json!({"code": code}))
        .await?;
    show_codes(context, &codes)
}

fn show_codes(context: &Context, answer: &Value) -> Result<(), Failure> {
    if context.out.is_json() {
        return Ok(context.out.json(answer)?);
    }
    let codes = answer.get("recovery_codes").and_then(Value::as_array);
    for code in codes.into_iter().flatten().filter_map(Value::as_str) {
        context.out.line(code)?;
    }
    remark(
        "Keep these recovery codes apart from your device: each works once in place of a code. They are not shown again.",
    );
    Ok(())
}

async fn status(context: &Context) -> Result<(), Failure> {
    let state = context.api()?.get("/api/v1/me/totp").await?;
    if context.out.is_json() {
        return Ok(context.out.json(&state)?);
    }
    let left = state.get("recovery_codes_left").and_then(Value::as_u64);
    context
        .out
        .line(if state.get("enabled") == Some(&json!(true)) {
            format!(
                "Signing in takes a code; recovery codes left: {}.",
                left.unwrap_or_default()
            )
        } else {
            "Signing in takes the password alone: `remuda totp enable` changes that.".to_owned()
        })?;
    Ok(())
}

async fn disable(context: &Context) -> Result<(), Failure> {
    let password = PasswordSource::Terminal.ask()?;
    let body = json!({"password": password.expose(), "code": ask_code()?});
    context
        .api()?
        .post("/api/v1/me/totp/disable", &body)
        .await?;
    if context.out.is_json() {
        context.out.json(&json!({"enabled": false}))?;
    } else {
        context.out.line("Signing in takes the password alone.")?;
    }
    Ok(())
}
