//! `remuda role`: roles of an organisation's own.

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use crate::output::Columns;

/// Every permission, for help texts.
pub(super) const PERMISSIONS: [&str; 10] = [
    "inference:run",
    "keys:read",
    "keys:manage",
    "users:read",
    "users:manage",
    "invitations:manage",
    "roles:manage",
    "audit:read",
    "inventory:read",
    "inventory:write",
];

/// Lists, makes, changes and removes roles.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda role list
  remuda role create key-keeper keys:manage users:read --description \"looks after keys\"
  remuda user edit ann --custom-role key-keeper
  remuda role edit key-keeper keys:manage
  remuda role delete key-keeper")]
pub(super) struct Role {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List roles and what they may do.
    #[command(visible_alias = "ls")]
    List,
    /// Make a role. Nobody gives what they do not have.
    Create(Create),
    /// Change a role: in effect at once for everybody who has it.
    Edit(Edit),
    /// Remove a role that nobody has.
    #[command(visible_alias = "rm")]
    Delete {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// Its name: lower-case letters, digits, `-` or `_`.
    name: String,
    /// What it may do.
    #[arg(value_name = "PERMISSION", value_parser = PERMISSIONS)]
    permissions: Vec<String>,
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

#[derive(Debug, Args)]
struct Edit {
    /// Its name.
    name: String,
    /// What it may do, in place of all that it may now.
    #[arg(value_name = "PERMISSION", value_parser = PERMISSIONS)]
    permissions: Vec<String>,
    /// Take all permissions away.
    #[arg(long, conflicts_with = "permissions")]
    no_permissions: bool,
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

#[derive(Deserialize)]
struct RoleRow {
    name: String,
    built_in: bool,
    description: Option<String>,
    permissions: Vec<String>,
}

impl Role {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.action {
            Action::List => list(context).await,
            Action::Create(create) => {
                let body = json!({
                    "name": create.name, "permissions": create.permissions, "description": create.description,
                });
                let made = context.api()?.post("/api/v1/roles", &body).await?;
                said(context, &made, "Made")
            }
            Action::Edit(edit) => {
                let mut body = json!({});
                if !edit.permissions.is_empty() || edit.no_permissions {
                    body["permissions"] = json!(edit.permissions);
                }
                if let Some(description) = edit.description {
                    body["description"] = json!(description);
                }
                let changed = context.api()?.patch(&path(&edit.name), &body).await?;
                said(context, &changed, "Changed")
            }
            Action::Delete { name } => {
                context.api()?.delete(&path(&name), None).await?;
                if context.out.is_json() {
                    return Ok(context.out.json(&json!({"name": name, "deleted": true}))?);
                }
                Ok(context.out.line(format!("Removed the role {name}."))?)
            }
        }
    }
}

fn path(name: &str) -> String {
    let name: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
    format!("/api/v1/roles/{name}")
}

fn said(context: &Context, role: &Value, verb: &str) -> Result<(), Failure> {
    if context.out.is_json() {
        return Ok(context.out.json(role)?);
    }
    let role: RoleRow = context.api()?.decode(role.clone())?;
    Ok(context.out.line(format!(
        "{verb} {}: {}.",
        role.name,
        shown(&role.permissions)
    ))?)
}

fn shown(permissions: &[String]) -> String {
    match permissions {
        [] => "may look, no more".to_owned(),
        permissions => permissions.join(", "),
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    let api = context.api()?;
    let page = api.get("/api/v1/roles").await?;
    if context.out.is_json() {
        return Ok(context.out.json(&page)?);
    }
    let items = page.get("items").cloned().unwrap_or_default();
    let roles: Vec<RoleRow> = api.decode(items)?;
    let mut table = Columns::new(["NAME", "KIND", "MAY", "FOR"], "No roles.");
    for role in roles {
        table.row([
            role.name,
            if role.built_in { "built in" } else { "own" }.to_owned(),
            shown(&role.permissions),
            role.description.unwrap_or_default(),
        ]);
    }
    Ok(table.print(context.out)?)
}
