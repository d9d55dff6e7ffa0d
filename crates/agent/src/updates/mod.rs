//! Other versions of this program: taken over a link, signed by the one key that the person at this machine has named, tried, and kept.
//!
//! Each version is a file in the data directory. The program that a person has installed stays what it is: when it starts, it hands over
//! to the newest version that was kept, if that is newer than itself. A version is kept only after it was linked on trial, which the
//! version before watches; so whatever ends a try, also the loss of power, leaves the version before in its place. No clock is asked.

mod install;
mod kept;
mod launch;
mod trial;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agent_proto::{Manifest, UpdateKey, Version, own_target, v1};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::error::AgentError;
pub use install::Taken;
use kept::{Failed, Highest, Kept, Trying};
pub use launch::arguments_again;
pub use trial::{LIMIT as TRIAL_LIMIT, Outcome as TrialOutcome, try_out};

/// What the person at the machine says about the key that is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyChoice {
    /// Nothing: the one that was named before, if any.
    #[default]
    AsBefore,
    /// None: no updates are taken.
    Nobody,
    /// This one from now on.
    This(UpdateKey),
}

/// How a version of this program came to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// Somebody has started it.
    #[default]
    Installed,
    /// It was kept, and the installed one has handed over to it.
    HandedOver,
    /// The version before tries it.
    OnTrial,
}

/// What is known of other versions.
#[derive(Debug)]
pub struct Updates {
    directory: PathBuf,
    own: Version,
    start: Start,
    kept: Mutex<Kept>,
    /// An update is being taken.
    busy: AtomicBool,
    told: watch::Sender<v1::Updates>,
    taken: watch::Sender<Option<Taken>>,
}

impl Updates {
    /// Reads what is kept in the data directory, and remembers a choice of key. A try that was cut short is noted as failed.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(
        data_dir: &Path,
        own: Version,
        choice: KeyChoice,
        start: Start,
    ) -> Result<Arc<Self>, AgentError> {
        let directory = data_dir.join("updates");
        let mut kept = Kept::load(&directory)?;
        if start != Start::OnTrial {
            let before = kept.clone();
            match choice {
                KeyChoice::AsBefore => {}
                KeyChoice::Nobody => kept.key = None,
                KeyChoice::This(key) => {
                    if kept.key.is_some_and(|before| before != key) {
                        kept.highest = None;
                    }
                    kept.key = Some(key);
                }
            }
            // The file may be of a version that did not remember it.
            kept.highest = kept.highest.max(kept.highest_present());
            if let Some(Trying { attempt, version }) = kept.trying.take() {
                let reason = "the agent was ended while it tried the version".to_owned();
                tracing::warn!(%version, reason, "the version before goes on");
                kept.failed = Some(Failed {
                    attempt,
                    version,
                    reason,
                });
            }
            if kept != before {
                kept.save(&directory)?;
            }
            sweep(&directory, &kept);
        }
        let told = told(&kept, start);
        Ok(Arc::new(Self {
            directory,
            own,
            start,
            kept: Mutex::new(kept),
            busy: AtomicBool::new(false),
            told: watch::Sender::new(told),
            taken: watch::Sender::new(None),
        }))
    }

    /// Returns whose releases are taken.
    pub fn key(&self) -> Option<UpdateKey> {
        self.kept.lock().key
    }

    /// Returns why the last version that came was not kept, and which that was.
    pub fn failure(&self) -> Option<String> {
        let kept = self.kept.lock();
        let failed = kept.failed.as_ref()?;
        Some(format!("{}: {}", failed.version, failed.reason))
    }

    /// Returns the version that runs.
    pub fn own(&self) -> Version {
        self.own
    }

    /// Tells whether the version before tries this one.
    pub fn is_on_trial(&self) -> bool {
        self.start == Start::OnTrial
    }

    /// Returns what control planes are told.
    pub(crate) fn told(&self) -> watch::Receiver<v1::Updates> {
        self.told.subscribe()
    }

    /// Waits until a release was taken that is to be tried.
    pub(crate) async fn until_taken(&self) -> Taken {
        let mut taken = self.taken.subscribe();
        loop {
            let found = taken.borrow_and_update().clone();
            match found {
                Some(found) => return found,
                // The sender lives as long as `self`.
                None => drop(taken.changed().await),
            }
        }
    }

    /// Has control planes hear that the agent takes nothing new any more.
    pub(crate) fn leave(&self) {
        self.told.send_modify(|told| told.leaving = true);
    }

    /// Notes that the agent is linked: a version that was handed over to has come as far as one can tell.
    pub(crate) fn linked(&self) {
        let mut kept = self.kept.lock();
        if self.start == Start::HandedOver && kept.starts > 0 {
            kept.starts = 0;
            if let Err(error) = kept.save(&self.directory) {
                tracing::warn!(%error, "that this version works cannot be noted");
            }
        }
    }

    /// Keeps a version that was tried: from now on it is the one that runs here.
    ///
    /// # Errors
    /// When that cannot be written; the version before stays then.
    pub fn keep(&self, taken: &Taken) -> Result<(), AgentError> {
        self.change(|kept| {
            kept.versions
                .retain(|one| one.version != taken.manifest.version);
            kept.versions
                .insert(0, kept::Installed::of(&taken.manifest));
            kept.versions.truncate(kept::VERSIONS);
            kept.highest = kept.highest.max(Some(Highest(taken.manifest.version)));
            (kept.trying, kept.failed, kept.starts) = (None, None, 0);
        })
    }

    /// Gives a version up that was tried in vain, and says why; the one that runs goes on.
    pub fn give_up(&self, taken: &Taken, reason: String) {
        let version = taken.manifest.version;
        tracing::error!(%version, reason, "the version is not kept: the one before goes on");
        let failed = Failed {
            attempt: taken.attempt.clone(),
            version,
            reason,
        };
        let given_up = |kept: &mut Kept| {
            kept.versions.retain(|one| one.version != version);
            kept.trying = None;
            kept.failed = Some(failed.clone());
        };
        if let Err(error) = self.change(given_up) {
            tracing::warn!(%error, "what became of an update cannot be noted");
            // Whoever asks hears of it all the same; the next start finds a try that was cut short.
            given_up(&mut self.kept.lock());
        }
        drop(fs::remove_file(&taken.program));
        self.taken.send_replace(None);
        self.tell();
    }

    fn change(&self, change: impl FnOnce(&mut Kept)) -> Result<(), AgentError> {
        let mut kept = self.kept.lock();
        let mut changed = kept.clone();
        change(&mut changed);
        changed.save(&self.directory)?;
        *kept = changed;
        Ok(())
    }

    /// Tells control planes what is known now.
    fn tell(&self) {
        let told = told(&self.kept.lock(), self.start);
        self.told.send_replace(told);
    }

    fn path(&self, version: Version) -> PathBuf {
        kept::path(&self.directory, version)
    }

    /// Takes the place of the one update at a time.
    fn begin(self: &Arc<Self>) -> Option<Busy> {
        let was_busy = self.busy.swap(true, Ordering::AcqRel);
        (!was_busy).then(|| Busy(Arc::clone(self)))
    }
}

