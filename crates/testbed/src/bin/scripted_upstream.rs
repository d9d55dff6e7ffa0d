//! A scripted upstream as a process of its own, for tests whose clients are programs. Runs until it is ended.

use std::io::Write as _;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use testbed::{EmbeddingPace, Flavour, Script, ScriptedModel, ScriptedUpstream};

/// A model server under a script, on a free port of the loopback interface.
#[derive(Parser)]
struct Arguments {
    /// The server it looks like.
    #[arg(value_enum)]
    server: Kind,
    /// A model for chat and completion, in memory. Repeatable.
    #[arg(long = "chat", value_name = "MODEL")]
    chat: Vec<String>,
    /// A model for embeddings. Repeatable.
    #[arg(long = "embedding", value_name = "MODEL")]
    embedding: Vec<String>,
    /// Microseconds for every embedding call, one call at a time.
    #[arg(long, default_value_t = 0)]
    embedding_call_us: u64,
    /// Microseconds for every embedded input.
    #[arg(long, default_value_t = 0)]
    embedding_input_us: u64,
    /// Prompt tokens read per second, one prompt after the other; at once when absent.
    #[arg(long)]
    prefill_tokens_per_s: Option<f64>,
    /// Microseconds between the tokens of an answer.
    #[arg(long, default_value_t = 0)]
    token_us: u64,
    /// The bearer key that it demands.
    #[arg(long)]
    api_key: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Ollama,
    Vllm,
    LlamaServer,
    Other,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let flavour = match arguments.server {
        Kind::Ollama => Flavour::Ollama,
        Kind::Vllm => Flavour::Vllm,
        Kind::LlamaServer => Flavour::LlamaServer,
        Kind::Other => Flavour::Other,
    };
    let mut builder = ScriptedUpstream::builder(flavour).script(Script {
        prefill_tokens_per_s: arguments.prefill_tokens_per_s,
        token_delay: Duration::from_micros(arguments.token_us),
        embedding: EmbeddingPace {
            call: Duration::from_micros(arguments.embedding_call_us),
            input: Duration::from_micros(arguments.embedding_input_us),
        },
        ..Script::default()
    });
    for name in &arguments.chat {
        builder = builder.model(ScriptedModel::chat(name).loaded());
    }
    for name in &arguments.embedding {
        builder = builder.model(ScriptedModel::embedding(name));
    }
    if let Some(key) = &arguments.api_key {
        builder = builder.api_key(key);
    }
    let upstream = builder.start()?;
    writeln!(std::io::stdout(), "listening on {}", upstream.address())?;
    loop {
        std::thread::park();
    }
}
