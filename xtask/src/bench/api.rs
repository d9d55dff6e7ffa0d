//! `cargo xtask bench api`: how many management requests one core serves with a million rows behind them.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::postgres::Postgres;
use super::process::{LOAD_CORE, Running, cpu_time, pinned};
use super::programs::{Build, programs};
use super::remuda::{ADMINISTRATOR, Remuda};
use super::upstream::scripted_upstream;
use super::{http, machine};
use crate::interrupt;

/// What `cargo xtask bench api` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Measure the release programs as they are
    #[arg(long)]
    no_build: bool,
    /// Rows of requests, and as many of the journal of changes
    #[arg(long, default_value_t = 1_000_000)]
    rows: u32,
    /// Seconds of each window
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// PostgreSQL in place of SQLite, on the core of the load
    #[arg(long)]
    postgres: bool,
}

const CONNECTIONS: usize = 64;
/// Who sign in again and again while others read.
const SIGN_INS: usize = 16;
/// People whose names they use in turn.
const PEOPLE: usize = 300;
const PASSWORD: &str = "a password for a storm";
/// Lists that nobody has asked for a moment ago: many more than are kept.
const OTHER_LISTS: usize = 6_400;
/// Nothing is carried out, and nothing refused: accepting jobs is what is measured.
const SECTIONS: &str =
    "[jobs]\nconcurrency = 0\nmax_queued = 1000000\nmax_queued_of_organisation = 1000000\n";

/// What a window found.
#[derive(Deserialize)]
struct Window {
    responses: u64,
    failures: u64,
    first_failure: Option<String>,
    seconds: f64,
    p50_us: f64,
    p95_us: f64,
    p99_us: f64,
}

/// What a row of the table is held against: at least so many a second, at most so many milliseconds for 95 of 100.
#[derive(Clone, Copy)]
struct Budget {
    rate: f64,
    p95_ms: f64,
}

const READS: Budget = Budget {
    rate: 5_000.0,
    p95_ms: 20.0,
};
const WRITES: Budget = Budget {
    rate: 1_000.0,
    p95_ms: 50.0,
};

/// The load and what it is put on.
struct Bench {
    remuda: Remuda,
    load: PathBuf,
    directory: PathBuf,
    seconds: f64,
    token: String,
}

