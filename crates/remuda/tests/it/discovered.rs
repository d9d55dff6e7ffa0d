//! Agents that belong nowhere are found on the network, here the loopback interface, and let in by nothing but an invitation.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::{Flavour, ScriptedUpstream};

use crate::harness::{Home, Server, one_line_refusal, send_signal, succeed};

const LISTENING: &str =
    "[agents]\nlisten = \"127.0.0.1:0\"\ndiscovery = true\ndiscovery_interfaces = [\"lo\"]\n";
/// Multicast DNS takes its time: names are probed for, and answers wait for each other.
const PATIENCE: Duration = Duration::from_mins(1);

/// `remuda agent`, and what it says.
struct AgentProcess {
    child: Child,
    said: BufReader<std::process::ChildStderr>,
}

impl AgentProcess {
    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        Self { child, said }
    }

    /// Reads on until a line that says so.
    fn until_said(&mut self, words: &str) -> String {
        let mut lines = (&mut self.said).lines().map(Result::unwrap);
        lines
            .find(|line| line.contains(words))
            .unwrap_or_else(|| panic!("it ended without a word of {words:?}"))
    }

    fn stop(mut self) -> Option<i32> {
        send_signal(self.child.id(), "TERM");
        self.child.wait().unwrap().code()
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn log_in(home: &Home, server: &Server) {
    succeed(
        home.remuda(["login", "--password-stdin", "--server", server.url()])
            .stdin(home.password_file()),
    );
}

/// Asks until what the server has heard is as it should be; other tests may announce agents there, too.
fn until_heard(home: &Home, server: &Server, what: &str, fits: impl Fn(&[Value]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let told =
            succeed(&mut home.remuda(["node", "discovered", "--json", "--server", server.url()]));
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["listening"], json!(true));
        if fits(told["items"].as_array().unwrap()) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "waited in vain until {what}: {told:#}"
        );
    }
}

#[test]
fn an_agent_that_announces_itself_is_listed_and_joins_by_an_invitation_alone() {
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let home = Home::new();
    let server = Server::start(home.up_over(&[], LISTENING));
    log_in(&home, &server);
    let agent = || {
        let mut command = home.remuda(["agent", "--listen", "127.0.0.1:0"]);
        command.args(["--model-server", &upstream.url()]);
        command
    };
    let announce = ["--announce", "--announce-on", "lo"];
    let mut waiting = AgentProcess::spawn(agent().args(announce));
    let said = waiting.until_said("belongs to no Remuda yet");
    let code = said.rsplit(' ').next().unwrap().to_owned();
    let is_listed = |items: &[Value]| items.iter().any(|item| item["code"] == json!(code));
    until_heard(&home, &server, "the code is listed", is_listed);
    let shown = succeed(&mut home.remuda(["node", "discovered", "--server", server.url()]));
    assert!(shown.contains(&code), "{shown}");
    // Being heard is all: there is no such node, and the agent has got nothing.
    let nodes = succeed(&mut home.remuda(["node", "list", "--json", "--server", server.url()]));
    assert!(!nodes.contains(&code), "{nodes}");
    assert!(
        !home
            .path(".local/share/remuda/agent/membership.json")
            .exists()
    );

    let line = succeed(&mut home.remuda(["node", "invite", "found", "--server", server.url()]));
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut joining = AgentProcess::spawn(agent().args(&words[2..]));
    joining.until_said("joined as the node found");
    waiting.until_said("this machine is the node found now");
    until_heard(&home, &server, "it is over", |items| !is_listed(items));
    // The one that waited takes its place, as a service would.
    joining.until_said("of the node found");
    assert_eq!(joining.stop(), Some(0));
    waiting.until_said("of the node found");
    assert_eq!(waiting.stop(), Some(0));
    // A member has nothing to announce.
    let mut member = AgentProcess::spawn(agent().args(announce));
    let said = member.until_said("node");
    assert!(!said.contains("belongs to no Remuda"), "{said}");
}

#[test]
fn an_agent_that_stops_announcing_is_forgotten() {
    let home = Home::new();
    let server = Server::start(home.up_over(&[], LISTENING));
    log_in(&home, &server);
    let mut waiting =
        AgentProcess::spawn(&mut home.remuda(["agent", "--announce", "--announce-on", "lo"]));
    let said = waiting.until_said("belongs to no Remuda yet");
    let code = said.rsplit(' ').next().unwrap().to_owned();
    let is_listed = |items: &[Value]| items.iter().any(|item| item["code"] == json!(code));
    until_heard(&home, &server, "the code is listed", is_listed);
    assert_eq!(waiting.stop(), Some(0));
    until_heard(&home, &server, "it is forgotten", |items| !is_listed(items));
}

#[test]
fn nobody_listens_unless_told_to() {
    let home = Home::new();
    let server = Server::start(home.up_over(&[], "[agents]\nlisten = \"127.0.0.1:0\"\n"));
    log_in(&home, &server);
    let output = home
        .remuda(["node", "discovered", "--server", server.url()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && said.contains("set discovery = true"),
        "{said}"
    );
    // An interface to listen on, and nobody who does.
    let file = home.path("remuda.toml");
    let config = "[agents]\ndiscovery_interfaces = [\"lo\"]\n";
    fs::write(&file, config).unwrap();
    let mut up = home.up();
    let refusal = one_line_refusal(up.arg("--config").arg(&file), 2);
    assert!(refusal.contains("discovery = true"), "{refusal}");
    // Where there is nothing to join by, the agent says what to do.
    let alone = one_line_refusal(&mut home.remuda(["agent", "--listen", "127.0.0.1:0"]), 1);
    assert!(alone.contains("--announce"), "{alone}");
}
