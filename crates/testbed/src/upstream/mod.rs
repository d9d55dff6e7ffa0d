//! A model server under a script: speaks the real dialects over real sockets, and fails as told.
//!
//! Every answer is a function of the prompt ([`Answer`]), whichever server and dialect gives it, and a request that
//! brings the beginning of the answer gets exactly the rest. Joined texts can therefore be compared byte by byte.
//! One token goes into one chunk; usage counts are exact.

mod answer;
mod ask;
mod body;
mod catalogue;
pub mod directives;
mod embed;
mod files;
mod flavour;
mod gate;
mod models;
mod plan;
mod pull;
mod record;
mod registry_pull;
mod script;
mod server;
mod service;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

pub use answer::Answer;
pub use files::ModelFiles;
pub use flavour::Flavour;
pub use gate::Gate;
pub use models::ScriptedModel;
pub use record::{Cancellation, Counters, SeenRequest};
pub use script::{CannedAnswer, Chunking, EmbeddingPace, Ending, Fault, Script, ToolCall};

use record::Record;
use server::Server;
use service::Node;

/// A running scripted upstream. Stops when dropped.
///
/// It runs on a thread of its own and can be used from any test, asynchronous or not.
pub struct ScriptedUpstream {
    node: Arc<Node>,
    server: Mutex<Server>,
    address: SocketAddr,
}

/// What an upstream starts with.
pub struct Builder {
    name: String,
    flavour: Flavour,
    api_key: Option<String>,
    models: Vec<ScriptedModel>,
    files: Option<ModelFiles>,
    script: Script,
}

impl Builder {
    /// Names the upstream, for `node=` in directives.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Adds a model. Without any the upstream has `test-model:latest` (OpenAI flavours: `test-model`), loaded.
    #[must_use]
    pub fn model(mut self, model: ScriptedModel) -> Self {
        self.models.push(model);
        self
    }

    /// Keeps models in this directory, and pulls them as Ollama does. Those of [`Self::model`] have no files.
    #[must_use]
    pub fn files(mut self, files: &ModelFiles) -> Self {
        self.files = Some(files.clone());
        self
    }

    /// Demands a bearer key, where the real server would.
    #[must_use]
    pub fn api_key(mut self, key: &str) -> Self {
        self.api_key = Some(key.to_owned());
        self
    }

    /// Sets the script.
    #[must_use]
    pub fn script(mut self, script: Script) -> Self {
        self.script = script;
        self
    }

    /// Starts it on a free port of the loopback interface.
    ///
    /// # Errors
    /// Fails when no thread or port is to be had.
    pub fn start(mut self) -> anyhow::Result<ScriptedUpstream> {
        if self.models.is_empty() && self.files.is_none() {
            let name = if self.flavour == Flavour::Ollama {
                "test-model:latest"
            } else {
                "test-model"
            };
            self.models.push(ScriptedModel::chat(name).loaded());
        }
        let mut server = Server::start(&self.name)?;
        let node = Arc::new(Node {
            name: self.name,
            flavour: self.flavour,
            api_key: self.api_key,
            script: Mutex::new(self.script),
            next_faults: Mutex::default(),
            models: Mutex::new(self.models),
            files: self.files,
            blobs: Mutex::default(),
            record: Record::default(),
            responses: 0.into(),
            embedder: tokio::sync::Mutex::default(),
            puller: tokio::sync::Mutex::default(),
            reader: tokio::sync::Mutex::default(),
        });
        server.revive(&node)?;
        let address = server.address();
        Ok(ScriptedUpstream {
            node,
            server: Mutex::new(server),
            address,
        })
    }
}

impl ScriptedUpstream {
    /// Returns a builder for an upstream of that flavour.
    pub fn builder(flavour: Flavour) -> Builder {
        let name = format!("{flavour:?}").to_ascii_lowercase();
        Builder {
            name,
            flavour,
            api_key: None,
            models: Vec::new(),
            files: None,
            script: Script::default(),
        }
    }

    /// Starts an upstream with the one default model.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn start(flavour: Flavour) -> anyhow::Result<Self> {
        Self::builder(flavour).start()
    }

    /// Returns the base URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns where it listens. A restart does not change it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the name that `node=` in directives refers to.
    pub fn name(&self) -> &str {
        &self.node.name
    }

    /// Returns the server it looks like.
    pub fn flavour(&self) -> Flavour {
        self.node.flavour
    }

    /// Changes the script for requests from now on.
    pub fn edit_script(&self, edit: impl FnOnce(&mut Script)) {
        edit(&mut self.node.script.lock());
    }

    /// Lets the next inference request go wrong, whoever sends it: a one-token health check counts. Repeated calls queue up.
    pub fn fail_next(&self, fault: Fault) {
        self.node.next_faults.lock().push_back(fault);
    }

    /// Returns the models as they are now.
    pub fn models(&self) -> Vec<ScriptedModel> {
        self.node.models.lock().clone()
    }

    /// Changes the models, as another user of the server might.
    pub fn edit_models(&self, edit: impl FnOnce(&mut Vec<ScriptedModel>)) {
        edit(&mut self.node.models.lock());
    }

    /// Puts a model with files there, one blob for each of `layers`. Returns its digest.
    ///
    /// # Errors
    /// Fails when it was started without a directory, or that cannot be written.
    pub fn add_files(&self, name: &str, layers: &[&[u8]]) -> anyhow::Result<String> {
        let files = self.node.files.as_ref();
        let files = files.ok_or_else(|| anyhow::anyhow!("no directory for models"))?;
        let (digest, size_bytes) = files.add(name, layers)?;
        self.edit_models(|models| {
            models.push(ScriptedModel {
                digest: digest.clone(),
                size_bytes,
                ..ScriptedModel::chat(name)
            });
        });
        Ok(digest)
    }

    /// Returns the last 4,096 requests, oldest first.
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.node.record.requests()
    }

    /// Returns those of the last requests that went to a path.
    pub fn requests_to(&self, path: &str) -> Vec<SeenRequest> {
        self.requests()
            .into_iter()
            .filter(|request| request.uri.path() == path)
            .collect()
    }

    /// Returns the counters.
    pub fn counters(&self) -> Counters {
        self.node.record.counters()
    }

    /// Returns the last 4,096 requests whose client went away, oldest first.
    pub fn cancellations(&self) -> Vec<Cancellation> {
        self.node.record.cancellations()
    }

    /// Waits until the counters satisfy `condition`, 10 s at most, and returns them.
    ///
    /// # Errors
    /// Shows the counters as they stand when the time is up.
    pub async fn wait_for(
        &self,
        condition: impl Fn(&Counters) -> bool,
    ) -> anyhow::Result<Counters> {
        let met = crate::wait_until("the counters are right", Duration::from_secs(10), || {
            condition(&self.counters())
        });
        if let Err(error) = met.await {
            anyhow::bail!("{error}: {:?}", self.counters());
        }
        Ok(self.counters())
    }

    /// Kills it: the port refuses connections, all connections close, as when the process dies. The port stays reserved.
    pub fn kill(&self) {
        self.node.record.set_dead(true);
        self.server.lock().kill();
    }

    /// Revives it on the same port, with models, script and counters as they were. Does nothing when alive.
    ///
    /// # Errors
    /// Fails when the port cannot be listened on.
    pub fn restart(&self) -> anyhow::Result<()> {
        self.node.record.set_dead(false);
        self.server.lock().revive(&self.node)
    }
}
