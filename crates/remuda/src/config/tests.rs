//! What a configuration file may say, and how wrong ones are told.

use super::*;

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn refusal(text: &str) -> String {
    let message = Config::from_toml(text).unwrap_err().to_string();
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

#[test]
fn a_full_file_is_read() {
    let config = Config::from_toml(
        r#"
        [server]
        listen = "0.0.0.0:8080"
        workers = 2
        body_limit = "8MiB"
        drain_seconds = 5
        [auth]
        required = true
        [store]
        url = "postgres://remuda@db/remuda"
        max_connections = 4
        [engine]
        models = ["/m/a.gguf"]
        demo = false
        [routing]
        policy = "least_load"
        [models."llama3:8b"]
        policy = "round_robin"
        fallbacks = ["qwen3:4b"]
        aliases = ["chat"]
        [aliases]
        fast = "qwen3:4b"
        [requests]
        retention = "7d"
        [log]
        format = "json"
        level = "info,gateway=debug"
        [[nodes]]
        name = "gpu-1"
        url = "http://gpu1:11434"
        kind = "ollama"
        tags = ["fast"]
        weight = 2
        "#,
    )
    .unwrap();
    assert_eq!(config.server.listen, ([0, 0, 0, 0], 8080).into());
    assert_eq!(config.server.body_limit, ByteSize::mebibytes(8));
    assert!(config.auth_required());
    assert_eq!(config.models["llama3:8b"].fallbacks, ["qwen3:4b"]);
    assert_eq!(config.aliases["fast"], "qwen3:4b");
    assert_eq!(config.requests.retention, Period::days(7));
    assert_eq!(config.nodes[0].name, "gpu-1");
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_key() {
    assert_eq!(
        refusal("[server]\nworkers = 1\nlisten_adress = \"x\"\n"),
        "configuration:3: [server] listen_adress: unknown key; did you mean \"listen\"?"
    );
    assert_eq!(
        refusal("[sever]\nlisten = \"127.0.0.1:1\"\n"),
        "configuration:1: sever: unknown key; did you mean \"server\"?"
    );
    assert_eq!(
        refusal("listen = \"127.0.0.1:1\"\n"),
        "configuration:1: listen: unknown key; \"listen\" belongs below [server]"
    );
    assert_eq!(
        refusal("[[nodes]]\nname = \"a\"\nurl = \"http://a\"\napikey = \"s\"\n"),
        "configuration:4: [nodes.0] apikey: unknown key; did you mean \"api_key\"?"
    );
    assert_eq!(
        refusal("[models.\"a:b\"]\nfallback = []\n"),
        "configuration:2: [models.\"a:b\"] fallback: unknown key; did you mean \"fallbacks\"?"
    );
}

#[test]
fn a_bad_value_is_named_with_its_key_and_what_would_be_right() {
    for (text, key, advice) in [
        (
            "[server]\nlisten = \"here\"",
            "[server] listen",
            "127.0.0.1:11440",
        ),
        ("[server]\nworkers = \"two\"", "[server] workers", "usize"),
        ("[server]\nworkers = 0", "[server] workers", "1 to 256"),
        (
            "[server]\nbody_limit = \"big\"",
            "[server] body_limit",
            "32MiB",
        ),
        ("[store]\nurl = \"mysql://x\"", "[store] url", "postgres://"),
        (
            "[queue]\norganisation_percent = 0",
            "[queue] organisation_percent",
            "1 to 100",
        ),
        ("[redis]\nurl = \"x\"", "[redis] url", "redis://"),
        ("[cache]\nttl = 0", "[cache] ttl", "1ms to 24h"),
        ("[cache]\nstore = \"redis\"", "[cache] store", "[redis] url"),
        ("[cache.resources.users]\nmax_size = 1", "max_size", "64KiB"),
        ("[cache.resources.nodes]\nttl = 1", "nodes", "users"),
        ("[redis]\nprefix = \"a:b\"", "[redis] prefix", "letters"),
        ("[redis]\ntimeout = \"2s\"", "[redis] timeout", "1ms to 1s"),
        (
            "[routing]\npolicy = \"best\"",
            "[routing] policy",
            "round_robin",
        ),
        (
            "[requests]\nretention = \"1 month\"",
            "[requests] retention",
            "30d",
        ),
        ("[jobs]\nlease = \"1s\"", "[jobs] lease", "3s"),
        ("[jobs]\nmax_queued = 0", "[jobs] max_queued", "1 to"),
        ("[log]\nlevel = \"loud\"", "[log] level", "debug"),
        (
            "[[nodes]]\nname = \"a\"\nurl = \"gpu1\"",
            "[nodes.0] url",
            "http://gpu1:11434",
        ),
        (
            "[[nodes]]\nurl = \"http://a\"",
            "[nodes.0] name",
            "needs a name",
        ),
        (
            "[aliases]\na = \"b\"\nb = \"c\"",
            "[aliases] a",
            "itself an alias",
        ),
        (
            "[models.m]\nfallbacks = [\"M:latest\"]",
            "[models.m] fallbacks",
            "itself",
        ),
        (
            "[engine]\nmodels_dir = \"/nowhere\"",
            "[engine] models_dir",
            "not a directory",
        ),
        ("server = 1", "server", "[server]"),
        ("nodes = 1", "nodes", "[[nodes]]"),
    ] {
        let message = refusal(text);
        assert!(message.starts_with("configuration:"), "{message}");
        assert!(message.contains(key), "{message}");
        assert!(message.contains(advice), "{message}");
    }
}

#[test]
fn broken_toml_is_named_with_line_and_column() {
    assert!(refusal("[server]\nlisten = \n").starts_with("configuration:2:10: not valid TOML"));
}

#[test]
fn two_nodes_may_not_share_a_name() {
    let message = refusal(
        "[[nodes]]\nname = \"a\"\nurl = \"http://a\"\n[[nodes]]\nname = \"A\"\nurl = \"http://b\"",
    );
    assert_eq!(
        message,
        "configuration:5: [nodes.1] name: two nodes are called \"A\""
    );
}

#[test]
fn the_environment_wins_over_the_file_and_flags_over_both() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r.toml");
    std::fs::write(
        &file,
        "[server]\nlisten = \"127.0.0.1:1\"\nworkers = 1\n[[nodes]]\nname = \"gpu-1\"\nurl = \"http://a\"\n",
    )
    .unwrap();
    let overrides = Overrides {
        file: Some(file.clone()),
        listen: Some(([127, 0, 0, 1], 3).into()),
        models: vec!["/c.gguf".into()],
        ..Overrides::default()
    };
    let loaded = Config::load(
        &environment(&[
            ("HOME", "/home/ana"),
            ("REMUDA_SERVER__LISTEN", "127.0.0.1:2"),
            ("REMUDA_SERVER__WORKERS", "3"),
            ("REMUDA_STORE__URL", "postgres://db/remuda"),
            ("REMUDA_AUTH__REQUIRED", "true"),
            ("REMUDA_ENGINE__MODELS", "/a.gguf, /b.gguf"),
            ("REMUDA_NODES__GPU_1__API_KEY", "s3cret"),
            ("REMUDA_ALIASES__FAST", "qwen3"),
            ("REMUDA_REQUESTS__RETENTION", "12h"),
            ("REMUDA_API_KEY", "ignored"),
        ]),
        &overrides,
    )
    .unwrap();
    let config = loaded.config;
    assert_eq!(loaded.file, Some(file));
    assert_eq!(config.server.listen.port(), 3);
    assert_eq!(config.server.workers, Some(3));
    assert_eq!(
        config.server.data_dir,
        Some("/home/ana/.local/share/remuda".into())
    );
    assert_eq!(config.store.url.unwrap().expose(), "postgres://db/remuda");
    assert_eq!(config.auth.required, Some(true));
    assert_eq!(
        config.engine.models,
        ["/a.gguf", "/b.gguf", "/c.gguf"].map(PathBuf::from)
    );
    assert_eq!(config.nodes.len(), 1);
    assert_eq!(config.nodes[0].api_key.as_ref().unwrap().expose(), "s3cret");
    assert_eq!(config.aliases["fast"], "qwen3");
    assert_eq!(config.requests.retention, Period::parse("12h").unwrap());
}

#[test]
fn a_wrong_variable_is_named() {
    for (name, value, expected) in [
        (
            "REMUDA_SERVER__LISEN",
            "x",
            "environment variable REMUDA_SERVER__LISEN: unknown key; did you mean \"listen\"?",
        ),
        (
            "REMUDA_SEVER__LISTEN",
            "x",
            "environment variable REMUDA_SEVER__LISTEN: unknown key; did you mean \"server\"?",
        ),
    ] {
        let error = Config::load(
            &environment(&[("HOME", "/h"), (name, value)]),
            &Overrides::default(),
        )
        .unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let error = Config::load(
        &environment(&[("HOME", "/h"), ("REMUDA_SERVER__WORKERS", "many")]),
        &Overrides::default(),
    )
    .unwrap_err()
    .to_string();
    assert!(
        error.starts_with("environment variable REMUDA_SERVER__WORKERS: "),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Config::load(
        &environment(&[("HOME", "/h")]),
        &Overrides {
            file: Some("/nowhere/r.toml".into()),
            ..Overrides::default()
        },
    )
    .unwrap_err()
    .to_string();
    assert!(
        error.starts_with("cannot read the configuration /nowhere/r.toml: "),
        "{error}"
    );
}

#[test]
fn beyond_loopback_a_key_is_always_needed() {
    let loaded = Config::load(
        &environment(&[
            ("HOME", "/h"),
            ("REMUDA_SERVER__LISTEN", "0.0.0.0:1"),
            ("REMUDA_AUTH__REQUIRED", "false"),
        ]),
        &Overrides::default(),
    )
    .unwrap();
    assert!(loaded.config.auth_required());
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].contains("has no effect"));
    assert!(!Config::default().auth_required());
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let config = Config::from_toml(
        "[store]\nurl = \"postgres://u:hunter2@db/r\"\n[[nodes]]\nname = \"a\"\nurl = \"http://a\"\napi_key = \"hunter2\"\n",
    )
    .unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn joined_calls_are_bounded() {
    let config = Config::from_toml("[coalescing]\nwindow = \"5ms\"\nmax_inputs = 8").unwrap();
    assert_eq!(config.coalescing.window.0.as_millis(), 5);
    assert!(config.coalescing.enabled);
    for (text, key) in [
        ("window = \"2s\"", "window: must be at most 1s"),
        ("max_inputs = 0", "max_inputs: must be 1 to 2048"),
        ("max_bytes = \"1GiB\"", "max_bytes: must be 1 byte to 32MiB"),
    ] {
        let refused = refusal(&format!("[coalescing]\n{text}"));
        assert!(refused.contains(key), "{refused}");
    }
}
