//! `remuda agent --announce`: shows on the local network that it belongs nowhere until somebody has joined this machine.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use agent::{AgentError, Announcing, Membership, until_joined};

use super::agent_update::is_alone;
use super::failure::Failure;
use super::signals::Signals;
use crate::output::remark;

/// The time between two looks whether the agent that joined has ended.
const LOOK: Duration = Duration::from_secs(2);

/// Announces this machine until it has joined, and becomes its agent then. Returns at once where it has joined already, and when it was
/// told to end: whether the agent is to go on.
pub(super) async fn until_member(data_dir: &Path, interfaces: &[String]) -> Result<bool, Failure> {
    let refused = |error: AgentError| Failure::Refused(error.to_string());
    if Membership::load(data_dir).map_err(refused)?.is_some() {
        return Ok(true);
    }
    let mut signals = Signals::listen().map_err(Failure::Runtime)?;
    let announcing = Announcing::start(interfaces).map_err(refused)?;
    remark(&format!(
        "this machine belongs to no Remuda yet, and says so on the network as {}",
        announcing.code()
    ));
    remark(&format!(
        "to let it in: `remuda node invite NAME` there, and here the line that this prints, with --data {}; Ctrl-C ends this",
        data_dir.display()
    ));
    let joined = tokio::select! {
        joined = until_joined(data_dir) => Some(joined),
        () = signals.stop() => None,
    };
    announcing.end().await;
    let Some(joined) = joined.transpose().map_err(refused)? else {
        return Ok(false);
    };
    remark(&format!(
        "this machine is the node {} now; this agent goes on as soon as the one that joined ends",
        joined.node_name
    ));
    tokio::select! {
        () = until_alone(data_dir) => {}
        () = signals.stop() => return Ok(false),
    }
    // Anew, because there are threads by now.
    let program = std::env::current_exe().map_err(Failure::Runtime)?;
    let error = Command::new(program)
        .args(std::env::args_os().skip(1))
        .exec();
    Err(Failure::Runtime(error))
}

/// Waits until no other agent works in the data directory.
async fn until_alone(data_dir: &Path) {
    while !is_alone(data_dir) {
        tokio::time::sleep(LOOK).await;
    }
}
