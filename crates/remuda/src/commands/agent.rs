//! `remuda agent`: the machine beside a model server becomes a node, and stays one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent::{
    Agent, AgentConfig, AgentError, ControlPlane, Ended, InsideServer, Membership, ShareConfig,
    Updates,
};
use agent_proto::Invitation;
use clap::Args;
use engine::{Engine, EngineConfig, LoadOutcome};
use gateway::EngineServer;
use primitives::{Clock, SystemClock};
use tokio::io::DuplexStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::agent_announce;
use super::agent_update::{self, Next};
use super::context::Context;
use super::failure::Failure;
use super::signals::Signals;
use crate::config::{LogSection, parse_address};
use crate::output::remark;
use crate::rest::{give_memory_back_at_rest, stay_small};

/// How long a signal may take from the system to here.
const LISTENING: Duration = Duration::from_millis(5);

/// Makes this machine a node: links it to a Remuda, carries requests to the model server here, reads the hardware.
///
/// It dials out, so that no port needs to be open here. `remuda node invite NAME` prints the line that joins; what this
/// machine is from then on is kept in its data directory, and later starts need no options.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda agent --join https://remuda.lan:11441 --token rmdj_...   join, and go on as a node
  remuda agent                                                    link again, after a restart
  remuda agent --announce                                         show on the network until it has joined
  remuda agent --model-server http://127.0.0.1:8000               beside vLLM or llama-server
  remuda agent --share 0.0.0.0:11443                              other nodes fetch models from here
  remuda agent --update-key rmdk_...                              take signed updates from its Remuda
  remuda agent --model qwen3-4b.gguf --models /srv/models         no other server: serve these model files")]
pub(super) struct AgentCommand {
    /// Where the Remuda to join listens for agents.
    #[arg(long, value_name = "URL", requires = "token")]
    join: Option<String>,
    /// The invitation. Other users of this machine can see it while the command runs; it works once.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "REMUDA_AGENT_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    /// Until this machine has joined: say on the local network (multicast DNS) that it is there, with a code that is shown here. Nobody
    /// is let in by it; `remuda node discovered` lists it.
    #[arg(long, conflicts_with = "join")]
    announce: bool,
    /// The interface to say so on, such as eth0; all unless given. Repeatable.
    #[arg(long = "announce-on", value_name = "NAME", requires = "announce")]
    announce_on: Vec<String>,
    /// The model server on this machine.
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:11434",
        env = "REMUDA_AGENT_MODEL_SERVER"
    )]
    model_server: Url,
    /// A model file (GGUF) that the agent serves itself, with no other model server. Repeatable.
    #[arg(long = "model", value_name = "PATH", conflicts_with = "model_server")]
    models: Vec<PathBuf>,
    /// A directory all of whose model files the agent serves itself.
    #[arg(
        long = "models",
        value_name = "DIR",
        env = "REMUDA_AGENT_MODELS",
        conflicts_with = "model_server"
    )]
    models_dir: Option<PathBuf>,
    /// Serve the built-in demo model.
    #[arg(long, conflicts_with = "model_server")]
    demo: bool,
    /// Where /health and /api/v1/metrics/current are.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:11442", value_parser = parse_address)]
    listen: SocketAddr,
    /// Share the model files of the Ollama here with other nodes, and let it fetch from them: where they connect, as
    /// 0.0.0.0:11443. Only nodes of the same Remuda get anything, and only what it tells them to fetch.
    #[arg(
        long,
        value_name = "ADDR",
        value_parser = parse_address,
        env = "REMUDA_AGENT_SHARE",
        conflicts_with_all = ["models", "models_dir", "demo"]
    )]
    share: Option<SocketAddr>,
    /// Where other nodes reach that address, if not at this machine's own addresses. Repeatable.
    #[arg(long = "share-as", value_name = "HOST:PORT", requires = "share")]
    share_as: Vec<String>,
    /// Ollama's models directory; ~/.ollama/models or /usr/share/ollama/.ollama/models unless set.
    #[arg(long, value_name = "DIR", env = "OLLAMA_MODELS")]
    share_dir: Option<PathBuf>,
    /// The key whose signed releases this agent takes from its Remuda, as `remuda agent-release keygen` printed it; remembered.
    /// `none`: it takes no updates any more.
    #[arg(long, value_name = "KEY", env = "REMUDA_AGENT_UPDATE_KEY")]
    update_key: Option<String>,
    /// Where the membership and later versions are kept; `remuda/agent` in the user's data directory unless set.
    #[arg(long, value_name = "DIR", env = "REMUDA_AGENT_DATA")]
    data: Option<PathBuf>,
}

