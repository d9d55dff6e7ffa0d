//! The commands that care for an installation: settings, the database, backups, the sealing key.

use std::process::Command;

use serde_json::{Value, json as value};

use crate::harness::{Home, PASSWORD, Server, json, one_line_refusal, succeed};

/// A server with a signed-in administrator, a key and a node's credential.
fn signed_in() -> (Home, Server) {
    let home = Home::new();
    let mut up = home.up();
    up.env("REMUDA_ADMIN_PASSWORD", PASSWORD)
        .env("REMUDA_ENGINE__DEMO", "false");
    let server = Server::start(up);
    sign_in(&home, &server);
    (home, server)
}

fn sign_in(home: &Home, server: &Server) {
    succeed(
        home.remuda(["login", "--password-stdin", "--server", server.url()])
            .stdin(home.password_file()),
    );
}

fn remuda(home: &Home, server: &Server, arguments: &[&str]) -> Command {
    let mut command = home.remuda(["--server", server.url()]);
    command.args(arguments);
    command
}

#[test]
fn settings_apply_at_once_and_are_gone_back_to() {
    let (home, server) = signed_in();
    let run = |arguments: &[&str]| remuda(&home, &server, arguments);
    let table = succeed(&mut run(&["setting", "list"]));
    assert!(
        table.contains("auth.registration") && table.contains("invite"),
        "{table}"
    );
    let guest = || {
        let mut command = home.remuda([
            "--server",
            server.url(),
            "register",
            "--username",
            "ann",
            "--password-stdin",
        ]);
        command.stdin(home.password_file());
        command
    };
    let refused = one_line_refusal(&mut guest(), 1);
    assert!(refused.contains("invitation"), "{refused}");
    succeed(&mut run(&["setting", "set", "auth.registration", "open"]));
    succeed(&mut guest());
    sign_in(&home, &server);
    let line = one_line_refusal(&mut run(&["setting", "set", "queue.batch", "none"]), 1);
    assert!(line.contains("from 1 to 1000000"), "{line}");
    succeed(&mut run(&["setting", "set", "queue.batch", "77"]));
    let history = succeed(&mut run(&["setting", "history"]));
    assert!(
        history.contains("queue.batch = 77") && history.contains("admin"),
        "{history}"
    );
    let back = json(&mut run(&["setting", "rollback", "1"]));
    assert_eq!(back["version"], 3);
    succeed(&mut run(&["setting", "reset", "auth.registration"]));
    let settings = json(&mut run(&["setting", "list"]));
    let set: Vec<&Value> = settings["settings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|setting| setting["set"] == true)
        .collect();
    assert!(set.is_empty(), "{set:?}");
}

#[test]
fn the_database_is_looked_after() {
    let (home, server) = signed_in();
    let run = |arguments: &[&str]| remuda(&home, &server, arguments);
    let health = succeed(&mut run(&["db", "health"]));
    assert!(health.contains("sqlite 3."), "{health}");
    let tables = succeed(&mut run(&["db", "tables"]));
    assert!(tables.contains("audit_log"), "{tables}");
    let statistics = succeed(&mut run(&["db", "stats"]));
    assert!(statistics.contains("organisations"), "{statistics}");
    let slow = succeed(&mut run(&["db", "slow"]));
    assert!(slow.contains("pg_stat_statements"), "{slow}");
    let cleaned = json(&mut run(&["db", "clean"]));
    assert_eq!(cleaned["invitations"], 0);
    let data = home.data();
    let data = data.to_str().unwrap();
    // The schema is looked at beside the running server.
    succeed(&mut home.remuda(["db", "check", "--data", data]));
    let steps = json(&mut home.remuda(["db", "status", "--data", data]));
    assert!(
        steps
            .as_array()
            .unwrap()
            .iter()
            .all(|step| step["state"] == "applied")
    );
    let locked = one_line_refusal(&mut home.remuda(["db", "migrate", "--data", data]), 2);
    assert!(locked.contains("in use"), "{locked}");
    assert_eq!(server.stop("TERM"), Some(0));
    let again = succeed(&mut home.remuda(["db", "migrate", "--data", data]));
    assert!(again.contains("already"), "{again}");
    let nowhere = home.path("nowhere");
    let none = one_line_refusal(
        &mut home.remuda(["db", "status", "--data", nowhere.to_str().unwrap()]),
        2,
    );
    assert!(none.contains("there is none"), "{none}");
    let fresh = home.path("fresh");
    let made = succeed(&mut home.remuda(["db", "migrate", "--data", fresh.to_str().unwrap()]));
    assert!(made.contains("0001_identity"), "{made}");
}

#[test]
fn a_backup_brings_everything_back_elsewhere() {
    let (home, server) = signed_in();
    let key = succeed(&mut remuda(&home, &server, &["key", "create", "ci"]));
    // Nothing listens there: the node is added with a warning.
    let mut add = remuda(
        &home,
        &server,
        &["node", "add", "gpu1", "http://127.0.0.1:9"],
    );
    succeed(add.args(["--api-key", "sesame"]));
    let data = home.data();
    let data = data.to_str().unwrap();
    let file = home.path("one.backup");
    let file = file.to_str().unwrap();
    let made = succeed(&mut home.remuda(["backup", "create", file, "--data", data]));
    assert!(made.contains("rows of"), "{made}");
    let twice = one_line_refusal(
        &mut home.remuda(["backup", "create", file, "--data", data]),
        1,
    );
    assert!(twice.contains("choose another name"), "{twice}");
    // What comes later is not in it.
    succeed(&mut remuda(&home, &server, &["key", "create", "later"]));
    let verified = json(&mut home.remuda(["backup", "verify", file, "--data", data]));
    assert_eq!(verified["tables"]["api_keys"], 1);
    assert_eq!(verified["manifest"]["engine"], "sqlite");
    let bytes = std::fs::read(file).unwrap();
    assert!(!bytes.windows(6).any(|part| part == b"sesame"));

    // On another machine, which has to have the key.
    let other = Home::new();
    let elsewhere = other.data();
    let to = elsewhere.to_str().unwrap();
    let keyless = one_line_refusal(
        &mut other.remuda(["backup", "restore", file, "--data", to]),
        2,
    );
    assert!(keyless.contains("sealing.key"), "{keyless}");
    std::fs::create_dir_all(&elsewhere).unwrap();
    std::fs::copy(
        home.data().join("sealing.key"),
        elsewhere.join("sealing.key"),
    )
    .unwrap();
    let cut = other.path("cut.backup");
    std::fs::write(&cut, &bytes[..bytes.len() - 9]).unwrap();
    let cut = one_line_refusal(
        &mut other.remuda(["backup", "restore", cut.to_str().unwrap(), "--data", to]),
        1,
    );
    assert!(cut.contains("damaged or cut off"), "{cut}");
    succeed(&mut other.remuda(["backup", "restore", file, "--data", to]));
    let full = one_line_refusal(
        &mut other.remuda(["backup", "restore", file, "--data", to]),
        1,
    );
    assert!(full.contains("not empty"), "{full}");
    let mut up = other.up();
    up.env("REMUDA_ENGINE__DEMO", "false");
    let restored = Server::start(up);
    let me = json(
        other
            .remuda(["--server", restored.url(), "whoami"])
            .env("REMUDA_API_KEY", key.trim()),
    );
    assert_eq!((&me["name"], &me["kind"]), (&value!("ci"), &value!("key")));
    succeed(
        other
            .remuda(["login", "--password-stdin", "--server", restored.url()])
            .stdin(other.password_file()),
    );
    let node = json(&mut remuda(&other, &restored, &["node", "show", "gpu1"]));
    assert_eq!(node["has_api_key"], true);
    let locked = one_line_refusal(
        &mut other.remuda(["backup", "restore", file, "--data", to]),
        2,
    );
    assert!(!locked.is_empty());
}

#[test]
fn the_sealing_key_is_replaced_while_the_server_runs() {
    let (home, server) = signed_in();
    let mut add = remuda(
        &home,
        &server,
        &["node", "add", "gpu1", "http://127.0.0.1:9"],
    );
    succeed(add.args(["--api-key", "sesame"]));
    let before = std::fs::read_to_string(home.data().join("sealing.key")).unwrap();
    let rotated = succeed(&mut remuda(&home, &server, &["secrets", "rotate"]));
    assert!(rotated.contains("in place of"), "{rotated}");
    let after = std::fs::read_to_string(home.data().join("sealing.key")).unwrap();
    assert!(after.ends_with(&before) && after != before);
    // The session goes on, and so does a server that is started anew.
    succeed(&mut remuda(&home, &server, &["whoami"]));
    assert_eq!(server.stop("TERM"), Some(0));
    let mut up = home.up();
    up.env("REMUDA_ENGINE__DEMO", "false");
    let server = Server::start(up);
    sign_in(&home, &server);
    let node = json(&mut remuda(&home, &server, &["node", "show", "gpu1"]));
    assert_eq!(node["has_api_key"], true);
}
