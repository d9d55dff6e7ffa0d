//! Servers of a test's own, to be stopped and started again: Redis, PostgreSQL, PgBouncer.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::free_address::free_address;

/// The account that runs the servers when this process is root, which two of them refuse to be; also the database user.
const ACCOUNT: &str = "postgres";
/// Time a server gets to listen.
const START_LIMIT: Duration = Duration::from_mins(1);

/// A server on a port of its own. Killed, and its directory removed, when dropped.
pub struct OwnServer {
    program: PathBuf,
    arguments: Vec<String>,
    owner: Option<(u32, u32)>,
    port: u16,
    child: Option<Child>,
    directory: TempDir,
}

impl OwnServer {
    /// Starts Redis, which keeps everything in memory and forgets it when stopped.
    ///
    /// # Errors
    /// Fails when there is no `redis-server`, or it does not start.
    pub fn redis() -> anyhow::Result<Self> {
        let mut server = Self::new("redis-server".into())?;
        let directory = server.directory.path().display().to_string();
        let port = server.port.to_string();
        server.arguments = [
            "--bind",
            "127.0.0.1",
            "--port",
            &port,
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            &directory,
        ]
        .map(str::to_owned)
        .to_vec();
        server.start()?;
        Ok(server)
    }

    /// Starts an empty PostgreSQL that keeps what it has acknowledged, from the programs in `TEST_POSTGRES_BIN`.
    ///
    /// # Errors
    /// Fails when the variable is not set, or it does not start.
    pub fn postgres() -> anyhow::Result<Self> {
        let programs = std::env::var("TEST_POSTGRES_BIN")
            .context("TEST_POSTGRES_BIN is not set: run `cargo xtask test`, which sets it")?;
        let programs = Path::new(&programs);
        let mut server = Self::new(programs.join("postgres"))?;
        let data = server.directory.path().join("data");
        let made = server
            .command(&programs.join("initdb"))
            .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C"])
            .arg(format!("--username={ACCOUNT}"))
            .arg("--pgdata")
            .arg(&data)
            .output()
            .context("running initdb")?;
        anyhow::ensure!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let (data, port) = (data.display().to_string(), server.port.to_string());
        server.arguments = ["-D", &data, "-p", &port].map(str::to_owned).to_vec();
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories="] {
            server
                .arguments
                .extend(["-c".to_owned(), setting.to_owned()]);
        }
        server.start()?;
        Ok(server)
    }

    /// Starts PgBouncer in transaction mode before a PostgreSQL.
    ///
    /// # Errors
    /// Fails when there is no `pgbouncer`, or it does not start.
    pub fn pgbouncer(before: &Self) -> anyhow::Result<Self> {
        let installed = Path::new("/usr/sbin/pgbouncer");
        let program = if installed.exists() {
            installed
        } else {
            Path::new("pgbouncer")
        };
        let mut server = Self::new(program.to_owned())?;
        let settings = server.directory.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={} user={ACCOUNT}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = transaction\nmax_client_conn = 1000\ndefault_pool_size = 10\nserver_login_retry = 1\n",
            before.port, server.port
        );
        fs::write(&settings, text)?;
        fs::set_permissions(&settings, fs::Permissions::from_mode(0o644))?;
        server.arguments = vec![settings.display().to_string()];
        server.start()?;
        Ok(server)
    }

    fn new(program: PathBuf) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let owner = owner()?;
        if let Some((user, group)) = owner {
            chown(directory.path(), Some(user), Some(group))?;
        }
        let port = free_address()?.port();
        Ok(Self {
            program,
            arguments: Vec::new(),
            owner,
            port,
            child: None,
            directory,
        })
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Returns its address as a URL: of Redis, or of the database `postgres`.
    pub fn url(&self) -> String {
        if self.program.ends_with("redis-server") {
            format!("redis://127.0.0.1:{}", self.port)
        } else {
            format!("postgres://{ACCOUNT}@127.0.0.1:{}/postgres", self.port)
        }
    }

    /// Starts it, on the same port as before, and waits until it listens.
    ///
    /// # Errors
    /// Fails when it does not.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let log = self.directory.path().join("log");
        let file = File::options().create(true).append(true).open(&log)?;
        let mut command = self.command(&self.program);
        command.args(&self.arguments);
        let mut child = command
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("running {}", self.program.display()))?;
        let deadline = Instant::now() + START_LIMIT;
        while !self.is_ready()? {
            let ended = child.try_wait()?.is_some();
            if ended || Instant::now() > deadline {
                let said = fs::read_to_string(&log).unwrap_or_default();
                child.kill().ok();
                anyhow::bail!("{} does not start: {said}", self.program.display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child = Some(child);
        Ok(())
    }

    fn is_ready(&self) -> anyhow::Result<bool> {
        if TcpStream::connect(self.address()).is_err() {
            return Ok(false);
        }
        if !self.program.ends_with("postgres") {
            return Ok(true);
        }
        // It listens before it has recovered.
        let port = self.port.to_string();
        let asked = Command::new(self.program.with_file_name("pg_isready"))
            .args(["--quiet", "--host", "127.0.0.1", "--port", &port])
            .status()?;
        Ok(asked.success())
    }

    /// Stops it by a signal, as `KILL` or `INT`, and waits for its end.
    ///
    /// # Errors
    /// Fails when it cannot be waited for.
    pub fn stop(&mut self, signal: &str) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        Command::new("kill")
            .args([format!("-{signal}"), child.id().to_string()])
            .status()?;
        child.wait()?;
        Ok(())
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
            .stdin(Stdio::null())
            .current_dir("/")
            .process_group(0);
        command
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        // PostgreSQL's children end with it when it is asked, not when it is killed.
        self.stop("QUIT").ok();
    }
}

/// Returns the account to run as, or nothing when this process's own will do.
fn owner() -> anyhow::Result<Option<(u32, u32)>> {
    if id(&["-u"])? != 0 {
        return Ok(None);
    }
    Ok(Some((id(&["-u", ACCOUNT])?, id(&["-g", ACCOUNT])?)))
}

fn id(arguments: &[&str]) -> anyhow::Result<u32> {
    let output = Command::new("id").args(arguments).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .with_context(|| format!("id {} gives no number", arguments.join(" ")))
}
