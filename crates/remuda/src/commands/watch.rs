//! `remuda watch`: shows what happens, as it happens.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use crate::client::{Api, Arrived};
use crate::output::{Tone, remark};

/// The waits before connecting again; the last one is repeated.
const WAITS_S: [u64; 5] = [1, 2, 5, 10, 30];
/// Close codes after which connecting again helps: the server stops, and this client was too slow or too silent.
const PASSING: [u16; 4] = [1001, 1012, 4008, 4009];

/// Shows events as they happen, until Ctrl-C.
#[derive(Debug, Args)]
#[command(after_long_help = "Topics:
  node_status       nodes that come, go and change their state
  model_update      models that nodes get, lose, load and unload
  inference         your inferences; those of the organisation for its administrators
  inference_ID      one inference
  system_metrics    figures of the system, every few seconds
  heartbeat         a sign of life every 30 seconds
The nodes, models and figures are for administrators of the platform.

After an interruption it connects again and goes on where it was; what cannot be made up for is said.

Examples:
  remuda watch
  remuda watch system_metrics --json | jq .data.inference
  remuda watch inference_01890a5d-ac96-774b-bcce-b302099a8057")]
pub(super) struct Watch {
    /// What to watch; without it the nodes, the models and your inferences.
    #[arg(value_name = "TOPIC")]
    topics: Vec<String>,
}

/// How a connection ended.
enum Outcome {
    /// Connecting again may help.
    Passing(String),
    /// It does not help.
    Final(String),
}

impl Watch {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let topics = if self.topics.is_empty() {
            ["node_status", "model_update", "inference"]
                .map(str::to_owned)
                .to_vec()
        } else {
            self.topics
        };
        let api = context.api()?;
        let watching = watch(context, &api, &topics);
        tokio::select! {
            ended = watching => ended,
            _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
        }
    }
}

async fn watch(context: &Context, api: &Api, topics: &[String]) -> Result<(), Failure> {
    let mut positions = BTreeMap::new();
    let mut failures = 0;
    loop {
        let before = positions.clone();
        let outcome = match follow(context, api, topics, &mut positions).await {
            Ok(outcome) => outcome,
            // Where it has worked once, the server is expected to come back.
            Err(Failure::Client(error)) if !positions.is_empty() && error.is_passing() => {
                Outcome::Passing(error.to_string())
            }
            Err(failure) => return Err(failure),
        };
        if positions != before {
            failures = 0;
        }
        let reason = match outcome {
            Outcome::Final(reason) => return Err(Failure::Refused(reason)),
            Outcome::Passing(reason) => reason,
        };
        let last = WAITS_S.len() - 1;
        let wait = WAITS_S.get(failures.min(last)).copied().unwrap_or(30);
        failures += 1;
        remark(&format!("{reason}; connecting again in {wait} s"));
        tokio::time::sleep(Duration::from_secs(wait)).await;
    }
}

/// Shows events until the connection ends.
async fn follow(
    context: &Context,
    api: &Api,
    topics: &[String],
    positions: &mut BTreeMap<String, String>,
) -> Result<Outcome, Failure> {
    if !api.is_signed_in() {
        return Err(Failure::Refused(
            "watching needs a sign-in: `remuda login`, or set REMUDA_API_KEY".to_owned(),
        ));
    }
    let mut socket = api.socket("/ws").await?;
    let wanted: Vec<Value> = topics
        .iter()
        .map(|topic| match positions.get(topic) {
            Some(after) => json!({"topic": topic, "after": after}),
            None => json!(topic),
        })
        .collect();
    socket
        .send(&json!({"type": "subscribe", "data": {"topics": wanted}}))
        .await?;
    loop {
        let message = match socket.next().await? {
            Arrived::Message(message) => message,
            Arrived::End(Some((code, words))) if !PASSING.contains(&code) => {
                return Ok(Outcome::Final(words));
            }
            Arrived::End(Some((_, words))) => return Ok(Outcome::Passing(words)),
            Arrived::End(None) => {
                return Ok(Outcome::Passing("the connection was lost".to_owned()));
            }
        };
        match text(&message, "type") {
            "welcome" => {}
            "error" => return Ok(Outcome::Final(text(&message, "error").to_owned())),
            "subscription_confirmed" => confirmed(&message, positions),
            _ => {
                let (topic, id) = (text(&message, "topic"), text(&message, "id"));
                positions.insert(topic.to_owned(), id.to_owned());
                show(context, &message)?;
            }
        }
    }
}

/// Takes the positions, and says where something was missed.
fn confirmed(message: &Value, positions: &mut BTreeMap<String, String>) {
    let Some(data) = message.get("data") else {
        return;
    };
    let members = |name: &str| data.get(name).and_then(Value::as_object);
    for (topic, resumed) in members("resumed").into_iter().flatten() {
        if resumed == &Value::Bool(false) {
            remark(&format!(
                "{topic}: events of the interruption are not kept any more: look at the lists for what changed"
            ));
        }
    }
    for (topic, position) in members("positions").into_iter().flatten() {
        if let Some(position) = position.as_str() {
            positions.insert(topic.clone(), position.to_owned());
        }
    }
}

fn show(context: &Context, message: &Value) -> Result<(), Failure> {
    let out = context.out;
    if out.is_json() {
        return Ok(out.json(message)?);
    }
    let time = text(message, "timestamp");
    // The date is the reader's own; tenths of a second are enough.
    let time = time.get(11..19).unwrap_or(time);
    let data = message.get("data").unwrap_or(&Value::Null);
    Ok(out.line(format!(
        "{}  {}  {}",
        out.paint(Tone::Faint, time),
        out.paint(Tone::Strong, text(message, "topic")),
        described(data)
    ))?)
}

/// Writes members as `name=value`, those of inner objects under their own names.
fn described(data: &Value) -> String {
    let mut parts = Vec::new();
    collect("", data, &mut parts);
    parts.join(" ")
}

fn collect(name: &str, value: &Value, parts: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                let inner = if name.is_empty() || name == "details" {
                    member.clone()
                } else {
                    format!("{name}.{member}")
                };
                collect(&inner, value, parts);
            }
        }
        Value::Null => {}
        Value::String(text) if text.contains(char::is_whitespace) => {
            parts.push(format!("{name}={text:?}"));
        }
        Value::String(text) => parts.push(format!("{name}={text}")),
        other => parts.push(format!("{name}={other}")),
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines_of_names_and_values() {
        let data = json!({
            "node_id": "n", "status": "unhealthy",
            "details": {"action": "node_updated", "reason": "no answer", "routable": false, "none": null},
            "inference": {"in_flight": 3}
        });
        assert_eq!(
            described(&data),
            "node_id=n status=unhealthy action=node_updated reason=\"no answer\" routable=false inference.in_flight=3"
        );
    }

    #[test]
    fn positions_of_a_confirmation_are_kept() {
        let mut positions = BTreeMap::new();
        let message = json!({"data": {"positions": {"inference": "a:1"}, "resumed": {}}});
        confirmed(&message, &mut positions);
        assert_eq!(positions.get("inference").map(String::as_str), Some("a:1"));
    }
}
