//! `remuda node`: the servers behind the endpoint.

use clap::{Args, Subcommand, ValueEnum};
use primitives::{Secret, Timestamp};
use serde::Deserialize;
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use super::node_agent::{AgentRow, MachineRow, linked, machine, updates};
use super::node_discovered;
use super::password::PasswordSource;
use crate::client::query;
use crate::output::{Columns, Output, Tone, ago, remark};

/// Adds, lists, drains and removes nodes: the servers behind the endpoint.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda node add gpu1 http://gpu1:11434
  remuda node add vllm http://10.0.0.7:8000 --kind openai --tag fast --weight 2
  echo \"$KEY\" | remuda node add cloud https://llm.example --api-key-stdin
  remuda node check http://gpu1:11434    what answers there? adds nothing
  remuda node invite gpu2       a machine that dials us: prints the line to run there
  remuda node discovered        machines whose agents say on the network that they belong nowhere
  remuda node list
  remuda node drain gpu1        finish what runs there, send nothing new
  remuda node undrain gpu1
  remuda node remove gpu1")]
pub(super) struct Node {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Put a server behind the endpoint. What it is gets detected.
    Add(Box<Add>),
    /// Look at an address without adding it: what answers there, with which models.
    Check(Check),
    /// Invite a machine to join by `remuda agent`, and print the line to run there.
    Invite(Invite),
    /// List machines on the local network whose agents belong nowhere yet. They are only shown: an invitation lets one in.
    Discovered,
    /// List nodes with their state.
    #[command(visible_alias = "ls")]
    List,
    /// Show one node and its models.
    Show(Named),
    /// Send nothing new to a node; what runs there goes on to its end.
    Drain(Named),
    /// Send requests to a drained node again.
    Undrain(Named),
    /// Take a node out of the fleet.
    #[command(visible_alias = "rm")]
    Remove(Named),
}

#[derive(Debug, Args)]
struct Invite {
    /// The name that the node will have, unique in the fleet.
    name: String,
}

#[derive(Debug, Args)]
struct Named {
    /// The node's name or id.
    node: String,
}

#[derive(Debug, Args)]
struct Add {
    /// Its name, unique in the fleet.
    name: String,
    /// Its base address, as `http://gpu1:11434`.
    url: String,
    /// Which API it speaks. Without it: detected.
    #[arg(long)]
    kind: Option<Kind>,
    /// The key that the server wants. Other users of this machine can see it while the command runs.
    #[arg(
        long,
        value_name = "KEY",
        env = "REMUDA_NODE_API_KEY",
        hide_env_values = true
    )]
    api_key: Option<String>,
    /// Read that key from standard input.
    #[arg(long, conflicts_with = "api_key")]
    api_key_stdin: bool,
    /// A label that calls can require. Repeatable.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Where it stands, for people.
    #[arg(long)]
    region: Option<String>,
    /// How much it is preferred, 0.01 to 100; 1 is neutral.
    #[arg(long)]
    weight: Option<f32>,
    /// The most requests sent to it at once.
    #[arg(long, value_name = "COUNT")]
    max_in_flight: Option<u32>,
}

#[derive(Debug, Args)]
struct Check {
    /// The address, as `http://gpu1:11434`.
    url: String,
    /// Which API it speaks. Without it: detected.
    #[arg(long)]
    kind: Option<Kind>,
    /// Read the key that the server wants from standard input.
    #[arg(long)]
    api_key_stdin: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Ollama.
    Ollama,
    /// vLLM, llama.cpp, `SGLang`, LM Studio and others with the OpenAI routes.
    Openai,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ollama => "ollama",
            Self::Openai => "openai",
        }
    }
}

impl Node {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.action {
            Action::Add(add) => add.run(context).await,
            Action::Check(check) => check.run(context).await,
            Action::Invite(invite) => invite.run(context).await,
            Action::Discovered => node_discovered::list(context).await,
            Action::List => list(context).await,
            Action::Show(named) => show(context, &named.node).await,
            Action::Drain(named) => {
                change(
                    context,
                    &named.node,
                    "drain",
                    "gets nothing new; what runs there goes on to its end",
                )
                .await
            }
            Action::Undrain(named) => {
                change(context, &named.node, "undrain", "gets requests again").await
            }
            Action::Remove(named) => remove(context, &named.node).await,
        }
    }
}

