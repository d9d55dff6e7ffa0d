//! `remuda create`: makes a model out of another one.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::context::Context;
use super::failure::Failure;
use super::modelfile::{self, Modelfile};
use super::transfer::{at_nodes, follow};

/// Makes a model out of another one: with a system message, parameters, a template, or fewer bits.
#[derive(Debug, Args)]
#[command(
    after_long_help = "What is given here counts more than what the file says. Without --node it is made where the model that it comes
from is. For models out of files use Ollama's own command: OLLAMA_HOST=http://SERVER ollama create.

Examples:
  remuda create assistant --from llama3.2 --system 'You answer in one sentence.'
  remuda create assistant --from llama3.2 --parameter temperature=0.2 --parameter num_ctx=8192
  remuda create small --from qwen3:8b-fp16 --quantize q4_K_M --node gpu1
  remuda create assistant -f Modelfile"
)]
pub(super) struct Create {
    /// Its name.
    model: String,
    /// The model that it is made of.
    #[arg(long, value_name = "MODEL", required_unless_present = "file")]
    from: Option<String>,
    /// A Modelfile.
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What it is told before every conversation.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// How a conversation becomes its prompt.
    #[arg(long, value_name = "TEXT")]
    template: Option<String>,
    /// A parameter. Repeatable; one that takes several values is given several times.
    #[arg(long = "parameter", value_name = "NAME=VALUE")]
    parameters: Vec<String>,
    /// Store it with fewer bits, as `q4_K_M`.
    #[arg(long, value_name = "KIND")]
    quantize: Option<String>,
    /// The node to make it on.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

impl Create {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let nodes: Vec<String> = self.node.clone().into_iter().collect();
        let body = self.body()?;
        follow(context, &at_nodes("/api/create", &nodes), &body).await
    }

    fn body(self) -> Result<Value, Failure> {
        let mut wanted = match &self.file {
            None => Modelfile::default(),
            Some(file) => {
                let refused = |why: String| Failure::Refused(format!("{}: {why}", file.display()));
                let text = std::fs::read_to_string(file)
                    .map_err(|error| refused(format!("cannot be read: {error}")))?;
                modelfile::parse(&text).map_err(refused)?
            }
        };
        wanted.from = self.from.or(wanted.from);
        wanted.system = self.system.or(wanted.system);
        wanted.template = self.template.or(wanted.template);
        let mut given = Vec::new();
        for parameter in &self.parameters {
            let (name, value) = parameter.split_once('=').ok_or_else(|| {
                Failure::Refused(format!("{parameter} is no parameter: write NAME=VALUE"))
            })?;
            given.push((name.to_owned(), value.to_owned()));
        }
        wanted
            .parameters
            .retain(|(name, _)| !given.iter().any(|(other, _)| other == name));
        wanted.parameters.extend(given);
        let mut body = json!({"model": self.model, "from": wanted.from, "stream": true});
        for (name, value) in [
            ("system", wanted.system.map(Value::from)),
            ("template", wanted.template.map(Value::from)),
            ("quantize", self.quantize.map(Value::from)),
            (
                "license",
                list(wanted.licenses.into_iter().map(Value::from)),
            ),
            (
                "messages",
                list(
                    wanted
                        .messages
                        .into_iter()
                        .map(|(role, content)| json!({"role": role, "content": content})),
                ),
            ),
            ("parameters", parameters(wanted.parameters)),
        ] {
            if let Some(value) = value {
                body[name] = value;
            }
        }
        Ok(body)
    }
}

fn list(values: impl Iterator<Item = Value>) -> Option<Value> {
    let values: Vec<Value> = values.collect();
    (!values.is_empty()).then_some(Value::Array(values))
}

/// Returns parameters as Ollama takes them: numbers and truth values as such, `stop` always as a list.
fn parameters(given: Vec<(String, String)>) -> Option<Value> {
    let mut all = Map::new();
    for (name, text) in given {
        if name == "stop" {
            let stops = all.entry(name).or_insert_with(|| json!([]));
            if let Value::Array(stops) = stops {
                stops.push(text.into());
            }
            continue;
        }
        let value = match serde_json::from_str(&text) {
            Ok(value @ (Value::Number(_) | Value::Bool(_))) => value,
            _ => Value::from(text),
        };
        all.insert(name, value);
    }
    (!all.is_empty()).then_some(Value::Object(all))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        create: Create,
    }

    fn body(arguments: &[&str]) -> Value {
        let line = ["create"].iter().chain(arguments);
        Line::try_parse_from(line).unwrap().create.body().unwrap()
    }

    #[test]
    fn options_become_what_ollama_takes() {
        let options = [
            "assistant",
            "--from",
            "llama3.2",
            "--system",
            "Be brief.",
            "--parameter",
            "temperature=0.2",
            "--parameter",
            "stop=</s>",
            "--parameter",
            "stop=User:",
            "--quantize",
            "q4_K_M",
        ];
        assert_eq!(
            body(&options),
            json!({"model": "assistant", "from": "llama3.2", "stream": true, "system": "Be brief.", "quantize": "q4_K_M",
                "parameters": {"temperature": 0.2, "stop": ["</s>", "User:"]}})
        );
    }

    #[test]
    fn options_count_more_than_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "FROM llama3.2\nPARAMETER temperature 1\nPARAMETER num_ctx 8192\nSYSTEM Be long.\nMESSAGE user Hello\n";
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(
            body(&[
                "assistant",
                "-f",
                path,
                "--parameter",
                "temperature=0",
                "--system",
                "Be brief."
            ]),
            json!({"model": "assistant", "from": "llama3.2", "stream": true, "system": "Be brief.",
                "parameters": {"temperature": 0, "num_ctx": 8192}, "messages": [{"role": "user", "content": "Hello"}]})
        );
    }
}