impl AgentCommand {
    /// Starts the agent's own engine, if it was told of models.
    fn engine(&self) -> Result<Option<Arc<dyn InsideServer>>, Failure> {
        if self.models.is_empty() && self.models_dir.is_none() && !self.demo {
            return Ok(None);
        }
        let directory = self.models_dir.as_ref();
        if let Some(missing) = directory.filter(|directory| !directory.is_dir()) {
            return Err(Failure::Usage(format!(
                "{} is no directory: give the one that the model files are in",
                missing.display()
            )));
        }
        engine::reserve_compute_threads(None);
        let (engine, reports) = Engine::start(&EngineConfig {
            models: self.models.clone(),
            models_dir: self.models_dir.clone(),
            demo: self.demo,
            ..EngineConfig::default()
        });
        for report in reports {
            match report.outcome {
                LoadOutcome::Loaded => remark(&format!("serves {}", report.name)),
                LoadOutcome::Refused(why) => {
                    return Err(Failure::Usage(format!(
                        "{} cannot be served: {why}",
                        report.name
                    )));
                }
            }
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        Ok(Some(Arc::new(OwnEngine(EngineServer::new(engine, clock)))))
    }

    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let data_dir = match &self.data {
            Some(directory) => directory.clone(),
            None => context
                .environment
                .data_home()
                .map(|home| home.join("remuda").join("agent"))
                .ok_or_else(|| {
                    Failure::Usage("HOME is not set: set it, or use --data".to_owned())
                })?,
        };
        if self.announce && !agent_announce::until_member(&data_dir, &self.announce_on).await? {
            return Ok(());
        }
        let _alone = agent_update::alone(&data_dir, context)?;
        let updates = agent_update::open(&data_dir, self.update_key.as_deref(), context)?;
        // Before any other thread starts: the compute library takes its thread count from the environment, once.
        let inside = self.engine()?;
        let log = LogSection::default();
        let log = telemetry::install(log.format, &log.level).map_err(Failure::Runtime)?;
        let config = self.config(context, data_dir, inside, &updates)?;
        let refused = |error: AgentError| Failure::Refused(error.to_string());
        if let Some(url) = &self.join {
            let usage = |error: AgentError| Failure::Usage(error.to_string());
            let control_plane: ControlPlane = url.parse().map_err(usage)?;
            let invitation: Invitation =
                self.token.as_deref().unwrap_or_default().parse().map_err(
                    |error: agent_proto::InvitationError| Failure::Usage(error.to_string()),
                )?;
            let joined: Membership = agent::join(&config, control_plane, invitation)
                .await
                .map_err(refused)?;
            remark(&format!("joined as the node {}", joined.node_name));
        }
        // An engine has more use of large pages than of a small look.
        if config.inside.is_none() {
            stay_small();
        }
        let stop_resting = CancellationToken::new();
        let _at_the_end = stop_resting.clone().drop_guard();
        tokio::spawn(give_memory_back_at_rest(stop_resting));
        let mut signals = Signals::listen().map_err(Failure::Runtime)?;
        let before_us_is_gone = agent_update::before_us_is_gone();
        // A node is worth more than its page: who takes the address between two versions does not end it.
        let mut may_lack_page = updates.is_on_trial();
        loop {
            let opened = match Agent::open(config.clone()).await {
                Err(AgentError::Listen(address, error)) if may_lack_page => {
                    remark(&format!("no health page: {address} cannot be had: {error}"));
                    let mut config = config.clone();
                    config.listen = None;
                    Agent::open(config).await
                }
                opened => opened,
            };
            may_lack_page = true;
            let agent = opened.map_err(refused)?;
            introduce(&agent, &updates);
            let stop = CancellationToken::new();
            let running = agent.run(stop.clone());
            let mut running = std::pin::pin!(running);
            let ended = tokio::select! {
                ended = &mut running => ended,
                () = signals.stop() => {
                    stop.cancel();
                    running.await
                }
                () = before_us_is_gone.cancelled() => {
                    stop.cancel();
                    running.await
                }
            };
            match ended {
                Ended::Stopped if updates.is_on_trial() => {
                    return Err(Failure::Refused(
                        "this version was stopped while it was on trial".to_owned(),
                    ));
                }
                Ended::Stopped | Ended::TrialPassed => return Ok(()),
                Ended::TrialFailed(reason) => return Err(Failure::Refused(reason)),
                Ended::ForTrial(taken) => {
                    match agent_update::try_and_keep(&updates, &taken, signals.stop()).await {
                        // A signal that came while that was noted would be lost with this program.
                        Next::HandOver if timeout(LISTENING, signals.stop()).await.is_ok() => {
                            return Ok(());
                        }
                        Next::HandOver => {
                            // Its last lines are written first.
                            drop(log);
                            return Err(agent_update::hand_over(&updates, taken.program()));
                        }
                        Next::GoOn => {}
                        Next::Stop => return Ok(()),
                    }
                }
            }
        }
    }