impl Add {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut body = json!({"name": self.name, "url": self.url});
        let api_key = if self.api_key_stdin {
            Some(PasswordSource::StandardInput.ask()?)
        } else {
            self.api_key.map(Secret::new)
        };
        for (key, value) in [
            ("kind", self.kind.map(|kind| json!(kind.as_str()))),
            ("api_key", api_key.map(|key| json!(key.expose()))),
            ("tags", (!self.tags.is_empty()).then(|| json!(self.tags))),
            ("region", self.region.map(|region| json!(region))),
            ("weight", self.weight.map(|weight| json!(weight))),
            ("max_in_flight", self.max_in_flight.map(|most| json!(most))),
        ] {
            if let Some(value) = value {
                body[key] = value;
            }
        }
        let api = context.api()?;
        let made = api.post("/api/v1/nodes", &body).await?;
        if context.out.is_json() {
            return Ok(context.out.json(&made)?);
        }
        let row: Row = api.decode(made)?;
        context.out.line(match row.warning {
            None => format!("Added {}.", row.name),
            Some(_) => format!("Added {}, which does not answer yet.", row.name),
        })?;
        tell(context.out, context.now(), &row)?;
        if let Some(warning) = &row.warning {
            remark(&format!("warning: {warning}"));
        }
        Ok(())
    }
}

/// An invitation as the API shows it.
#[derive(Deserialize)]
struct Invited {
    name: String,
    token: String,
    url: Option<String>,
    port: u16,
}

impl Invite {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let api = context.api()?;
        let invited = api
            .post("/api/v1/nodes/invite", &json!({"name": self.name}))
            .await?;
        if context.out.is_json() {
            return Ok(context.out.json(&invited)?);
        }
        let invited: Invited = api.decode(invited)?;
        let url = invited.url.unwrap_or_else(|| {
            // Who reaches the API by this name may reach the agents' port by it, too.
            let host = context.server.join("/");
            let host = host.host_str().unwrap_or("127.0.0.1");
            format!("https://{host}:{}", invited.port)
        });
        remark(&format!(
            "run this on the machine that is to be {}, within 15 minutes; it works once:",
            invited.name
        ));
        Ok(context.out.line(format!(
            "remuda agent --join {url} --token {}",
            invited.token
        ))?)
    }
}

/// What was found at an address.
#[derive(Deserialize)]
struct Found {
    url: String,
    kind: String,
    server: String,
    version: Option<String>,
    slots: Option<u32>,
    models: Vec<ModelRow>,
    known_as: Option<String>,
    warning: Option<String>,
}

impl Check {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut body = json!({"url": self.url});
        if let Some(kind) = self.kind {
            body["kind"] = json!(kind.as_str());
        }
        if self.api_key_stdin {
            body["api_key"] = json!(PasswordSource::StandardInput.ask()?.expose());
        }
        let api = context.api()?;
        let found = api.post("/api/v1/nodes/check", &body).await?;
        if context.out.is_json() {
            return Ok(context.out.json(&found)?);
        }
        let found: Found = api.decode(found)?;
        let out = context.out;
        if let Some(warning) = &found.warning {
            out.line(format!("{}: {warning}", found.url))?;
        } else {
            let version = found.version.as_deref().unwrap_or_default();
            out.line(format!(
                "{} answers at {}.",
                format!("{} {version}", found.server).trim(),
                found.url
            ))?;
            out.line(format!("  speaks  {}", found.kind))?;
            if let Some(slots) = found.slots {
                out.line(format!("  slots   {slots}"))?;
            }
            let names = found.models.iter().map(|model| {
                let loaded = if model.loaded { " (in memory)" } else { "" };
                format!("{}{loaded}", model.name)
            });
            out.line(format!(
                "  models  {}",
                names.collect::<Vec<_>>().join(", ")
            ))?;
        }
        if let Some(name) = &found.known_as {
            remark(&format!("this address is the node {name} already"));
        }
        Ok(())
    }
}

/// A node as the API shows it.
#[derive(Deserialize)]
struct Row {
    id: String,
    name: String,
    kind: String,
    server: String,
    url: Option<String>,
    version: Option<String>,
    state: String,
    reason: Option<String>,
    source: String,
    tags: Vec<String>,
    region: Option<String>,
    weight: f64,
    max_in_flight: Option<u32>,
    in_flight: u32,
    model_count: usize,
    last_seen: Option<Timestamp>,
    last_error: Option<String>,
    /// Only when one node is shown.
    #[serde(default)]
    models: Vec<ModelRow>,
    agent: Option<AgentRow>,
    machine: Option<MachineRow>,
    /// Only after a change.
    warning: Option<String>,
}

#[derive(Deserialize)]
struct ModelRow {
    name: String,
    loaded: bool,
}