/// The one update that is under way. Where it ends without a version to try, nothing is under way any more.
struct Busy(Arc<Updates>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
        if self.0.taken.borrow().is_none() {
            self.0.tell();
        }
    }
}

fn told(kept: &Kept, start: Start) -> v1::Updates {
    let trying = kept.trying.as_ref();
    v1::Updates {
        target: own_target(),
        key: kept.key.map(|key| key.to_string()),
        attempt: trying.map(|trying| trying.attempt.clone()),
        leaving: false,
        on_trial: start == Start::OnTrial,
        failed: kept.failed.as_ref().map(|failed| v1::FailedUpdate {
            attempt: failed.attempt.clone(),
            version: failed.version.to_string(),
            reason: failed.reason.clone(),
        }),
    }
}

/// Removes what an update that was cut short has left.
fn sweep(directory: &Path, kept: &Kept) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_kept = path == kept::file(directory)
            || kept
                .versions
                .iter()
                .any(|one| path == kept::path(directory, one.version));
        if !is_kept {
            drop(fs::remove_file(path));
        }
    }
}

/// Returns why a release may not be taken here, and what to do; nothing where it may.
pub(crate) fn refusal(
    manifest: &Manifest,
    key: Option<UpdateKey>,
    own: Version,
    highest: Option<Version>,
    target: &str,
) -> Option<String> {
    let Some(key) = key else {
        return Some(
            "this agent takes no updates: start it once with --update-key KEY there".to_owned(),
        );
    };
    if manifest.key != key {
        return Some(format!(
            "the release is signed with {}, this agent believes {key}",
            manifest.key
        ));
    }
    if manifest.target != target {
        return Some(format!(
            "the release is for {}, this machine is {target}",
            manifest.target
        ));
    }
    if manifest.version <= own {
        return Some(format!(
            "the release is version {}, and {own} runs already: an update never installs an older version, so sign the program with a greater number",
            manifest.version
        ));
    }
    if let Some(highest) = highest.filter(|highest| manifest.version < *highest) {
        return Some(format!(
            "the release is version {}, and {highest} was kept here before: an update never installs an older version, so sign the program with a greater number",
            manifest.version
        ));
    }
    None
}

#[cfg(test)]
mod tests;