    /// Puts together what the agent is told.
    fn config(
        &self,
        context: &Context,
        data_dir: PathBuf,
        inside: Option<Arc<dyn InsideServer>>,
        updates: &Arc<Updates>,
    ) -> Result<AgentConfig, Failure> {
        let usage = |error: AgentError| Failure::Usage(error.to_string());
        let mut config = AgentConfig::new(data_dir, self.model_server.clone());
        config.listen = Some(self.listen);
        config.inside = inside;
        config.updates = Some(Arc::clone(updates));
        if let Some(listen) = self.share {
            let home = context.environment.get("HOME").map(PathBuf::from);
            let models_dir = ShareConfig::find_models_dir(self.share_dir.clone(), home.as_deref())
                .map_err(usage)?;
            let share = ShareConfig {
                listen,
                told: self.share_as.clone(),
                models_dir,
            };
            share.check().map_err(usage)?;
            config.share = Some(share);
        }
        config.check().map_err(usage)?;
        Ok(config)
    }
}

/// Says where everything is.
fn introduce(agent: &Agent, updates: &Updates) {
    if let Some(address) = agent.share_address() {
        remark(&format!("shares model files on {address}"));
    }
    let page = agent.page_address().map_or_else(String::new, |page| {
        format!(": health at http://{page}/health")
    });
    match updates.key() {
        Some(key) => remark(&format!("takes updates that are signed with {key}")),
        None => remark("takes no updates: start it with --update-key KEY to change that"),
    }
    if let Some(failure) = updates.failure() {
        remark(&format!(
            "the last version that came was not kept: {failure}"
        ));
    }
    remark(&format!(
        "agent {} of the node {}{page}; Ctrl-C ends it",
        updates.own(),
        agent.node_name()
    ));
}

/// The agent's own engine, reached by pipes within the process.
#[derive(Debug)]
struct OwnEngine(EngineServer);

/// What a pipe holds before the writer waits.
const PIPE: usize = 64 << 10;

impl InsideServer for OwnEngine {
    fn connect(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        tokio::spawn(self.0.clone().serve(theirs));
        ours
    }
}
