//! `remuda key`: API keys.

use clap::{Args, Subcommand};
use primitives::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use crate::client::query;
use crate::config::Period;
use crate::output::{Columns, Tone, ago, ahead, remark};

/// Makes, lists and revokes API keys.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda key create laptop
  remuda key create ci --model llama3.2 --model qwen3:4b --expires 90d
  remuda key create eval --share-identical
  remuda key list
  remuda key revoke ci")]
pub(super) struct Key {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key. It is shown once.
    Create(Create),
    /// List keys; their secrets are never shown again.
    #[command(visible_alias = "ls")]
    List,
    /// Revoke a key: it stops working at once.
    Revoke(Revoke),
}

#[derive(Debug, Args)]
struct Create {
    /// What the key is for.
    name: String,
    /// A model that the key may use. Repeatable. Without it: all models.
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// How long the key works, as 90d or 12h. Without it: until it is revoked.
    #[arg(long, value_name = "TIME", value_parser = read_period)]
    expires: Option<Period>,
    /// Let the key manage nodes, keys and users too.
    #[arg(long)]
    admin: bool,
    /// Let one answer serve identical requests of this key and others of its organisation that allow it too.
    #[arg(long)]
    share_identical: bool,
}

#[derive(Debug, Args)]
struct Revoke {
    /// The key's id, name or visible prefix.
    key: String,
}

#[derive(Deserialize)]
struct KeyRow {
    id: String,
    name: String,
    prefix: String,
    status: String,
    role: String,
    models: Option<Vec<String>>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
}

impl Key {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.action {
            Action::Create(create) => create.run(context).await,
            Action::List => list(context).await,
            Action::Revoke(revoke) => revoke.run(context).await,
        }
    }
}

impl Create {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut body = json!({"name": self.name});
        if !self.models.is_empty() {
            body["models"] = json!(self.models);
        }
        if let Some(period) = self.expires {
            body["expires_at"] = json!(context.now().after(period.0));
        }
        if self.admin {
            body["role"] = json!("admin");
        }
        if self.share_identical {
            body["share_identical"] = json!(true);
        }
        let made = context.api()?.post("/api/v1/keys", &body).await?;
        if context.out.is_json() {
            return Ok(context.out.json(&made)?);
        }
        let secret = made
            .get("secret")
            .and_then(Value::as_str)
            .unwrap_or_default();
        context.out.line(secret)?;
        remark(
            "This is the only time that the key is shown. Use it as REMUDA_API_KEY, or as the API key of any client.",
        );
        Ok(())
    }
}

impl Revoke {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let api = context.api()?;
        let keys = load(context).await?;
        let matching: Vec<&KeyRow> = keys
            .iter()
            .filter(|key| key.revoked_at.is_none())
            .filter(|key| {
                key.id == self.key
                    || key.name == self.key
                    || (self.key.starts_with(&key.prefix) && !key.prefix.is_empty())
            })
            .collect();
        let key = match matching.as_slice() {
            [key] => key,
            [] => {
                return Err(Failure::Refused(format!(
                    "there is no key {:?}: `remuda key list` shows them",
                    self.key
                )));
            }
            several => {
                return Err(Failure::Refused(format!(
                    "{} keys are called {:?}: give the id of one of them",
                    several.len(),
                    self.key
                )));
            }
        };
        api.delete(&format!("/api/v1/keys/{}", key.id), None)
            .await?;
        if context.out.is_json() {
            context
                .out
                .json(&json!({"revoked": key.id, "name": key.name}))?;
        } else {
            context.out.line(format!("Revoked {}.", key.name))?;
        }
        Ok(())
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    if context.out.is_json() {
        let keys = context
            .api()?
            .get(&query("/api/v1/keys", &[("limit", Some("500"))]))
            .await?;
        return Ok(context.out.json(&keys)?);
    }
    let now = context.now();
    let mut table = Columns::new(
        [
            "NAME",
            "PREFIX",
            "ROLE",
            "MODELS",
            "STATUS",
            "MADE",
            "ENDS",
            "LAST USED",
            "ID",
        ],
        "No keys yet: make one with `remuda key create NAME`.",
    )
    .dispensing_with(&["MADE", "LAST USED", "PREFIX", "ROLE"]);
    for key in load(context).await? {
        let tone = if key.status == "active" {
            Tone::Good
        } else {
            Tone::Faint
        };
        table.row_marked(
            4,
            tone,
            [
                key.name,
                key.prefix,
                key.role,
                key.models
                    .map_or("all".to_owned(), |models| models.join(", ")),
                key.status,
                ago(key.created_at, now),
                key.expires_at
                    .map_or("never".to_owned(), |time| ahead(time, now)),
                key.last_used_at
                    .map_or("never".to_owned(), |time| ago(time, now)),
                key.id,
            ],
        );
    }
    Ok(table.print(context.out)?)
}

async fn load(context: &Context) -> Result<Vec<KeyRow>, Failure> {
    #[derive(Deserialize)]
    struct Page {
        items: Vec<KeyRow>,
    }
    let api = context.api()?;
    let page = api
        .get(&query("/api/v1/keys", &[("limit", Some("500"))]))
        .await?;
    Ok(api.decode::<Page>(page)?.items)
}

fn read_period(text: &str) -> Result<Period, String> {
    Period::parse(text).ok_or_else(|| "write it as 90d, 12h or 30m".to_owned())
}
