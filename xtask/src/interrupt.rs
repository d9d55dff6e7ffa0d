//! Ctrl-C and SIGTERM end the children, not this process, so that what it started is also stopped.

use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Time that children get to end by themselves.
const GRACE: Duration = Duration::from_secs(15);

/// Begins to catch the signals.
pub(crate) fn catch() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                INTERRUPTED.store(true, Ordering::Relaxed);
            }
        });
    });
    Ok(())
}

/// Fails when a signal has come.
pub(crate) fn check() -> anyhow::Result<()> {
    anyhow::ensure!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
    Ok(())
}

/// Waits for a command; on a signal, ends it and fails.
pub(crate) fn wait(command: &mut Command) -> anyhow::Result<ExitStatus> {
    check()?;
    let mut child = command
        .spawn()
        .with_context(|| format!("running {}", command.get_program().display()))?;
    loop {
        if let Some(status) = child.try_wait()? {
            check()?;
            return Ok(status);
        }
        if INTERRUPTED.load(Ordering::Relaxed) {
            stop(&mut child, "TERM")?;
            return check().map(|()| ExitStatus::default());
        }
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// Sends a signal to a child and waits; kills it after a while.
pub(crate) fn stop(child: &mut Child, signal: &str) -> anyhow::Result<()> {
    if child.try_wait()?.is_some() {
        return Ok(());
    }
    // A child that has just ended makes kill fail, which the wait below finds out.
    Command::new("kill")
        .args([format!("-{signal}"), child.id().to_string()])
        .status()
        .ok();
    let deadline = Instant::now() + GRACE;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
