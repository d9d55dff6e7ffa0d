//! `remuda user`: the people of an organisation, for its administrators.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use primitives::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::password::PasswordSource;
use crate::client::query;
use crate::output::{Columns, Tone, ago, minute, remark};

/// Lists, makes and changes people.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda user list
  remuda user create ann --role operator
  remuda user edit ann --role viewer
  remuda user edit ann --custom-role key-keeper
  remuda user edit ann --disable
  remuda user reset ann               a token for who has lost their password
  remuda user sign-out ann
  remuda user export ann --output ann.json
  remuda user erase ann --yes
  remuda invitation create --role user")]
pub(super) struct User {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List people.
    #[command(visible_alias = "ls")]
    List(Filter),
    /// Make somebody who can sign in at once. To let them choose their own name and password, use `remuda invitation`.
    Create(Create),
    /// Give another role, disable or enable.
    Edit(Edit),
    /// Make a token with which somebody resets their password. It is shown once.
    Reset {
        /// Their name or id.
        user: String,
    },
    /// End all sessions of somebody. Their API keys go on working.
    SignOut {
        /// Their name or id.
        user: String,
    },
    /// Write everything that is known of somebody to standard output or a file, as JSON; of yourself with `--me`.
    Export(Export),
    /// Erase somebody and what names them everywhere. This cannot be undone.
    Erase(Erase),
    /// Remove the second factor of somebody who has lost their device and their recovery codes.
    RemoveSecondFactor {
        /// Their name or id.
        user: String,
    },
}

#[derive(Debug, Args)]
struct Export {
    /// Their name or id.
    #[arg(required_unless_present = "me")]
    user: Option<String>,
    /// Your own data, with what you asked and were answered in jobs.
    #[arg(long, conflicts_with = "user")]
    me: bool,
    /// A new file, readable by you only, in place of standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Erase {
    /// Their name or id.
    user: String,
    /// Do it: there is no question, and no way back.
    #[arg(long)]
    yes: bool,
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum RoleName {
    /// Everything that is the organisation's.
    Admin,
    /// Inference.
    Operator,
    /// Inference.
    User,
    /// Looking, no inference.
    Viewer,
}

impl RoleName {
    /// Names the role as the server does.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::User => "user",
            Self::Viewer => "viewer",
        }
    }
}

/// Whom to list.
#[derive(Debug, Default, Args)]
struct Filter {
    /// Only people with this role.
    #[arg(long, value_enum)]
    role: Option<RoleName>,
    /// Only those who may not sign in.
    #[arg(long)]
    disabled: bool,
    /// Only those with this in their name.
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
}

#[derive(Debug, Args)]
struct Create {
    /// The name to sign in with.
    username: String,
    /// What they may do; `user` unless given.
    #[arg(long, value_enum, conflicts_with = "custom_role")]
    role: Option<RoleName>,
    /// A role of your organisation's own, as `remuda role list` shows it.
    #[arg(long, value_name = "NAME")]
    custom_role: Option<String>,
    /// Read the password from standard input in place of asking for it.
    #[arg(long)]
    password_stdin: bool,
}

#[derive(Debug, Args)]
struct Edit {
    /// Their name or id.
    user: String,
    /// What they may do.
    #[arg(long, value_enum, conflicts_with = "custom_role")]
    role: Option<RoleName>,
    /// A role of your organisation's own.
    #[arg(long, value_name = "NAME")]
    custom_role: Option<String>,
    /// Let them sign in no more. Ends their sessions and stops their keys.
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    /// Let them sign in again.
    #[arg(long)]
    enable: bool,
}

#[derive(Deserialize)]
struct UserRow {
    id: String,
    username: String,
    display_name: Option<String>,
    email: Option<String>,
    role: String,
    custom_role: Option<String>,
    created_at: Timestamp,
    disabled_at: Option<Timestamp>,
}