/// Measures and prints Markdown.
pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    interrupt::catch()?;
    let load_before = machine::load_average();
    let programs = programs(
        &["remuda", "bench_api", "scripted_upstream"],
        Build::unless(options.no_build),
    )?;
    let directory = tempfile::tempdir()?;
    let (_upstream, upstream_address) =
        scripted_upstream(&programs, &["vllm", "--chat", "bench-model"])?;
    let postgres = options
        .postgres
        .then(|| Postgres::start("bench_api"))
        .transpose()?;
    let store = postgres.as_ref().map(Postgres::section);
    let sections = format!("{SECTIONS}{}", store.unwrap_or_default());
    let remuda = Remuda::start_with(
        &programs.join("remuda"),
        directory.path(),
        upstream_address,
        &sections,
    )?;
    let file = directory.path().join("remuda/data/remuda.db");
    fill(options.rows, postgres.as_ref(), &file)?;
    let sign_in = json!({"username": ADMINISTRATOR.0, "password": ADMINISTRATOR.1});
    let session = http::send(
        remuda.address,
        "POST",
        "/api/v1/login",
        None,
        Some(&sign_in),
    )?;
    let token = session.json()?["token"]
        .as_str()
        .context("no token")?
        .to_owned();
    let bench = Bench {
        remuda,
        load: programs.join("bench_api"),
        directory: directory.path().to_owned(),
        seconds: options.seconds,
        token,
    };
    let mut table = String::new();
    let kept = bench.measure_all(&mut table)?;
    let engine = match &postgres {
        Some(_) => "PostgreSQL on core 1, what is committed lasts",
        None => "SQLite",
    };
    writeln!(
        std::io::stdout().lock(),
        "### Machine\n\n{}\n- load average before the start: {load_before:.2} (numbers count only near 0)\n\n### Method\n\n\
         `cargo xtask bench api`. Remuda (release build, {engine}) on core 0, the load on core 1: {CONNECTIONS} keep-alive connections,\n\
         closed loop, one window of {} s each. Behind it lie {} request records and as many records of changes, vacuumed and\n\
         written to the disk as rows are that came over months. Every answer must tell of a success. Changes are recorded in the journal, and waited for\n\
         on the disk.\n\n### Results\n\n\
         | | requests/s | p50 ms | p95 ms | p99 ms | processor µs each | budget |\n|---|---|---|---|---|---|---|\n{table}",
        machine::describe(),
        options.seconds,
        options.rows,
    )?;
    Ok(if kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Bench {
    /// Measures everything, and tells whether every budget was kept.
    fn measure_all(&self, table: &mut String) -> anyhow::Result<bool> {
        let mut kept = true;
        for (name, path) in [
            ("one's own profile", "/api/v1/me/profile"),
            ("one node", "/api/v1/nodes/bench"),
            ("list of models", "/api/v1/models?limit=50"),
            ("one model", "/api/v1/models/bench-model"),
            ("list of keys, 50 of them", "/api/v1/keys?limit=50"),
            (
                "the newest 50 requests of 1 million",
                "/api/v1/inference/requests?limit=50",
            ),
            (
                "50 that failed",
                "/api/v1/inference/requests?limit=50&outcome=failed",
            ),
            (
                "the newest 50 changes of 1 million",
                "/api/v1/audit?limit=50",
            ),
        ] {
            if name.starts_with("list of keys") {
                self.make_keys()?;
            }
            let lines = vec![self.line("GET", path, &Value::Null); CONNECTIONS];
            kept &= self.row(table, name, &lines, CONNECTIONS, Some(READS))?;
        }
        for (name, path) in [
            (
                "50 requests, each list another one",
                "/api/v1/inference/requests?limit=50&since=2001-01-01T00:00:00.NUMBERZ",
            ),
            (
                "50 changes, each list another one",
                "/api/v1/audit?limit=50&offset=NUMBER",
            ),
        ] {
            let lines: Vec<Value> = (0..OTHER_LISTS)
                .map(|number| path.replace("NUMBER", &format!("{number:06}")))
                .map(|path| self.line("GET", &path, &Value::Null))
                .collect();
            kept &= self.row(table, name, &lines, CONNECTIONS, None)?;
        }
        let keys = self.keys()?;
        let mut lines = Vec::new();
        for class in ["batch", "default"] {
            for key in keys.iter().take(CONNECTIONS) {
                let path = format!("/api/v1/keys/{key}");
                lines.push(self.line("PATCH", &path, &json!({"priority": class})));
            }
        }
        kept &= self.row(
            table,
            "changes of keys, each in the journal",
            &lines,
            CONNECTIONS,
            Some(WRITES),
        )?;
        let wish = json!({"model": "bench-model", "messages": [{"role": "user", "content": "Name three horses"}]});
        let lines = vec![self.line("POST", "/api/v1/inference/chat", &wish); CONNECTIONS];
        kept &= self.row(table, "jobs accepted", &lines, CONNECTIONS, Some(WRITES))?;
        self.storm(table)?;
        Ok(kept)
    }

    /// Many sign in while others read.
    fn storm(&self, table: &mut String) -> anyhow::Result<()> {
        // Many people: who signs in often under one name is told to wait.
        let mut lines = Vec::with_capacity(PEOPLE);
        for number in 0..PEOPLE {
            let name = format!("storm-{number}");
            let person = json!({"username": name, "password": PASSWORD, "role": "user"});
            self.send("POST", "/api/v1/users", &person)?.json()?;
            let sign_in = json!({"username": name, "password": PASSWORD});
            lines.push(json!({"method": "POST", "path": "/api/v1/login", "body": sign_in}));
        }
        let signing_in = self.requests("storm", &lines)?;
        let mut storm = Running::start(
            self.command(&signing_in, SIGN_INS, self.seconds + 2.0)
                .stdout(Stdio::piped()),
        )?;
        let lines = vec![self.line("GET", "/api/v1/me/profile", &Value::Null); CONNECTIONS];
        let name = format!("one's own profile, while {SIGN_INS} sign in over and over");
        self.row(table, &name, &lines, CONNECTIONS, None)?;
        let window: Window = serde_json::from_str(&storm.line()?)?;
        Self::write_row(
            table,
            "those who sign in (Argon2id, 8 at once)",
            &window,
            None,
            None,
        )?;
        Ok(())
    }

    fn make_keys(&self) -> anyhow::Result<()> {
        for number in 0..CONNECTIONS {
            let body = json!({"name": format!("key {number}")});
            self.send("POST", "/api/v1/keys", &body)?.json()?;
        }
        Ok(())
    }

    fn keys(&self) -> anyhow::Result<Vec<String>> {
        let page = self.send("GET", "/api/v1/keys?limit=500&q=key", &Value::Null)?;
        let page = page.json()?;
        let items = page["items"].as_array().context("no keys")?;
        Ok(items
            .iter()
            .filter_map(|key| Some(key["id"].as_str()?.to_owned()))
            .collect())
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<http::Response> {
        let body = (!body.is_null()).then_some(body);
        http::send(self.remuda.address, method, path, Some(&self.token), body)
    }

    fn line(&self, method: &str, path: &str, body: &Value) -> Value {
        json!({"method": method, "path": path, "token": self.token, "body": body})
    }

    fn requests(&self, name: &str, lines: &[Value]) -> anyhow::Result<PathBuf> {
        let file = self.directory.join(name);
        let text: Vec<String> = lines.iter().map(Value::to_string).collect();
        fs::write(&file, text.join("\n"))?;
        Ok(file)
    }

    fn command(&self, requests: &Path, connections: usize, seconds: f64) -> Command {
        let mut command = pinned(LOAD_CORE, &self.load);
        command
            .arg("--target")
            .arg(self.remuda.address.to_string())
            .arg("--requests")
            .arg(requests)
            .args(["--connections", &connections.to_string()])
            .args(["--seconds", &seconds.to_string()]);
        command
    }

    /// Measures one window and writes its row. Tells whether the budget was kept.
    fn row(
        &self,
        table: &mut String,
        name: &str,
        lines: &[Value],
        connections: usize,
        budget: Option<Budget>,
    ) -> anyhow::Result<bool> {
        let requests = self.requests("requests", lines)?;
        let before = cpu_time(self.remuda.pid())?;
        let mut load = Running::start(&mut self.command(&requests, connections, self.seconds))?;
        let window: Window = serde_json::from_str(&load.line()?).context("the load's figures")?;
        let used = cpu_time(self.remuda.pid())?.saturating_sub(before);
        let share = self.seconds / (self.seconds + 0.5);
        let each = used.as_secs_f64() * 1e6 * share / window.responses.max(1) as f64;
        Self::write_row(table, name, &window, Some(each), budget)
    }

    fn write_row(
        table: &mut String,
        name: &str,
        window: &Window,
        cpu_us: Option<f64>,
        budget: Option<Budget>,
    ) -> anyhow::Result<bool> {
        use std::fmt::Write as _;
        anyhow::ensure!(
            window.failures == 0,
            "{name}: {} answers failed, the first with {}",
            window.failures,
            window.first_failure.as_deref().unwrap_or_default()
        );
        let rate = window.responses as f64 / window.seconds;
        let p95 = window.p95_us / 1e3;
        let kept = budget.is_none_or(|budget| rate >= budget.rate && p95 <= budget.p95_ms);
        let verdict = budget.map_or(String::new(), |budget| {
            let kept = if kept { "kept" } else { "**missed**" };
            format!(
                "at least {:.0}/s, p95 at most {:.0} ms: {kept}",
                budget.rate, budget.p95_ms
            )
        });
        let cpu = cpu_us.map_or(String::new(), |us| format!("{us:.0}"));
        writeln!(
            table,
            "| {name} | {rate:.0} | {:.1} | {p95:.1} | {:.1} | {cpu} | {verdict} |",
            window.p50_us / 1e3,
            window.p99_us / 1e3
        )?;
        Ok(kept)
    }
}

/// Puts rows behind the lists while the server runs, by a program that speaks to the database.
fn fill(rows: u32, postgres: Option<&Postgres>, file: &Path) -> anyhow::Result<()> {
    let mut command = if let Some(postgres) = postgres {
        let mut psql = Command::new(postgres.psql());
        psql.args(["--no-psqlrc", "--quiet", "--command"])
            .arg(POSTGRES_ROWS.replace("ROWS", &rows.to_string()))
            // Rows that came over months have been vacuumed and are on the disk. Else that is done in the middle of a window, on the core
            // and the disk that are measured.
            .args(["--command", "VACUUM (ANALYZE)", "--command", "CHECKPOINT"])
            .arg(&postgres.url);
        psql
    } else {
        let mut python = Command::new("python3");
        python
            .args(["-c", SQLITE_ROWS])
            .arg(file)
            .arg(rows.to_string());
        python
    };
    let status = interrupt::wait(command.stdin(Stdio::null())).context("filling the database")?;
    anyhow::ensure!(status.success(), "the database could not be filled");
    Ok(())
}

/// Requests are older than what the benchmark itself makes. Records of changes have numbers far above the journal's own, which goes on
/// from its head: what is measured reads it, and never verifies it.
const SQLITE_ROWS: &str = r"
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
rows = int(sys.argv[2])
for first in range(0, rows, 20000):
    last = min(first + 20000, rows)
    database.execute('BEGIN IMMEDIATE')
    database.execute('''WITH RECURSIVE n(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?)
        INSERT INTO requests (id, received_at, principal_kind, principal_name, dialect, operation, model, node_id, node_name, status,
            outcome, stream, continued, retries, queue_us, total_us, prompt_tokens, completion_tokens, policy, decision)
        SELECT printf('%08x-%04x-7000-8000-%012d', (1700000000000 + i) / 65536, (1700000000000 + i) % 65536, i), 1700000000000000 + i * 1000,
            'user', 'u', 'ollama', 'chat', 'm' || (i % 50), 'n', 'node' || (i % 20), 200,
            CASE WHEN i % 1000 = 0 THEN 'failed' ELSE 'ok' END, FALSE, 0, 0, 0, 1, 100, 100, 'remuda', '[]' FROM n''', (first, last))
    database.execute('''WITH RECURSIVE n(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?)
        INSERT INTO audit_log (seq, at, action, actor_kind, actor_id, actor_name, org_id, subject_kind, subject_id, hash)
        SELECT i + 10000000, 1700000000000000 + i, 'a' || (i % 50), 'user', 'p' || (i % 500), 'p', NULL, 'key', 'k' || (i % 10000), zeroblob(32)
        FROM n''', (first, last))
    database.execute('COMMIT')
database.execute('ANALYZE')
";

const POSTGRES_ROWS: &str = "
INSERT INTO requests (id, received_at, principal_kind, principal_name, dialect, operation, model, node_id, node_name, status,
    outcome, stream, continued, retries, queue_us, total_us, prompt_tokens, completion_tokens, policy, decision)
SELECT lpad(to_hex((1700000000000 + i) / 65536), 8, '0') || '-' || lpad(to_hex((1700000000000 + i) % 65536), 4, '0') || '-7000-8000-' ||
    lpad(CAST(i AS TEXT), 12, '0'), 1700000000000000 + i * CAST(1000 AS BIGINT), 'user', 'u', 'ollama', 'chat', 'm' || (i % 50), 'n',
    'node' || (i % 20), 200, CASE WHEN i % 1000 = 0 THEN 'failed' ELSE 'ok' END, FALSE, 0, 0, 0, 1, 100, 100, 'remuda', '[]'
FROM generate_series(1, ROWS) AS i;
INSERT INTO audit_log (seq, at, action, actor_kind, actor_id, actor_name, org_id, subject_kind, subject_id, hash)
SELECT i + 10000000, 1700000000000000 + i, 'a' || (i % 50), 'user', 'p' || (i % 500), 'p', NULL, 'key', 'k' || (i % 10000),
    decode(repeat('00', 32), 'hex') FROM generate_series(1, ROWS) AS i";
