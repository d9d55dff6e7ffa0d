//! PostgreSQL, PgBouncer and Redis for one run of the tests: private directory, free ports, gone at the end.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::{apt, interrupt};

/// The oldest PostgreSQL that the project supports.
const OLDEST_MAJOR: u32 = 15;
/// Time a server gets to answer.
const START_LIMIT: Duration = Duration::from_mins(1);
/// The account that runs the servers when this process is root, which they refuse to be.
const ACCOUNT: &str = "postgres";

/// Settings for servers whose data nobody will miss.
const FORGETFUL: &[&str] = &["fsync=off", "full_page_writes=off"];
/// Settings for servers that are measured: a commit waits for the disk.
const DURABLE: &[&str] = &[
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "wal_compression=lz4",
    "shared_buffers=4GB",
    "max_wal_size=12GB",
    "checkpoint_timeout=15min",
    "wal_buffers=64MB",
];

/// Running servers. Stopped, and their directory removed, when dropped.
pub(crate) struct Databases {
    /// Administrator's URL of PostgreSQL.
    pub(crate) postgres_url: String,
    /// The same through PgBouncer in transaction mode.
    pub(crate) pgbouncer_url: String,
    /// URL of Redis.
    pub(crate) redis_url: String,
    /// Where PostgreSQL's programs are.
    pub(crate) postgres_bin: PathBuf,
    children: Vec<Child>,
    directory: PathBuf,
    /// Held while the servers run, so that later runs can tell a dead run's directory from a live one's.
    _lock: File,
}

impl Databases {
    /// Installs what is missing and starts the servers, for tests: nothing of it needs to last.
    pub(crate) fn start(target: &Path) -> anyhow::Result<Self> {
        Self::start_with(target, FORGETFUL)
    }

    /// The same for benchmarks: what is committed lasts.
    pub(crate) fn start_durable(target: &Path) -> anyhow::Result<Self> {
        Self::start_with(target, DURABLE)
    }

    fn start_with(target: &Path, settings: &[&str]) -> anyhow::Result<Self> {
        let bin = postgres_bin()?;
        let pgbouncer = pgbouncer_path()?;
        let redis = redis_path()?;
        let mut attempts = 1;
        loop {
            match Self::start_once(target, &bin, &pgbouncer, &redis, settings) {
                // A free port is free only until somebody else takes it.
                Err(error) if attempts < 3 && error.to_string().contains("already in use") => {
                    attempts += 1;
                }
                outcome => return outcome,
            }
        }
    }

    fn start_once(
        target: &Path,
        bin: &Path,
        pgbouncer: &Path,
        redis: &Path,
        settings: &[&str],
    ) -> anyhow::Result<Self> {
        let owner = owner()?;
        let (directory, lock) = run_directory(target, owner)?;
        let (port, pool_port, redis_port) = (free_port()?, free_port()?, free_port()?);
        let mut databases = Self {
            postgres_url: format!("postgres://{ACCOUNT}@127.0.0.1:{port}/postgres"),
            pgbouncer_url: format!("postgres://{ACCOUNT}@127.0.0.1:{pool_port}/postgres"),
            redis_url: format!("redis://127.0.0.1:{redis_port}"),
            postgres_bin: bin.to_owned(),
            children: Vec::new(),
            directory,
            _lock: lock,
        };
        databases.start_postgres(bin, owner, port, settings)?;
        databases.start_pgbouncer(bin, pgbouncer, owner, port, pool_port)?;
        databases.start_redis(redis, owner, redis_port)?;
        Ok(databases)
    }

    /// Returns the process of PostgreSQL, whose children do the work.
    pub(crate) fn postgres_pid(&self) -> Option<u32> {
        self.children.first().map(Child::id)
    }

