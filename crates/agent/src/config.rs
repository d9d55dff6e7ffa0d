//! What an agent is told on its command line.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use primitives::{Clock, SystemClock};
use serde::{Deserialize, Serialize};
use tokio::io::DuplexStream;
use url::Url;

use crate::error::AgentError;
use crate::updates::Updates;

/// The port that a control plane listens on for agents.
const AGENT_PORT: u16 = 11441;

/// How an agent works.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Where the membership is kept.
    pub data_dir: PathBuf,
    /// The model server beside the agent, by plain HTTP.
    pub server: Url,
    /// A model server within this process, in place of the one beside it.
    pub inside: Option<Arc<dyn InsideServer>>,
    /// Where `/health` and the metrics are, if anywhere.
    pub listen: Option<SocketAddr>,
    /// How files of models are shared with other nodes, if they are.
    pub share: Option<ShareConfig>,
    /// Other versions of the program; without it none are taken.
    pub updates: Option<Arc<Updates>>,
    /// The versions of the protocol that it speaks.
    pub protocols: RangeInclusive<u32>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Where `/sys` is found: `/`, but for tests.
    pub root: PathBuf,
}

impl AgentConfig {
    /// Returns the usual settings: the server at `server`, no health page.
    pub fn new(data_dir: PathBuf, server: Url) -> Self {
        Self {
            data_dir,
            server,
            inside: None,
            listen: None,
            share: None,
            updates: None,
            protocols: agent_proto::PROTOCOLS,
            clock: Arc::new(SystemClock::new()),
            root: PathBuf::from("/"),
        }
    }

    /// Checks that the model server can be reached the way that tunnels lead there.
    ///
    /// # Errors
    /// When it is to be reached by TLS or under a path.
    pub fn check(&self) -> Result<(), AgentError> {
        let fits = self.server.scheme() == "http"
            && self.server.host_str().is_some_and(|host| !host.is_empty())
            && matches!(self.server.path(), "" | "/")
            && self.server.query().is_none();
        if fits {
            Ok(())
        } else {
            Err(AgentError::Server(self.server.to_string()))
        }
    }
}

/// How an agent shares files of models: it lets other nodes of the installation fetch them, and has its own server fetch from them.
#[derive(Clone, Debug)]
pub struct ShareConfig {
    /// Where other nodes connect.
    pub listen: SocketAddr,
    /// Where they are told to, as `HOST:PORT`, 8 at most; the machine's own addresses where empty.
    pub told: Vec<String>,
    /// The models directory of the Ollama beside the agent.
    pub models_dir: PathBuf,
}

impl ShareConfig {
    /// Finds the models directory: the one that is given, or the one where Ollama keeps models of a user whose home is `home`, or those
    /// of the system.
    ///
    /// # Errors
    /// When it is no directory, or there is none.
    pub fn find_models_dir(
        given: Option<PathBuf>,
        home: Option<&Path>,
    ) -> Result<PathBuf, AgentError> {
        if let Some(given) = given {
            return if given.is_dir() {
                Ok(given)
            } else {
                let given = given.display();
                Err(AgentError::Share(format!(
                    "{given} is no directory: give Ollama's models directory with --share-dir"
                )))
            };
        }
        let of_user = home.map(|home| home.join(".ollama/models"));
        let of_system = PathBuf::from("/usr/share/ollama/.ollama/models");
        let mut places = of_user.into_iter().chain([of_system]);
        places.find(|place| place.is_dir()).ok_or_else(|| {
            AgentError::Share(
                "the models directory of Ollama is not found: give it with --share-dir, and this user the right to read it"
                    .to_owned(),
            )
        })
    }

    /// Checks what other nodes are told.
    ///
    /// # Errors
    /// When it is not `HOST:PORT`.
    pub fn check(&self) -> Result<(), AgentError> {
        for address in &self.told {
            let parts = address.rsplit_once(':');
            let fits = parts.is_some_and(|(host, port)| {
                !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok()
            });
            if !fits {
                return Err(AgentError::Share(format!(
                    "{address:?} is no address that other nodes could connect to: write --share-as HOST:PORT"
                )));
            }
        }
        Ok(())
    }
}

