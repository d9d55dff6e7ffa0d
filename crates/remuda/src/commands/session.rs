//! `remuda session`: where one is signed in.

use clap::{Args, Subcommand};
use primitives::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use super::id_path::id_path;
use crate::client::query;
use crate::output::{Columns, ago, ahead};

/// Lists and ends your sessions.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda session list
  remuda session end 0198c0de-0000-7000-8000-000000000000
  remuda logout --everywhere")]
pub(super) struct Session {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List where you are signed in.
    #[command(visible_alias = "ls")]
    List,
    /// End one of your sessions: it stops working at once.
    End {
        /// The session's id.
        id: String,
    },
}

#[derive(Deserialize)]
struct SessionRow {
    id: String,
    current: bool,
    created_at: Timestamp,
    expires_at: Timestamp,
    last_used_at: Option<Timestamp>,
    ip: Option<String>,
    user_agent: Option<String>,
}

impl Session {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.action {
            Action::List => list(context).await,
            Action::End { id } => end(context, &id).await,
        }
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Page {
        items: Vec<SessionRow>,
    }
    let api = context.api()?;
    let page = api
        .get(&query("/api/v1/me/sessions", &[("limit", Some("500"))]))
        .await?;
    if context.out.is_json() {
        return Ok(context.out.json(&page)?);
    }
    let now = context.now();
    let mut table = Columns::new(
        ["", "BEGAN", "ENDS", "LAST USED", "FROM", "PROGRAM", "ID"],
        "You have no sessions.",
    )
    .dispensing_with(&["PROGRAM", "BEGAN"]);
    for session in api.decode::<Page>(page)?.items {
        table.row([
            if session.current { "*" } else { "" }.to_owned(),
            ago(session.created_at, now),
            ahead(session.expires_at, now),
            session
                .last_used_at
                .map_or("never".to_owned(), |time| ago(time, now)),
            session.ip.unwrap_or_default(),
            session.user_agent.unwrap_or_default(),
            session.id,
        ]);
    }
    Ok(table.print(context.out)?)
}

async fn end(context: &Context, id: &str) -> Result<(), Failure> {
    let path = id_path(
        "/api/v1/me/sessions",
        id,
        "a session",
        "remuda session list",
    )?;
    context.api()?.delete(&path, None).await?;
    if context.out.is_json() {
        context.out.json(&json!({"ended": id}))?;
    } else {
        context.out.line(format!("Ended {id}."))?;
    }
    Ok(())
}