impl User {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.action {
            Action::List(filter) => list(context, &filter).await,
            Action::Create(create) => create.run(context).await,
            Action::Edit(edit) => edit.run(context).await,
            Action::Reset { user } => reset(context, &user).await,
            Action::SignOut { user } => end(context, &user, "sessions", "Signed out").await,
            Action::Export(export) => export.run(context).await,
            Action::Erase(erase) => erase.run(context).await,
            Action::RemoveSecondFactor { user } => {
                end(context, &user, "totp", "Removed the second factor of").await
            }
        }
    }
}

impl Create {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let password = PasswordSource::from_flag(self.password_stdin).ask_new()?;
        let body = json!({
            "username": self.username, "password": password.expose(), "role": self.role.map(RoleName::as_str),
            "custom_role": self.custom_role,
        });
        let made = context.api()?.post("/api/v1/users", &body).await?;
        if context.out.is_json() {
            return Ok(context.out.json(&made)?);
        }
        let name = made.get("username").and_then(Value::as_str);
        context.out.line(format!(
            "Made {} ({}).",
            name.unwrap_or(&self.username),
            role_of(&made)
        ))?;
        Ok(())
    }
}

/// Returns what a person may do, in a word.
fn role_of(user: &Value) -> &str {
    let text = |name: &str| user.get(name).and_then(Value::as_str);
    text("custom_role")
        .or_else(|| text("role"))
        .unwrap_or("user")
}

impl Edit {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut body = json!({});
        if let Some(role) = self.role {
            body["role"] = json!(role.as_str());
        }
        if let Some(name) = &self.custom_role {
            body["custom_role"] = json!(name);
        }
        if self.disable || self.enable {
            body["disabled"] = json!(self.disable);
        }
        let user = find(context, &self.user).await?;
        let path = format!("/api/v1/users/{}", user.id);
        let changed = context.api()?.patch(&path, &body).await?;
        if context.out.is_json() {
            return Ok(context.out.json(&changed)?);
        }
        let changed: UserRow = context.api()?.decode(changed)?;
        let state = match changed.disabled_at {
            Some(_) => "disabled",
            None => "may sign in",
        };
        context.out.line(format!(
            "{} is {} and {state}.",
            changed.username,
            changed.custom_role.unwrap_or(changed.role)
        ))?;
        Ok(())
    }
}

impl Export {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let path = match &self.user {
            Some(user) => format!("/api/v1/users/{}/export", find(context, user).await?.id),
            None => "/api/v1/me/export".to_owned(),
        };
        let mut answer = context.api()?.download(&path).await?;
        let Some(file) = &self.output else {
            while let Some(piece) = answer.next().await? {
                context.out.bytes(&piece)?;
            }
            return Ok(());
        };
        let refused = |error: std::io::Error| {
            Failure::Refused(format!("cannot write {}: {error}", file.display()))
        };
        let mut written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(file)
            .map_err(refused)?;
        while let Some(piece) = answer.next().await? {
            written.write_all(&piece).map_err(refused)?;
        }
        written.sync_all().map_err(refused)?;
        context.out.line(format!("Wrote {}.", file.display()))?;
        Ok(())
    }
}

impl Erase {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let user = find(context, &self.user).await?;
        if !self.yes {
            return Err(Failure::Refused(format!(
                "erasing {} cannot be undone: export their data first where they want it (`remuda user export`), then say --yes",
                user.username
            )));
        }
        let path = format!("/api/v1/users/{}/erase", user.id);
        let body = json!({"username": user.username});
        let erasure = context.api()?.post(&path, &body).await?;
        if context.out.is_json() {
            return Ok(context.out.json(&erasure)?);
        }
        let rows = |field: &str| erasure.get(field).and_then(Value::as_array).cloned();
        let text = |row: &Value, field: &str| match row.get(field) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        context.out.line(format!("Erased {}:", user.username))?;
        for row in rows("erased").unwrap_or_default() {
            context
                .out
                .line(format!("  {} {}", text(&row, "rows"), text(&row, "what")))?;
        }
        context.out.line("Kept:")?;
        for row in rows("kept").unwrap_or_default() {
            context
                .out
                .line(format!("  {}: {}", text(&row, "what"), text(&row, "why")))?;
        }
        Ok(())
    }
}

