//! What `remuda up` refuses: one line, exit code 2, nothing written.

use std::net::TcpListener;

use crate::harness::{Home, assert_absent, one_line_refusal};

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_one() {
    let home = Home::new();
    let file = home.write("remuda.toml", "[server]\nlisten_on = \"127.0.0.1:0\"\n");
    let line = one_line_refusal(home.up().arg("--config").arg(&file), 2);
    assert_eq!(
        line,
        format!(
            "error: {}:2: [server] listen_on: unknown key; did you mean \"listen\"?",
            file.display()
        )
    );
    assert_absent(&home.data());
}

#[test]
fn a_file_that_cannot_be_read_or_parsed_is_named() {
    let home = Home::new();
    let line = one_line_refusal(home.up().args(["--config", "/nowhere/remuda.toml"]), 2);
    assert!(
        line.contains("/nowhere/remuda.toml") && line.contains("--config"),
        "{line}"
    );
    // A directory can be opened but not read, by nobody.
    let line = one_line_refusal(home.up().arg("--config").arg(home.path("")), 2);
    assert!(line.contains("--config"), "{line}");
    let file = home.write("broken.toml", "[server\n");
    let line = one_line_refusal(home.up().arg("--config").arg(&file), 2);
    assert!(line.contains("broken.toml:1:8: not valid TOML"), "{line}");
    assert_absent(&home.data());
}

#[test]
fn a_bad_value_in_the_environment_is_named() {
    let home = Home::new();
    let line = one_line_refusal(home.up().env("REMUDA_SERVER__WORKERS", "several"), 2);
    assert!(line.contains("REMUDA_SERVER__WORKERS"), "{line}");
    let line = one_line_refusal(home.up().env("REMUDA_STORE__URL", "mysql://x"), 2);
    assert!(
        line.contains("REMUDA_STORE__URL") && line.contains("postgres://"),
        "{line}"
    );
    assert_absent(&home.data());
}

#[test]
fn a_taken_port_is_refused_before_anything_is_written() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let line = one_line_refusal(
        home.remuda(["up", "--listen", &address, "--data"])
            .arg(home.data()),
        2,
    );
    assert!(
        line.contains(&address) && line.contains("--listen"),
        "{line}"
    );
    assert_absent(&home.data());
}

#[test]
fn a_data_directory_in_use_is_refused_and_its_holder_named() {
    let home = Home::new();
    let server = home.start();
    let line = one_line_refusal(&mut home.up(), 2);
    assert!(line.contains(&home.data().display().to_string()), "{line}");
    assert!(
        line.contains(&format!("process {}", server.pid())),
        "{line}"
    );
    assert!(line.contains("--data"), "{line}");
    assert_eq!(server.stop("TERM"), Some(0));
}

#[test]
fn a_data_directory_that_is_a_file_is_refused_and_kept() {
    let home = Home::new();
    let file = home.write("data", "precious");
    let line = one_line_refusal(&mut home.up(), 2);
    assert!(line.contains("cannot use the data directory"), "{line}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "precious");
}

#[test]
fn a_database_out_of_reach_is_refused() {
    let home = Home::new();
    let line = one_line_refusal(
        home.up().env(
            "REMUDA_STORE__URL",
            "postgres://remuda:hunter2@127.0.0.1:1/remuda",
        ),
        2,
    );
    assert!(line.contains("PostgreSQL, 127.0.0.1:1/remuda"), "{line}");
    assert!(line.contains("[store] url"), "{line}");
    assert!(!line.contains("hunter2"), "{line}");
}

#[test]
fn a_file_that_is_no_database_is_refused_and_kept() {
    let home = Home::new();
    let file = home.write("data/remuda.db", &"this is not a database\n".repeat(100));
    let before = std::fs::read(&file).unwrap();
    let line = one_line_refusal(&mut home.up(), 2);
    assert!(line.contains("cannot use the database SQLite"), "{line}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn a_database_of_a_newer_version_is_refused() {
    let home = Home::new();
    assert_eq!(home.start().stop("TERM"), Some(0));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let config = store::StoreConfig::new(format!("sqlite:{}", home.path("data/remuda.db").display()));
        let db = store::Db::open(&config).await.unwrap();
        let mut tx = db.write().await.unwrap();
        tx.execute(
            "INSERT INTO _migrations SELECT 9999, 'from_the_future', checksum FROM _migrations WHERE version = 1",
            (),
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
        db.close().await;
    });
    let line = one_line_refusal(&mut home.up(), 2);
    assert!(
        line.contains("version 9999") && line.contains("newer build"),
        "{line}"
    );
}
