//! Signing in by a real OpenID Connect provider: its program from npm, a browser's steps by curl, and the command line.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Home, PASSWORD, Server, json, one_line_refusal, succeed};

const SECRET: &str = "the provider's and ours";

/// A provider's process. Dropping it ends it.
struct Provider {
    port: u16,
    settings: Value,
    process: Child,
}

impl Provider {
    fn start(port: u16, redirect_uri: &str) -> Self {
        let settings = json!({
            "port": port, "redirect_uri": redirect_uri, "client_id": "remuda", "client_secret": SECRET, "seed": 1,
        });
        let process = run(&settings);
        Self {
            port,
            settings,
            process,
        }
    }

    /// Has it begin again with other keys.
    fn restart_with_other_keys(&mut self) {
        self.stop();
        self.settings["seed"] = json!(2);
        self.process = run(&self.settings);
    }

    fn stop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }

    /// Says who sits before the browser.
    fn is_used_by(&self, person: &Value) {
        let url = format!("http://127.0.0.1:{}/person", self.port);
        succeed(Command::new("curl").args(["-sSf", "-X", "PUT", "-d", &person.to_string(), &url]));
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(settings: &Value) -> Child {
    let script = std::env::var("TEST_OIDC_PROVIDER").unwrap_or_else(|_| {
        panic!("TEST_OIDC_PROVIDER is not set: run the tests with `cargo xtask test`")
    });
    let mut child = Command::new("node")
        .arg(script)
        .arg(settings.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "listening\n");
    child
}

/// A port that nobody listens on now.
fn free_port() -> u16 {
    testbed::free_address().unwrap().port()
}

/// A server that people sign in to by the provider.
struct Stage {
    home: Home,
    server: Server,
    provider: Provider,
}

impl Stage {
    fn set(more: &str) -> Self {
        let (port, provider_port) = (free_port(), free_port());
        let public = format!("http://127.0.0.1:{port}");
        let callback = format!("{public}/api/v1/auth/oidc/corp/callback");
        let provider = Provider::start(provider_port, &callback);
        let home = Home::new();
        let config = format!(
            "[server]\npublic_url = \"{public}\"\n[auth]\nrequired = true\n[[auth.oidc]]\nname = \"corp\"\nissuer = \"http://127.0.0.1:{provider_port}\"\nclient_id = \"remuda\"\nclient_secret_env = \"CORP_SECRET\"\n{more}\n[engine]\ndemo = false\n"
        );
        let file = home.write("remuda.toml", &config);
        let mut up = home.remuda(["up", "--listen", &format!("127.0.0.1:{port}"), "--data"]);
        up.arg(home.data()).arg("--config").arg(file);
        up.env("CORP_SECRET", SECRET)
            .env("REMUDA_ADMIN_PASSWORD", PASSWORD);
        let server = Server::start(up);
        Self {
            home,
            server,
            provider,
        }
    }

    fn remuda(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.remuda([]);
        command
            .args(arguments)
            .args(["--server", self.server.url()]);
        command
    }

    /// `remuda login --provider corp`, with a browser of its own that opens the page; tells whether it signed in and what it said.
    fn sign_in(&self) -> (bool, String) {
        let mut login = self
            .remuda(&["login", "--provider", "corp"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(login.stderr.take().unwrap());
        let mut page = String::new();
        while !page.starts_with("http") {
            page.clear();
            assert!(said.read_line(&mut page).unwrap() > 0);
        }
        let jar = tempfile::NamedTempFile::new().unwrap();
        let mut browser = Command::new("curl");
        browser.args(["-sSL", "-b"]).arg(jar.path());
        browser.arg("-c").arg(jar.path()).arg(page.trim());
        let shown = succeed(&mut browser);
        assert!(shown.contains("Go back to the terminal"), "{shown}");
        let status = login.wait().unwrap();
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut said, &mut rest).unwrap();
        (status.success(), rest)
    }

    fn me(&self) -> Value {
        json(&mut self.remuda(&["whoami"]))
    }
}

#[test]
fn people_sign_in_by_a_real_provider_and_its_keys_may_change() {
    let mut stage = Stage::set(
        "provision = true\nsync_roles = true\n[[auth.oidc.roles]]\nclaim = \"groups\"\nvalue = \"ops\"\nrole = \"operator\"\n[[auth.oidc.roles]]\nclaim = \"groups\"\nvalue = \"staff\"\nrole = \"user\"",
    );
    let ann = |groups: Value| {
        json!({
            "sub": "ann", "preferred_username": "ann", "email": "ann@example.org", "email_verified": true, "groups": groups,
        })
    };
    stage.provider.is_used_by(&ann(json!(["ops", "staff"])));
    let (signed_in, said) = stage.sign_in();
    assert!(signed_in, "{said}");
    let me = stage.me();
    assert_eq!(
        (&me["name"], &me["role"]),
        (&json!("ann"), &json!("operator"))
    );

    // Its keys are others now, and so is the role.
    stage.provider.restart_with_other_keys();
    stage.provider.is_used_by(&ann(json!("staff")));
    let mut last = String::new();
    let mut signed_in = false;
    // Keys are fetched again ten seconds after the last time, not for every token.
    for _ in 0..40 {
        (signed_in, last) = stage.sign_in();
        if signed_in {
            break;
        }
        assert!(last.contains("bad_token"), "{last}");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(signed_in, "{last}");
    let again = stage.me();
    assert_eq!((&again["id"], &again["role"]), (&me["id"], &json!("user")));

    stage
        .provider
        .is_used_by(&json!({"sub": "eve", "groups": "strangers"}));
    let (signed_in, said) = stage.sign_in();
    assert!(!signed_in && said.contains("does not name you"), "{said}");
    let line = one_line_refusal(&mut stage.remuda(&["login", "--provider", "nobody"]), 1);
    assert!(line.contains("corp"), "{line}");
    assert_eq!(stage.server.stop("TERM"), Some(0));
}

#[test]
fn providers_that_make_no_sense_are_refused_at_start() {
    let home = Home::new();
    let good = "[server]\npublic_url = \"https://llm.example.org\"\n[[auth.oidc]]\nname = \"corp\"\nissuer = \"https://login.example.org\"\nclient_id = \"remuda\"\n";
    for (from, to, part) in [
        ("public_url", "#public_url", "server.public_url"),
        ("\"corp\"", "\"Corp 1\"", "is no name"),
        ("https://login", "http://login", "is no issuer"),
        ("https://llm.example.org", "llm", "public_url"),
        (
            "client_id = \"remuda\"",
            "client_id = \"\"",
            "client_id is empty",
        ),
        ("client_id = \"remuda\"", "", "client_id"),
        (
            "client_id",
            "client_secret_env = \"NONE\"\nclient_id",
            "NONE is not set",
        ),
        (
            "client_id",
            "sync_roles = true\nclient_id",
            "auth.oidc.roles",
        ),
        (
            "client_id",
            "secret = \"x\"\nclient_id",
            "unknown field `secret`",
        ),
    ] {
        let file = home.write("remuda.toml", &good.replacen(from, to, 1));
        let line = one_line_refusal(home.up().arg("--config").arg(file), 2);
        assert!(line.contains(part), "{to}: {line}");
    }
}