    fn start_postgres(
        &mut self,
        bin: &Path,
        owner: Option<Owner>,
        port: u16,
        settings: &[&str],
    ) -> anyhow::Result<()> {
        let data = self.directory.join("data");
        let made = program(&bin.join("initdb"), owner)
            .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C"])
            .arg(format!("--username={ACCOUNT}"))
            .arg("--pgdata")
            .arg(&data)
            .output()
            .context("running initdb")?;
        anyhow::ensure!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr).trim()
        );
        let log = self.directory.join("postgres.log");
        let mut server = program(&bin.join("postgres"), owner);
        server.arg("-D").arg(&data).args(["-p", &port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            // A socket's path has at most 107 bytes, a workspace's may have more.
            "unix_socket_directories=",
            "max_connections=300",
        ]
        .iter()
        .chain(settings)
        {
            server.args(["-c", *setting]);
        }
        self.children.push(spawn_logged(&mut server, &log)?);
        self.wait_until_ready(bin, &self.postgres_url.clone(), &log)
    }

    fn start_pgbouncer(
        &mut self,
        bin: &Path,
        pgbouncer: &Path,
        owner: Option<Owner>,
        port: u16,
        pool_port: u16,
    ) -> anyhow::Result<()> {
        let settings = self.directory.join("pgbouncer.ini");
        // Everything but addresses, mode and size is the default, so that the tests prove the default works.
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={port} user={ACCOUNT}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {pool_port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = transaction\nmax_client_conn = 1000\ndefault_pool_size = 10\n"
        );
        fs::write(&settings, text)?;
        fs::set_permissions(&settings, fs::Permissions::from_mode(0o644))?;
        let log = self.directory.join("pgbouncer.log");
        let mut server = program(pgbouncer, owner);
        server.arg(&settings);
        self.children.push(spawn_logged(&mut server, &log)?);
        self.wait_until_ready(bin, &self.pgbouncer_url.clone(), &log)
    }

    fn start_redis(&mut self, redis: &Path, owner: Option<Owner>, port: u16) -> anyhow::Result<()> {
        let log = self.directory.join("redis.log");
        let mut server = program(redis, owner);
        server.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
        // Nothing is written to disk; the title stays, so that a run that has died is known by its directory.
        server.args(["--save", "", "--appendonly", "no", "--set-proc-title", "no"]);
        server.arg("--dir").arg(&self.directory);
        self.children.push(spawn_logged(&mut server, &log)?);
        self.wait_until(&self.redis_url.clone(), &log, || {
            Ok(answers_ping(port).unwrap_or(false))
        })
    }

    /// Waits until the database server started last answers a query.
    fn wait_until_ready(&mut self, bin: &Path, url: &str, log: &Path) -> anyhow::Result<()> {
        self.wait_until(url, log, || {
            let answers = Command::new(bin.join("psql"))
                .args(["--no-psqlrc", "--quiet", "--command", "SELECT 1", url])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()?;
            Ok(answers.success())
        })
    }

    fn wait_until(
        &mut self,
        url: &str,
        log: &Path,
        answers: impl Fn() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            interrupt::check()?;
            if answers()? {
                return Ok(());
            }
            let ended = self
                .children
                .last_mut()
                .map(Child::try_wait)
                .transpose()?
                .flatten();
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(log).unwrap_or_default();
                anyhow::bail!("the server at {url} does not start:\n{}", log.trim());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Databases {
    fn drop(&mut self) {
        while let Some(mut child) = self.children.pop() {
            // SIGINT: end now, but in order. To PgBouncer it means to wait for clients, hence SIGTERM for the pool.
            let signal = if self.children.is_empty() {
                "INT"
            } else {
                "TERM"
            };
            if let Err(error) = interrupt::stop(&mut child, signal) {
                eprintln!(
                    "xtask: process {} could not be stopped: {error}",
                    child.id()
                );
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("xtask: {} stays behind: {error}", self.directory.display());
        }
    }
}

/// User and group that servers run as.
#[derive(Clone, Copy)]
struct Owner {
    user: u32,
    group: u32,
}

/// Returns the account to run as, or nothing when this process's own will do.
fn owner() -> anyhow::Result<Option<Owner>> {
    if !apt::is_root()? {
        return Ok(None);
    }
    Ok(Some(Owner {
        user: apt::id(&["-u", ACCOUNT])?,
        group: apt::id(&["-g", ACCOUNT])?,
    }))
}

fn program(path: &Path, owner: Option<Owner>) -> Command {
    let mut command = Command::new(path);
    if let Some(owner) = owner {
        command.uid(owner.user).gid(owner.group);
    }
    // A group of its own: Ctrl-C in the terminal is not for the servers, whose clients end first.
    command
        .stdin(Stdio::null())
        .current_dir("/")
        .process_group(0);
    command
}

fn spawn_logged(command: &mut Command, log: &Path) -> anyhow::Result<Child> {
    let file = File::create(log)?;
    let child = command.stdout(file.try_clone()?).stderr(file).spawn();
    child.with_context(|| format!("running {}", command.get_program().display()))
}

/// Makes a locked directory for this run, and removes those of runs that have died.
fn run_directory(target: &Path, owner: Option<Owner>) -> anyhow::Result<(PathBuf, File)> {
    let beneath = target.join("test-databases");
    match make_run_directory(&beneath, owner)? {
        Some(made) => Ok(made),
        // The servers' account may not enter this workspace, as below /root.
        None => make_run_directory(&std::env::temp_dir().join("remuda-test-databases"), owner)?
            .context("no directory is open to the database servers' account"),
    }
}

fn make_run_directory(
    beneath: &Path,
    owner: Option<Owner>,
) -> anyhow::Result<Option<(PathBuf, File)>> {
    fs::create_dir_all(beneath)?;
    remove_dead_runs(beneath)?;
    let directory = beneath.join(std::process::id().to_string());
    fs::create_dir(&directory).with_context(|| format!("making {}", directory.display()))?;
    let lock = File::create(directory.join("lock"))?;
    lock.try_lock()?;
    if let Some(owner) = owner {
        chown(&directory, Some(owner.user), Some(owner.group))?;
        let enters = program(Path::new("ls"), Some(owner))
            .arg(&directory)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if !enters.success() {
            fs::remove_dir_all(&directory)?;
            return Ok(None);
        }
    }
    Ok(Some((directory, lock)))
}

fn remove_dead_runs(beneath: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(beneath)? {
        let directory = entry?.path();
        let Ok(lock) = File::open(directory.join("lock")) else {
            continue;
        };
        if lock.try_lock().is_err() {
            continue;
        }
        stop_servers_of(&directory)?;
        fs::remove_dir_all(&directory).ok();
    }
    Ok(())
}

/// Ends servers that have outlived their run, as after a SIGKILL. They are known by their directory in the command line.
fn stop_servers_of(directory: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir("/proc").context("listing processes")? {
        let process = entry?;
        let name = process.file_name();
        let Some(pid) = name.to_str().filter(|name| name.parse::<u32>().is_ok()) else {
            continue;
        };
        // A process that has just ended has no command line any more.
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        let (program, arguments) = command.split_once('\0').unwrap_or_default();
        let is_server = ["/postgres", "/pgbouncer", "/redis-server"]
            .iter()
            .any(|server| program.ends_with(server));
        let is_of_run = arguments
            .split('\0')
            .any(|argument| Path::new(argument).starts_with(directory));
        if is_server && is_of_run {
            Command::new("kill")
                .args(["-QUIT", pid])
                .stderr(Stdio::null())
                .status()
                .ok();
        }
    }
    Ok(())
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// Returns the program directory of the newest PostgreSQL, installed where missing.
fn postgres_bin() -> anyhow::Result<PathBuf> {
    if let Some(bin) = find_postgres_bin() {
        return Ok(bin);
    }
    apt::install(
        &format!("PostgreSQL {OLDEST_MAJOR} or newer"),
        &["postgresql"],
    )?;
    find_postgres_bin().with_context(|| {
        format!("apt's PostgreSQL is older than {OLDEST_MAJOR}: install a newer one")
    })
}

fn find_postgres_bin() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut beside_debian: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .filter(|(major, bin)| *major >= OLDEST_MAJOR && bin.join("initdb").exists())
        .collect();
    beside_debian.sort();
    beside_debian.pop().map(|(_, bin)| bin).or_else(|| {
        let initdb = on_path("initdb")?;
        let output = Command::new(&initdb).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let major: u32 = text
            .split_whitespace()
            .nth(2)?
            .split('.')
            .next()?
            .parse()
            .ok()?;
        (major >= OLDEST_MAJOR)
            .then(|| initdb.parent().map(Path::to_owned))
            .flatten()
    })
}

fn pgbouncer_path() -> anyhow::Result<PathBuf> {
    if let Some(path) = on_path("pgbouncer") {
        return Ok(path);
    }
    apt::install("PgBouncer", &["pgbouncer"])?;
    on_path("pgbouncer").context("apt's PgBouncer is not on the path")
}

fn redis_path() -> anyhow::Result<PathBuf> {
    if let Some(path) = on_path("redis-server") {
        return Ok(path);
    }
    apt::install("Redis", &["redis-server"])?;
    on_path("redis-server").context("apt's Redis is not on the path")
}

fn answers_ping(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    Ok(answer == *b"+PONG")
}

/// Finds a program on the path or among the system's.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.push("/usr/sbin".into());
    places
        .into_iter()
        .map(|place| place.join(name))
        .find(|path| path.is_file())
}