/// A model server within the agent's process, which nobody else can reach.
pub trait InsideServer: fmt::Debug + Send + Sync {
    /// Opens a connection, over which it answers HTTP/1.1 until the connection is dropped.
    fn connect(&self) -> DuplexStream;
}

/// Where a control plane listens for agents: host and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ControlPlane(String);

impl FromStr for ControlPlane {
    type Err = AgentError;

    /// Reads `https://HOST[:PORT]` or `HOST[:PORT]`; the port is 11441 unless given.
    fn from_str(text: &str) -> Result<Self, AgentError> {
        let wrong = || AgentError::ControlPlane(text.chars().take(200).collect());
        let rest = text.trim().trim_end_matches('/');
        let rest = rest.strip_prefix("https://").unwrap_or(rest);
        if rest.is_empty() || rest.contains("://") {
            return Err(wrong());
        }
        let url = Url::parse(&format!("https://{rest}")).map_err(|_| wrong())?;
        let host = url.host_str().ok_or_else(wrong)?;
        if !matches!(url.path(), "" | "/") || !url.username().is_empty() {
            return Err(wrong());
        }
        // The scheme's own port counts as none in a URL, and only the text still has it.
        let port = match url.port() {
            Some(port) => port,
            None if rest.ends_with(":443") => 443,
            None => AGENT_PORT,
        };
        Ok(Self(format!("{host}:{port}")))
    }
}

impl TryFrom<String> for ControlPlane {
    type Error = AgentError;

    fn try_from(text: String) -> Result<Self, AgentError> {
        text.parse()
    }
}

impl From<ControlPlane> for String {
    fn from(address: ControlPlane) -> Self {
        address.0
    }
}

impl ControlPlane {
    /// Returns `host:port`, for connecting.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ControlPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_becomes_host_and_port() {
        for (typed, address) in [
            ("https://remuda.lan:11441", "remuda.lan:11441"),
            ("https://remuda.lan/", "remuda.lan:11441"),
            ("remuda.lan", "remuda.lan:11441"),
            ("10.0.0.7:9000", "10.0.0.7:9000"),
            ("[::1]:9000", "[::1]:9000"),
            ("https://remuda.lan:443", "remuda.lan:443"),
        ] {
            assert_eq!(typed.parse::<ControlPlane>().unwrap().as_str(), address);
        }
        for wrong in ["", "http://remuda.lan", "https://remuda.lan/path", "a b"] {
            let error = wrong.parse::<ControlPlane>().unwrap_err().to_string();
            assert!(error.contains("https://HOST:11441"), "{wrong}: {error}");
        }
    }

    #[test]
    fn the_models_directory_is_the_given_one_or_the_users() {
        let home = tempfile::tempdir().unwrap();
        let find = |given: Option<PathBuf>| ShareConfig::find_models_dir(given, Some(home.path()));
        let missing = find(Some(home.path().join("missing"))).unwrap_err();
        assert!(missing.to_string().contains("--share-dir"), "{missing}");
        let of_user = home.path().join(".ollama/models");
        std::fs::create_dir_all(&of_user).unwrap();
        assert_eq!(find(None).unwrap(), of_user);
        let given = Some(home.path().to_owned());
        assert_eq!(find(given).unwrap(), home.path());
    }

    #[test]
    fn other_nodes_are_told_hosts_with_ports() {
        let check = |told: &str| {
            let listen = ([0, 0, 0, 0], 11443).into();
            let (told, models_dir) = (vec![told.to_owned()], PathBuf::new());
            ShareConfig {
                listen,
                told,
                models_dir,
            }
            .check()
        };
        assert!(check("gpu1.lan:11443").is_ok() && check("[fd00::1]:11443").is_ok());
        for wrong in ["gpu1.lan", "https://gpu1.lan:1", ":1", "gpu1:port", ""] {
            let error = check(wrong).unwrap_err().to_string();
            assert!(error.contains("--share-as"), "{wrong}: {error}");
        }
    }

    #[test]
    fn only_a_plain_server_can_stand_beside_an_agent() {
        let check = |url: &str| AgentConfig::new("x".into(), url.parse().unwrap()).check();
        assert!(check("http://127.0.0.1:11434").is_ok());
        assert!(check("https://127.0.0.1:11434").is_err());
        assert!(check("http://127.0.0.1:11434/ollama").is_err());
    }
}
