//! `remuda key`: API keys.

use clap::{Args, Subcommand, ValueEnum};
use primitives::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::role::PERMISSIONS;
use crate::client::query;
use crate::config::Period;
use crate::output::{Columns, Tone, ago, ahead, remark};

/// Makes, lists, changes and revokes API keys.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda key create laptop
  remuda key create ci --model llama3.2 --model qwen3:4b --expires 90d
  remuda key create eval --share-identical
  remuda key create auditor --scope audit:read
  remuda key create batch --priority batch --tokens-per-month 50000000
  remuda key edit ci --requests-per-minute 60 --expires 30d
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
    List(Filter),
    /// Change a key: in effect at once, its secret stays.
    Edit(Box<Edit>),
    /// Revoke a key: it stops working at once.
    Revoke(Revoke),
}

/// Which keys to list.
#[derive(Debug, Default, Args)]
struct Filter {
    /// Only keys in this state.
    #[arg(long, value_parser = ["active", "owner_disabled", "expired", "revoked"])]
    status: Option<String>,
    /// Only keys with this in their name.
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
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
    /// Let the key do just this. Repeatable.
    #[arg(long = "scope", value_name = "PERMISSION", value_parser = PERMISSIONS, conflicts_with = "admin")]
    scopes: Vec<String>,
    /// Let one answer serve identical requests of this key and others of its organisation that allow it too.
    #[arg(long)]
    share_identical: bool,
    #[command(flatten)]
    most: Most,
}

/// How much and how soon.
#[derive(Debug, Args)]
struct Most {
    /// The soonest class that its requests may have.
    #[arg(long, value_enum)]
    priority: Option<Class>,
    /// Requests in any minute.
    #[arg(long, value_name = "NUMBER")]
    requests_per_minute: Option<u32>,
    /// Tokens of prompts and answers in any minute.
    #[arg(long, value_name = "NUMBER")]
    tokens_per_minute: Option<u64>,
    /// Tokens of prompts and answers in a calendar month (UTC).
    #[arg(long, value_name = "NUMBER")]
    tokens_per_month: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Class {
    /// A person waits.
    Interactive,
    /// Nothing is said about it.
    Default,
    /// Nobody waits.
    Batch,
}

impl Class {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Default => "default",
            Self::Batch => "batch",
        }
    }
}

impl Most {
    /// Returns the limits that are given; `None` when none is.
    fn limits(&self) -> Option<Value> {
        let mut limits = serde_json::Map::new();
        let amounts = [
            (
                "requests_per_minute",
                self.requests_per_minute.map(u64::from),
            ),
            ("tokens_per_minute", self.tokens_per_minute),
            ("tokens_per_month", self.tokens_per_month),
        ];
        for (name, amount) in amounts {
            if let Some(amount) = amount {
                limits.insert(name.to_owned(), json!(amount));
            }
        }
        (!limits.is_empty()).then_some(Value::Object(limits))
    }
}

