//! `remuda up`: the server, from start to the signal to stop.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use telemetry::LogFormat;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::failure::Failure;
use super::signals::{Signals, Wish};
use super::start_args::StartArgs;
use crate::config::{Config, Environment};
use crate::start::{self, Invitation, Running, Standing, banner, open_files};

/// The most threads of the control plane: the data plane has its own.
const CONTROL_THREADS: usize = 2;

/// Niceness of the control plane's threads, of SQLite's and of the engine's, which they start: a token on its way goes before a record
/// that is written, also where both share a core (sched(7)).
const CONTROL_NICENESS: i32 = 5;

/// How long tasks may linger when everything has been told to stop.
const LAST_MOMENTS: Duration = Duration::from_millis(500);

/// Starts Remuda on this machine: gateway, control plane, embedded engine.
///
/// It listens on 127.0.0.1:11440, keeps its data in ~/.local/share/remuda (SQLite), serves the built-in demo model,
/// and takes a local Ollama as a node if one answers. Ctrl-C or SIGTERM lets open streams finish (30 seconds at most);
/// a second one ends them at once. SIGHUP reads the configuration again.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda up
  remuda up --model ~/models/qwen3-4b-q4_k_m.gguf
  remuda up --listen 0.0.0.0:11440              other machines too: every call needs a key then
  remuda up --data /var/lib/remuda --config /etc/remuda.toml
  REMUDA_STORE__URL=postgres://remuda@db/remuda remuda serve

A configuration file, with some of its keys:
  [server]
  listen = \"0.0.0.0:11440\"
  [engine]
  models = [\"/models/qwen3-4b-q4_k_m.gguf\"]
  [[nodes]]
  name = \"gpu1\"
  url = \"http://gpu1:11434\"
  [models.\"llama3.2\"]
  fallbacks = [\"qwen3:4b\"]
  [aliases]
  assistant = \"llama3.2\"")]
pub(super) struct Up {
    #[command(flatten)]
    start: StartArgs,
}

impl Up {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        let overrides = self.start.into_overrides();
        let loaded = Config::load(&context.environment, &overrides)?;
        // Before any other thread starts: the compute library takes its thread count from the environment, once.
        engine::reserve_compute_threads(loaded.config.engine.threads);
        let format = loaded.config.log.format;
        let log = telemetry::install(format, &loaded.config.log.level).map_err(Failure::Runtime)?;
        open_files::raise();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(control_threads())
            .thread_name("control")
            .on_thread_start(step_back)
            .enable_all()
            .build()
            .map_err(Failure::Runtime)?;
        let result = runtime.block_on(Box::pin(async {
            let mut signals = Signals::listen().map_err(Failure::Runtime)?;
            let drain = Duration::from_secs(loaded.config.server.drain_seconds);
            let mut running = start::start(loaded.config).await?;
            running.found.config_file = loaded.file;
            running.found.warnings.extend(loaded.warnings);
            announce(context, &running)?;
            let mut standing = Standing::new(loaded.values);
            while signals.next().await == Wish::Reload {
                let read = Config::load(&context.environment, &overrides);
                running.reload(read, &mut standing).await;
            }
            tracing::info!(
                limit_s = drain.as_secs(),
                "stopping: open streams may finish"
            );
            if !context.out.is_json() && format == LogFormat::Text {
                // By way of the log: standard error that nobody reads must not hold up the end.
                log.remark("Stopping; open streams may finish. Ctrl-C again ends them at once.");
            }
            let hurry = CancellationToken::new();
            let mut stopping = Box::pin(running.shutdown_within(drain, &hurry));
            tokio::select! {
                () = &mut stopping => return Ok(()),
                () = signals.stop() => tracing::warn!("stopped in a hurry: open streams are cut"),
            }
            hurry.cancel();
            tokio::select! {
                () = &mut stopping => {}
                // Whoever asks a third time does not want to wait for the database either.
                () = signals.stop() => {}
            }
            Ok(())
        }));
        runtime.shutdown_timeout(LAST_MOMENTS);
        result
    }
}

/// No more than processors: two threads on one of them wake each other for nothing.
fn control_threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    processors.min(CONTROL_THREADS)
}

/// Lowers the priority of the calling thread and of those that it will start. Where that is refused nothing is lost but a little evenness.
fn step_back() {
    if let Err(error) = rustix::process::nice(CONTROL_NICENESS) {
        tracing::debug!(%error, "the priority of a thread could not be lowered");
    }
}

fn announce(context: &Context, running: &Running) -> Result<(), Failure> {
    let token = running
        .setup_token
        .as_ref()
        .map(|token| token.expose().as_str());
    if context.out.is_json() {
        return Ok(context.out.json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "address": running.addr,
            "url": running.url,
            "auth_required": running.auth_required,
            "setup_token": token,
            "found": running.found,
        }))?);
    }
    let program = program_name(&context.environment);
    let invitation = Invitation {
        address: running.addr,
        url: &running.url,
        auth_required: running.auth_required,
        setup_token: token,
        program: &program,
    };
    Ok(context
        .out
        .text(&banner::text(&running.found, &invitation))?)
}

/// Returns what a person has to type to run this program again: its name when it is on the path, else where it is.
fn program_name(environment: &Environment) -> String {
    let Ok(this) = std::env::current_exe() else {
        return "remuda".to_owned();
    };
    let is_on_path = environment
        .get("PATH")
        .into_iter()
        .flat_map(std::env::split_paths)
        .find_map(|directory| directory.join("remuda").canonicalize().ok())
        .is_some_and(|found| Some(found) == this.canonicalize().ok());
    if is_on_path {
        return "remuda".to_owned();
    }
    let here: Option<PathBuf> = std::env::current_dir().ok();
    here.as_deref()
        .and_then(|here| this.strip_prefix(here).ok())
        .map_or_else(|| this.display().to_string(), relative)
}

fn relative(path: &Path) -> String {
    if path.components().count() == 1 {
        format!("./{}", path.display())
    } else {
        path.display().to_string()
    }
}
