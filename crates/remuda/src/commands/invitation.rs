//! `remuda invitation`: lets people make their own accounts.

use clap::{Args, Subcommand};
use primitives::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::id_path::id_path;
use super::user::RoleName;
use crate::client::query;
use crate::config::Period;
use crate::output::{Columns, ago, ahead, remark};

/// Makes, lists and withdraws invitations.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda invitation create --note \"Ann of the lab\"
  remuda invitation create --role operator --expires 30d
  remuda invitation list
  remuda register --invitation rmi_... --username ann")]
pub(super) struct Invitation {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Invite somebody. The token is shown once, and works once.
    Create(Create),
    /// List the invitations that stand.
    #[command(visible_alias = "ls")]
    List,
    /// Withdraw an invitation.
    Withdraw {
        /// The invitation's id.
        id: String,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// What who joins may do.
    #[arg(long, value_enum, default_value = "user")]
    role: RoleName,
    /// Whom it is for.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// How long it stands, as 30d or 12h; at most 90d. Without it: 7 days.
    #[arg(long, value_name = "TIME", value_parser = super::key::read_period)]
    expires: Option<Period>,
}

#[derive(Deserialize)]
struct InvitationRow {
    id: String,
    role: String,
    note: Option<String>,
    created_at: Timestamp,
    expires_at: Timestamp,
}

impl Invitation {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.action {
            Action::Create(create) => create.run(context).await,
            Action::List => list(context).await,
            Action::Withdraw { id } => withdraw(context, &id).await,
        }
    }
}

impl Create {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut body = json!({"role": self.role.as_str(), "note": self.note});
        if let Some(period) = self.expires {
            body["expires_at"] = json!(context.now().after(period.0));
        }
        let made = context.api()?.post("/api/v1/invitations", &body).await?;
        if context.out.is_json() {
            return Ok(context.out.json(&made)?);
        }
        let token = made
            .get("token")
            .and_then(Value::as_str)
            .unwrap_or_default();
        context.out.line(token)?;
        remark(
            "Give it to whom you invite: `remuda register --invitation TOKEN`. It is not shown again.",
        );
        Ok(())
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Page {
        items: Vec<InvitationRow>,
    }
    let api = context.api()?;
    let page = api
        .get(&query("/api/v1/invitations", &[("limit", Some("500"))]))
        .await?;
    if context.out.is_json() {
        return Ok(context.out.json(&page)?);
    }
    let now = context.now();
    let mut table = Columns::new(
        ["FOR", "ROLE", "MADE", "ENDS", "ID"],
        "No invitations: make one with `remuda invitation create`.",
    )
    .dispensing_with(&["MADE"]);
    for invitation in api.decode::<Page>(page)?.items {
        table.row([
            invitation.note.unwrap_or_default(),
            invitation.role,
            ago(invitation.created_at, now),
            ahead(invitation.expires_at, now),
            invitation.id,
        ]);
    }
    Ok(table.print(context.out)?)
}

async fn withdraw(context: &Context, id: &str) -> Result<(), Failure> {
    let path = id_path(
        "/api/v1/invitations",
        id,
        "an invitation",
        "remuda invitation list",
    )?;
    context.api()?.delete(&path, None).await?;
    if context.out.is_json() {
        context.out.json(&json!({"withdrawn": id}))?;
    } else {
        context.out.line(format!("Withdrew {id}."))?;
    }
    Ok(())
}