#[derive(Debug, Args)]
struct Edit {
    /// The key's id, name or visible prefix.
    key: String,
    /// Another name.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A model that the key may use, in place of the present list. Repeatable.
    #[arg(long = "model", value_name = "MODEL", conflicts_with = "all_models")]
    models: Vec<String>,
    /// Let the key use all models.
    #[arg(long)]
    all_models: bool,
    /// How long the key works from now on, as 90d or 12h.
    #[arg(long, value_name = "TIME", value_parser = read_period, conflicts_with = "no_expiry")]
    expires: Option<Period>,
    /// Let the key work until it is revoked.
    #[arg(long)]
    no_expiry: bool,
    /// Take all limits away.
    #[arg(long, conflicts_with_all = ["requests_per_minute", "tokens_per_minute", "tokens_per_month"])]
    no_limits: bool,
    /// Whether one answer may serve identical requests.
    #[arg(long, value_name = "true|false")]
    share_identical: Option<bool>,
    #[command(flatten)]
    most: Most,
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
            Action::List(filter) => list(context, &filter).await,
            Action::Edit(edit) => edit.run(context).await,
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
        if !self.scopes.is_empty() {
            body["scopes"] = json!(self.scopes);
        }
        if self.share_identical {
            body["share_identical"] = json!(true);
        }
        if let Some(class) = self.most.priority {
            body["priority"] = json!(class.as_str());
        }
        if let Some(limits) = self.most.limits() {
            body["limits"] = limits;
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

impl Edit {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let key = find(context, &self.key).await?;
        let mut body = json!({});
        if let Some(name) = &self.name {
            body["name"] = json!(name);
        }
        if self.all_models {
            body["models"] = Value::Null;
        } else if !self.models.is_empty() {
            body["models"] = json!(self.models);
        }
        if self.no_expiry {
            body["expires_at"] = Value::Null;
        } else if let Some(period) = self.expires {
            body["expires_at"] = json!(context.now().after(period.0));
        }
        if let Some(share) = self.share_identical {
            body["share_identical"] = json!(share);
        }
        if let Some(class) = self.most.priority {
            body["priority"] = json!(class.as_str());
        }
        if self.no_limits {
            body["limits"] = json!({});
        } else if let Some(limits) = self.most.limits() {
            body["limits"] = limits;
        }
        let changed = context
            .api()?
            .patch(&format!("/api/v1/keys/{}", key.id), &body)
            .await?;
        if context.out.is_json() {
            context.out.json(&changed)?;
        } else {
            context.out.line(format!("Changed {}.", key.name))?;
        }
        Ok(())
    }
}

impl Revoke {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let key = find(context, &self.key).await?;
        context
            .api()?
            .delete(&format!("/api/v1/keys/{}", key.id), None)
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

/// Finds a key that is not revoked by its id, name or visible prefix; among several of one name, the one that works.
async fn find(context: &Context, wanted: &str) -> Result<KeyRow, Failure> {
    let keys = load(context, &Filter::default()).await?;
    let mut matching: Vec<KeyRow> = keys
        .into_iter()
        .filter(|key| key.revoked_at.is_none())
        .filter(|key| {
            key.id == wanted
                || key.name == wanted
                || (wanted.starts_with(&key.prefix) && !key.prefix.is_empty())
        })
        .collect();
    if matching.len() > 1 && matching.iter().any(|key| key.status == "active") {
        matching.retain(|key| key.status == "active");
    }
    match (matching.len(), matching.pop()) {
        (1, Some(key)) => Ok(key),
        (0, _) => Err(Failure::Refused(format!(
            "there is no key {wanted:?}: `remuda key list` shows them"
        ))),
        (several, _) => Err(Failure::Refused(format!(
            "{several} keys are called {wanted:?}: give the id of one of them"
        ))),
    }
}

async fn list(context: &Context, filter: &Filter) -> Result<(), Failure> {
    if context.out.is_json() {
        let keys = context.api()?.get(&filter.path()).await?;
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
    for key in load(context, filter).await? {
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

impl Filter {
    fn path(&self) -> String {
        query(
            "/api/v1/keys",
            &[
                ("limit", Some("500")),
                ("status", self.status.as_deref()),
                ("q", self.search.as_deref()),
            ],
        )
    }
}

async fn load(context: &Context, filter: &Filter) -> Result<Vec<KeyRow>, Failure> {
    #[derive(Deserialize)]
    struct Page {
        items: Vec<KeyRow>,
    }
    let api = context.api()?;
    let page = api.get(&filter.path()).await?;
    Ok(api.decode::<Page>(page)?.items)
}

/// Reads a length of time from the command line.
pub(super) fn read_period(text: &str) -> Result<Period, String> {
    Period::parse(text).ok_or_else(|| "write it as 90d, 12h or 30m".to_owned())
}
