//! A home directory of its own for each test, and the binary run in it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use testbed::ScriptedUpstream;

/// The administrator's password in every test.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// A home directory with nothing in it.
pub(crate) struct Home {
    directory: TempDir,
}

/// A server that was started with `remuda up`. Dropping it kills it.
pub(crate) struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// Its standard error.
    said: File,
    /// What it said when it was ready.
    pub(crate) announcement: Value,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Writes a file below the home directory and returns its path.
    pub(crate) fn write(&self, relative: &str, text: &str) -> PathBuf {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The binary with this home directory and none of the surroundings' settings.
    pub(crate) fn remuda<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_remuda"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.directory.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("REMUDA_DISCOVERY__OLLAMA", "false")
            .stdin(Stdio::null());
        command
    }

    /// `remuda up` on a free port with its data below the home directory.
    pub(crate) fn up(&self) -> Command {
        self.up_at("127.0.0.1:0")
    }

    fn up_at(&self, address: &str) -> Command {
        let mut command = self.remuda(["up", "--listen", address, "--data"]);
        command.arg(self.data());
        command
    }

    /// `remuda up` with a configuration of its own, over these upstreams as nodes, with an administrator and no embedded model.
    pub(crate) fn up_over(&self, upstreams: &[&ScriptedUpstream], config: &str) -> Command {
        self.up_over_at("127.0.0.1:0", upstreams, config)
    }

    /// The same at an address that stays when it is started again.
    pub(crate) fn up_over_at(
        &self,
        address: &str,
        upstreams: &[&ScriptedUpstream],
        config: &str,
    ) -> Command {
        let mut text = format!("{config}\n[engine]\ndemo = false\n");
        for upstream in upstreams {
            let (name, url) = (upstream.name(), upstream.url());
            writeln!(
                text,
                "[[nodes]]\nname = \"{name}\"\nurl = \"{url}\"\nmax_in_flight = 100"
            )
            .unwrap();
        }
        let file = self.write("remuda.toml", &text);
        let mut up = self.up_at(address);
        up.arg("--config").arg(file);
        up.env("REMUDA_ADMIN_PASSWORD", PASSWORD);
        up
    }

    /// Starts a server and waits until it is ready.
    pub(crate) fn start(&self) -> Server {
        Server::start(self.up())
    }

    /// A file with the administrator's password, for `--password-stdin`.
    pub(crate) fn password_file(&self) -> File {
        File::open(self.write("password", &format!("{PASSWORD}\n"))).unwrap()
    }
}

impl Server {
    /// Starts a server with a changed command and waits until it is ready.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut said = tempfile::tempfile().unwrap();
        let mut child = command
            .arg("--json")
            .stdout(Stdio::piped())
            .stderr(said.try_clone().unwrap())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        Self {
            announcement: serde_json::from_str(&line).unwrap_or_else(|_| {
                let mut why = String::new();
                said.rewind().unwrap();
                said.read_to_string(&mut why).unwrap();
                panic!("not ready: {line:?}; it said: {why}")
            }),
            child,
            stdout,
            said,
        }
    }

    pub(crate) fn url(&self) -> &str {
        self.announcement["url"].as_str().unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let address = self.announcement["address"].as_str().unwrap();
        address.parse().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn setup_token(&self) -> Option<&str> {
        self.announcement["setup_token"].as_str()
    }

    /// Asks it to stop, and returns its exit code.
    pub(crate) fn stop(self, signal: &str) -> Option<i32> {
        send_signal(self.child.id(), signal);
        self.ended()
    }

    /// The same with what it wrote on standard error.
    pub(crate) fn stop_with_log(self, signal: &str) -> (Option<i32>, String) {
        let mut said = self.said.try_clone().unwrap();
        let code = self.stop(signal);
        let mut log = String::new();
        said.rewind().unwrap();
        said.read_to_string(&mut log).unwrap();
        (code, log)
    }

    /// Waits for its end, and returns its exit code.
    pub(crate) fn ended(mut self) -> Option<i32> {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The same command, run by a shell after `settings`: limits and signals are inherited.
pub(crate) fn after_shell(settings: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("{settings}; exec \"$0\" \"$@\"")])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    shell
}

/// Sends a signal by name, as `TERM`.
pub(crate) fn send_signal(pid: u32, signal: &str) {
    let status = Command::new("sh")
        .args(["-c", &format!("kill -{signal} {pid}")])
        .status()
        .unwrap();
    assert!(status.success());
}

/// Runs a command that must succeed and returns its standard output.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?} failed: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command with `--json` that must succeed and returns what it printed.
pub(crate) fn json(command: &mut Command) -> Value {
    let text = succeed(command.arg("--json"));
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"))
}

/// Asserts that a command ends with `code` and exactly one line on standard error, and returns that line.
pub(crate) fn one_line_refusal(command: &mut Command, code: i32) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    let text = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(code), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    text.trim_end().to_owned()
}

/// Asserts that nothing stands at `path`.
pub(crate) fn assert_absent(path: &Path) {
    assert!(!path.exists(), "{} was written", path.display());
}
