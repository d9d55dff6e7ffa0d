//! How one version of `remuda agent` gives way to another: it tries it beside itself, and becomes it when it works.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use agent::{
    AgentError, KeyChoice, Start, TRIAL_LIMIT, Taken, TrialOutcome, Updates, arguments_again,
    make_directory, try_out,
};
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::failure::Failure;
use crate::output::remark;

/// Says to a version how it came to run. Nothing that it allows could not be had by starting the program another way.
const START: &str = "REMUDA_AGENT_START";
const ON_TRIAL: &str = "trial";
const HANDED_OVER: &str = "handed-over";
/// How long a version on trial may take to end when the one that tries it is gone.
const ENDING: Duration = Duration::from_secs(30);

/// Keeps the data directory to one agent, as long as the file is open; a version on trial works in the one that tries it.
pub(super) fn alone(data_dir: &Path, context: &Context) -> Result<Option<File>, Failure> {
    if context.environment.get(START) == Some(ON_TRIAL) {
        return Ok(None);
    }
    match lock(data_dir) {
        Ok(lock) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Err(Failure::Refused(format!(
            "an agent runs with {} already: stop it, or give this one a directory of its own with --data",
            data_dir.display()
        ))),
        Err(TryLockError::Error(error)) => Err(Failure::Refused(format!(
            "{} cannot be used: {error}",
            data_dir.display()
        ))),
    }
}

/// Tells whether no agent works in the data directory, as far as that can be found out.
pub(super) fn is_alone(data_dir: &Path) -> bool {
    !matches!(lock(data_dir), Err(TryLockError::WouldBlock))
}

fn lock(data_dir: &Path) -> Result<File, TryLockError> {
    make_directory(data_dir).map_err(TryLockError::Error)?;
    let lock = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(data_dir.join("agent.lock"))
        .map_err(TryLockError::Error)?;
    lock.try_lock()?;
    Ok(lock)
}

/// What comes after a try.
pub(super) enum Next {
    /// The version works: this process becomes it.
    HandOver,
    /// It does not: this version goes on.
    GoOn,
    /// The agent is to end.
    Stop,
}

/// Reads what is kept of other versions, and hands over to a later one that is. Returns where this one is the latest.
pub(super) fn open(
    data_dir: &Path,
    key: Option<&str>,
    context: &Context,
) -> Result<Arc<Updates>, Failure> {
    let choice = match key.map(str::trim) {
        None | Some("") => KeyChoice::AsBefore,
        Some("none") => KeyChoice::Nobody,
        Some(key) => KeyChoice::This(
            key.parse()
                .map_err(|error: agent_proto::ReleaseError| Failure::Usage(error.to_string()))?,
        ),
    };
    let start = match context.environment.get(START) {
        Some(ON_TRIAL) => Start::OnTrial,
        Some(HANDED_OVER) => Start::HandedOver,
        _ => Start::Installed,
    };
    let own = agent_proto::program_version();
    let own = own
        .parse()
        .map_err(|_| Failure::Usage(format!("{own} is no version of a release")))?;
    let refused = |error: AgentError| Failure::Refused(error.to_string());
    let updates = Updates::open(data_dir, own, choice, start).map_err(refused)?;
    while let Some(program) = updates.to_launch() {
        // What is to be done at a start, such as to join, is done by that version.
        let error = Command::new(&program)
            .args(std::env::args_os().skip(1))
            .env(START, HANDED_OVER)
            .exec();
        remark(&format!("{} does not start: {error}", program.display()));
        updates.not_launched(&error);
    }
    Ok(updates)
}

/// Tries a version, and keeps it where it works.
pub(super) async fn try_and_keep(
    updates: &Updates,
    taken: &Taken,
    stop: impl Future<Output = ()>,
) -> Next {
    remark(&format!("tries version {}", taken.version()));
    let arguments = arguments();
    let tried = try_out(
        taken.program(),
        &arguments,
        (START, ON_TRIAL),
        TRIAL_LIMIT,
        stop,
    );
    match tried.await {
        TrialOutcome::Passed => match updates.keep(taken) {
            Ok(()) => Next::HandOver,
            Err(error) => {
                updates.give_up(taken, error.to_string());
                Next::GoOn
            }
        },
        TrialOutcome::Failed(reason) => {
            remark(&format!(
                "version {} is not kept: {reason}",
                taken.version()
            ));
            updates.give_up(taken, reason);
            Next::GoOn
        }
        TrialOutcome::Stopped => Next::Stop,
    }
}

/// Becomes a version that was tried, or begins anew as this one where that does not work. Returns only where neither does.
pub(super) fn hand_over(updates: &Updates, program: &Path) -> Failure {
    let error = become_version(program);
    updates.not_launched(&error);
    remark(&format!("{} does not start: {error}", program.display()));
    let error = match std::env::current_exe() {
        Ok(own) => become_version(&own),
        Err(error) => error,
    };
    Failure::Refused(format!(
        "this version does not start again: {error}; start `remuda agent`"
    ))
}

/// Replaces this program by another one in the same process, so that whoever watches over it sees nothing of it.
fn become_version(program: &Path) -> std::io::Error {
    Command::new(program)
        .args(arguments())
        .env(START, HANDED_OVER)
        .env_remove("REMUDA_AGENT_TOKEN")
        .exec()
}

fn arguments() -> Vec<OsString> {
    arguments_again(std::env::args_os().skip(1))
}

/// Ends this process unless it does so by itself in time: one that hangs would keep the node's identity and its ports from the next agent.
#[expect(
    clippy::disallowed_methods,
    reason = "whatever would still be dropped in order is what hangs"
)]
fn end_soon() {
    std::thread::sleep(ENDING);
    std::process::exit(1);
}

/// Returns a token that is cancelled when the version that tries this one is gone. Without a trial it never is.
pub(super) fn before_us_is_gone() -> CancellationToken {
    let gone = CancellationToken::new();
    if std::env::var_os(START).is_some_and(|start| start == ON_TRIAL) {
        let gone = gone.clone();
        // It holds the other end of our standard input, and never writes.
        let watching = std::thread::Builder::new()
            .name("trial".to_owned())
            .spawn(move || {
                let mut byte = [0];
                while matches!(std::io::stdin().read(&mut byte), Ok(1..)) {}
                gone.cancel();
                end_soon();
            });
        if let Err(error) = watching {
            tracing::warn!(%error, "this version does not notice when the one before it ends");
        }
    }
    gone
}
