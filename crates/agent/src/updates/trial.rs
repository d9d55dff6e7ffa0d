//! Trying a version: it runs as this machine's agent, and the version before stands by.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a try may take: to start, to be linked, to stay so, and to finish what it carries.
pub const LIMIT: Duration = Duration::from_mins(2);
/// How long it may take to end when it is told to.
const ENDING: Duration = Duration::from_secs(30);
/// The bytes that are remembered of what it said last.
const MOST_SAID: usize = 600;

/// What became of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was linked for a while, and has ended as it should.
    Passed,
    /// It has not, for this reason.
    Failed(String),
    /// It was called off.
    Stopped,
}

/// Runs a program that ends with 0 when it has shown that it works. Its standard input ends when this process does, however that ends.
pub async fn try_out(
    program: &Path,
    arguments: &[OsString],
    environment: (&str, &str),
    limit: Duration,
    stop: impl Future<Output = ()>,
) -> Outcome {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env(environment.0, environment.1)
        .env_remove("REMUDA_AGENT_TOKEN")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Outcome::Failed(format!("it does not start: {error}")),
    };
    let stdin = child.stdin.take();
    let said = child
        .stderr
        .take()
        .map(|stderr| tokio::spawn(pass_on(stderr)));
    let ended = tokio::select! {
        ended = timeout(limit, child.wait()) => Some(ended),
        () = stop => None,
    };
    // What it hears when it is to end.
    drop(stdin);
    let Some(ended) = ended else {
        end(&mut child).await;
        return Outcome::Stopped;
    };
    let how = match ended {
        Ok(Ok(status)) if status.success() => return Outcome::Passed,
        Ok(Ok(status)) => format!("it ended with {status}"),
        Ok(Err(error)) => format!("it cannot be watched: {error}"),
        Err(_) => {
            end(&mut child).await;
            format!(
                "it has not shown within {} s that it works",
                limit.as_secs()
            )
        }
    };
    let said = match said {
        // What it has started itself may hold its standard error open.
        Some(said) => timeout(ENDING, said).await.ok().and_then(Result::ok),
        None => None,
    };
    match said.filter(|said| !said.is_empty()) {
        Some(said) => Outcome::Failed(format!("{how}: {said}")),
        None => Outcome::Failed(how),
    }
}

/// Gives a program whose standard input has ended some time to end.
async fn end(child: &mut Child) {
    if timeout(ENDING, child.wait()).await.is_err() {
        drop(child.kill().await);
    }
}

/// Passes on what it says, and returns what that was at the end, as one line.
async fn pass_on(mut said: impl AsyncRead + Unpin) -> String {
    let (mut buffer, mut last) = ([0; 4096], Vec::new());
    while let Ok(read @ 1..) = said.read(&mut buffer).await {
        let piece = buffer.get(..read).unwrap_or_default();
        drop(std::io::stderr().write_all(piece));
        last.extend_from_slice(piece);
        last.drain(..last.len().saturating_sub(MOST_SAID));
    }
    let text = String::from_utf8_lossy(&last);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines.collect::<Vec<_>>().join(" / ");
    line.chars().filter(|one| !one.is_control()).collect()
}
