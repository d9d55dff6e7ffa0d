//! The service that is measured, and the load on it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::Window;
use crate::bench::http;
use crate::bench::process::{Running, cpu_time, ended_children_cpu_time, family_cpu_time};
use crate::interrupt;

/// Time that a service gets to start.
const START_LIMIT: Duration = Duration::from_mins(1);

/// A load, as `remuda inventory load` takes it.
#[derive(Clone, Debug, Default)]
pub(super) struct Load {
    pub(super) connections: u32,
    pub(super) seconds: u32,
    pub(super) population: u32,
    pub(super) seed: u32,
    pub(super) rate: Option<u32>,
    /// How often each call is made; the load's own mix unless given.
    pub(super) mix: Option<&'static str>,
    pub(super) prepare: bool,
    pub(super) plot: Option<PathBuf>,
}

impl Load {
    /// Puts the load on a server.
    pub(super) fn put(&self, program: &Path, server: &str) -> anyhow::Result<Window> {
        let mut command = with_descriptors(program);
        command
            .args(["--json", "--server", server, "inventory", "load"])
            .args(["--connections", &self.connections.to_string()])
            .args(["--duration", &format!("{}s", self.seconds)])
            .args(["--population", &self.population.to_string()])
            .args(["--seed", &self.seed.to_string()]);
        if let Some(rate) = self.rate {
            command.args(["--rate", &rate.to_string()]);
        }
        if let Some(mix) = self.mix {
            command.args(["--mix", mix]);
        }
        if self.prepare {
            command.arg("--prepare");
        }
        if let Some(plot) = &self.plot {
            command.arg("--plot").arg(plot);
        }
        interrupt::check()?;
        let output = command.output().context("running the load")?;
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(text.trim()).with_context(|| {
            format!(
                "the load's report: {text}{}",
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }
}

/// A command with as many file descriptors as it may have.
fn with_descriptors(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n $(ulimit -Hn); exec \"$@\"", "sh"])
        .arg(program);
    command
}

/// The same in a session of its own, as what starts services does: Linux shares processors out among sessions first (`sched_autogroup`,
/// sched(7)), each process of the database is one, and a server and its load in one session would have half a share each.
pub(super) fn in_own_session(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n $(ulimit -Hn); exec setsid \"$@\"", "sh"])
        .arg(program);
    command
}

/// A running Remuda that lets anybody use its inventory.
pub(super) struct Service {
    program: PathBuf,
    address: SocketAddr,
    running: Running,
    /// The process of the database, where it is another one.
    database: Option<u32>,
}

impl Service {
    /// Starts it over a database of PostgreSQL, or over an SQLite file of its own.
    pub(super) fn start(
        program: &Path,
        home: &Path,
        url: Option<&str>,
        database: Option<u32>,
    ) -> anyhow::Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        fs::create_dir_all(home)?;
        let store = url.map_or(String::new(), |url| format!("[store]\nurl = \"{url}\"\n"));
        let settings = home.join("remuda.toml");
        fs::write(
            &settings,
            format!(
                "[server]\nlisten = \"{address}\"\ndata_dir = \"{}\"\n[engine]\ndemo = false\n[discovery]\nollama = false\n\
                 [inventory]\nopen = true\n{store}",
                home.join("data").display()
            ),
        )?;
        let mut command = in_own_session(program);
        command
            .arg("up")
            .arg("--config")
            .arg(&settings)
            .env("REMUDA_ADMIN_PASSWORD", "a password for one benchmark");
        let log = home.join("output.log");
        let mut running = Running::start_logged(&mut command, &log)?;
        let deadline = Instant::now() + START_LIMIT;
        loop {
            running
                .ensure_alive()
                .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
            let ready = http::send(
                address,
                "GET",
                "/api/v1/inventory/widgets?limit=1",
                None,
                None,
            );
            if ready.is_ok_and(|response| response.status == 200) {
                return Ok(Self {
                    program: program.to_owned(),
                    address,
                    running,
                    database,
                });
            }
            anyhow::ensure!(Instant::now() < deadline, "Remuda does not serve");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Returns its process.
    pub(super) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Returns where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Puts a load on it.
    pub(super) fn load(&self, load: &Load) -> anyhow::Result<Window> {
        let before = self.times()?;
        let mut window = load.put(&self.program, &format!("http://{}", self.address))?;
        self.note_times(&mut window, before)?;
        Ok(window)
    }

    /// Has a file of so many widgets imported. Returns what that took for each of them, and how many were made a second.
    pub(super) fn import(&self, file: &Path, widgets: u32) -> anyhow::Result<(Window, f64)> {
        let before = self.times()?;
        let began = Instant::now();
        let mut command = Command::new(&self.program);
        command
            .args(["--server", &format!("http://{}", self.address)])
            .args(["inventory", "import"])
            .arg(file)
            .stdout(Stdio::null());
        let status = interrupt::wait(&mut command).context("importing")?;
        anyhow::ensure!(status.success(), "the import failed");
        let rate = f64::from(widgets) / began.elapsed().as_secs_f64();
        let mut window = Window {
            calls_per_second: rate,
            done: u64::from(widgets),
            ..Window::default()
        };
        self.note_times(&mut window, before)?;
        Ok((window, rate))
    }

    /// Processor time of the database, the service and all commands that have ended.
    fn times(&self) -> anyhow::Result<[Duration; 3]> {
        let database = self.database.map_or(Ok(Duration::ZERO), family_cpu_time)?;
        Ok([database, cpu_time(self.pid())?, ended_children_cpu_time()?])
    }

    fn note_times(&self, window: &mut Window, before: [Duration; 3]) -> anyhow::Result<()> {
        let after = self.times()?;
        let [database, service, load] =
            std::array::from_fn(|part| after[part].saturating_sub(before[part]));
        window.took(database, service, load);
        Ok(())
    }

    /// Fails when an association stands on one side only.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        let server = format!("http://{}", self.address);
        let output = command
            .args(["--server", &server, "inventory", "check"])
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        anyhow::ensure!(output.status.success(), "the check found: {said}");
        Ok(())
    }
}