async fn reset(context: &Context, name: &str) -> Result<(), Failure> {
    let user = find(context, name).await?;
    let path = format!("/api/v1/users/{}/password-reset", user.id);
    let made = context.api()?.poke(&path).await?;
    if context.out.is_json() {
        return Ok(context.out.json(&made)?);
    }
    let text = |field: &str| made.get(field).and_then(Value::as_str).unwrap_or_default();
    context.out.line(text("token"))?;
    let until = Timestamp::parse_rfc3339(text("expires_at"))
        .map_or_else(|| text("expires_at").to_owned(), minute);
    remark(&format!(
        "Give it to {}, who uses it with `remuda password reset` until {until}. It is not shown again.",
        user.username
    ));
    Ok(())
}

async fn end(context: &Context, name: &str, what: &str, done: &str) -> Result<(), Failure> {
    let user = find(context, name).await?;
    context
        .api()?
        .delete(&format!("/api/v1/users/{}/{what}", user.id), None)
        .await?;
    if context.out.is_json() {
        context.out.json(&json!({"user": user.id, "ended": what}))?;
    } else {
        context.out.line(format!("{done} {}.", user.username))?;
    }
    Ok(())
}

async fn find(context: &Context, name: &str) -> Result<UserRow, Failure> {
    load(context, &Filter::default())
        .await?
        .into_iter()
        .find(|user| user.id == name || user.username == name.to_lowercase())
        .ok_or_else(|| {
            Failure::Refused(format!(
                "there is no user {name:?}: `remuda user list` shows them"
            ))
        })
}

async fn list(context: &Context, filter: &Filter) -> Result<(), Failure> {
    let users = load(context, filter).await?;
    if context.out.is_json() {
        let items: Vec<Value> = users
            .iter()
            .map(|user| {
                json!({"id": user.id, "username": user.username, "display_name": user.display_name, "email": user.email,
                    "role": user.role, "custom_role": user.custom_role, "created_at": user.created_at, "disabled_at": user.disabled_at})
            })
            .collect();
        return Ok(context.out.json(&json!({"items": items}))?);
    }
    let now = context.now();
    let mut table = Columns::new(
        ["NAME", "ROLE", "STATE", "CALLED", "EMAIL", "MADE", "ID"],
        "Nobody yet: make somebody with `remuda user create NAME`.",
    )
    .dispensing_with(&["MADE", "EMAIL", "CALLED"]);
    for user in users {
        let (tone, state) = match user.disabled_at {
            Some(_) => (Tone::Faint, "disabled"),
            None => (Tone::Good, "active"),
        };
        table.row_marked(
            2,
            tone,
            [
                user.username,
                user.custom_role.unwrap_or(user.role),
                state.to_owned(),
                user.display_name.unwrap_or_default(),
                user.email.unwrap_or_default(),
                ago(user.created_at, now),
                user.id,
            ],
        );
    }
    Ok(table.print(context.out)?)
}

/// Loads all people that the caller may see, page by page.
async fn load(context: &Context, filter: &Filter) -> Result<Vec<UserRow>, Failure> {
    #[derive(Deserialize)]
    struct Page {
        items: Vec<UserRow>,
        next_cursor: Option<String>,
    }
    let api = context.api()?;
    let (mut users, mut cursor) = (Vec::new(), None);
    loop {
        let parameters = [
            ("limit", Some("500")),
            ("cursor", cursor.as_deref()),
            ("role", filter.role.map(RoleName::as_str)),
            ("disabled", filter.disabled.then_some("true")),
            ("q", filter.search.as_deref()),
        ];
        let page = api.get(&query("/api/v1/users", &parameters)).await?;
        let page: Page = api.decode(page)?;
        users.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(users);
        }
    }
}