async fn list(context: &Context) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Page {
        items: Vec<Row>,
    }
    let api = context.api()?;
    let page = api
        .get(&query("/api/v1/nodes", &[("limit", Some("500"))]))
        .await?;
    if context.out.is_json() {
        return Ok(context.out.json(&page)?);
    }
    let page: Page = api.decode(page)?;
    let mut table = Columns::new(
        [
            "NAME",
            "STATE",
            "SERVER",
            "URL",
            "MODELS",
            "IN FLIGHT",
            "SEEN",
            "TAGS",
            "FROM",
        ],
        "No nodes yet: add one with `remuda node add NAME URL`.",
    )
    .dispensing_with(&["FROM", "SEEN", "TAGS", "IN FLIGHT"]);
    for row in page.items {
        let now = context.now();
        table.row_marked(
            1,
            state_tone(&row.state),
            [
                row.name.clone(),
                row.state.clone(),
                server(&row),
                place(&row),
                row.model_count.to_string(),
                row.in_flight.to_string(),
                row.last_seen
                    .map_or("never".to_owned(), |time| ago(time, now)),
                row.tags.join(", "),
                row.source,
            ],
        );
    }
    Ok(table.print(context.out)?)
}

async fn show(context: &Context, node: &str) -> Result<(), Failure> {
    let api = context.api()?;
    let value = api.get(&path_of(node, "")).await?;
    if context.out.is_json() {
        return Ok(context.out.json(&value)?);
    }
    let row: Row = api.decode(value)?;
    context
        .out
        .line(context.out.paint(Tone::Strong, &row.name))?;
    tell(context.out, context.now(), &row)
}

async fn change(context: &Context, node: &str, verb: &str, effect: &str) -> Result<(), Failure> {
    let value = context
        .api()?
        .poke(&path_of(node, &format!("/{verb}")))
        .await?;
    if context.out.is_json() {
        return Ok(context.out.json(&value)?);
    }
    Ok(context.out.line(format!("{node} {effect}."))?)
}

async fn remove(context: &Context, node: &str) -> Result<(), Failure> {
    context.api()?.delete(&path_of(node, ""), None).await?;
    if context.out.is_json() {
        return Ok(context.out.json(&json!({"removed": node}))?);
    }
    Ok(context.out.line(format!("Removed {node}."))?)
}

fn tell(out: Output, now: Timestamp, row: &Row) -> Result<(), Failure> {
    let reason = row
        .reason
        .as_deref()
        .map_or(String::new(), |reason| format!(" ({reason})"));
    let models: Vec<String> = row
        .models
        .iter()
        .map(|model| {
            if model.loaded {
                format!("{} (in memory)", model.name)
            } else {
                model.name.clone()
            }
        })
        .collect();
    for (label, value) in [
        ("id", Some(row.id.clone())),
        ("url", row.url.clone()),
        (
            "state",
            Some(format!(
                "{}{reason}",
                out.paint(state_tone(&row.state), &row.state)
            )),
        ),
        ("server", Some(server(row))),
        ("region", row.region.clone()),
        ("tags", Some(row.tags.join(", "))),
        ("weight", Some(row.weight.to_string())),
        (
            "at most",
            row.max_in_flight
                .map(|most| format!("{most} requests at once")),
        ),
        ("seen", row.last_seen.map(|time| ago(time, now))),
        ("last error", row.last_error.clone()),
        ("from", Some(row.source.clone())),
        ("agent", row.agent.as_ref().map(|agent| linked(agent, now))),
        ("updates", row.agent.as_ref().and_then(updates)),
        ("models", Some(models.join(", "))),
    ]
    .into_iter()
    .chain(machine(row.machine.as_ref()))
    {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            out.line(format!("  {label:<12}{value}"))?;
        }
    }
    Ok(())
}

/// Says where a node is: its address, or how its agent is linked.
fn place(row: &Row) -> String {
    match (&row.url, &row.agent) {
        (Some(url), _) => url.clone(),
        (None, Some(agent)) if agent.linked => format!(
            "agent at {}",
            agent.peer.as_deref().unwrap_or("an unknown address")
        ),
        (None, Some(_)) => "agent, not linked".to_owned(),
        (None, None) => "in this process".to_owned(),
    }
}

fn server(row: &Row) -> String {
    let name = if row.server.is_empty() || row.server == "other" {
        &row.kind
    } else {
        &row.server
    };
    match &row.version {
        Some(version) => format!("{name} {version}"),
        None => name.clone(),
    }
}

fn state_tone(state: &str) -> Tone {
    match state {
        "ready" => Tone::Good,
        "busy" | "new" | "draining" => Tone::Warning,
        _ => Tone::Bad,
    }
}

/// Returns a node's path; its name is one segment whatever stands in it.
fn path_of(node: &str, rest: &str) -> String {
    let segment: String = url::form_urlencoded::byte_serialize(node.as_bytes()).collect();
    format!("/api/v1/nodes/{}{rest}", segment.replace('+', "%20"))
}
