//! Handing over to the version that was kept.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use agent_proto::{Hashing, Manifest};

use super::kept::{Failed, Installed};
use super::{Start, Updates};

/// After so many starts in a row without a link the version before is started.
const MOST_STARTS: u32 = 5;
/// What one read asks for.
const READ: usize = 256 << 10;

impl Updates {
    /// Returns the program to hand over to: that of the newest version that is kept, newer than this one, and still what was signed. Counts
    /// the start.
    pub fn to_launch(&self) -> Option<PathBuf> {
        if self.start != Start::Installed {
            return None;
        }
        loop {
            let (first, starts, key) = {
                let kept = self.kept.lock();
                (kept.versions.first()?.clone(), kept.starts, kept.key)
            };
            if first.version <= self.own {
                return None;
            }
            let program = self.path(first.version);
            let wrong = if starts >= MOST_STARTS {
                Some(format!(
                    "it was started {starts} times in a row and was never linked"
                ))
            } else {
                let manifest = first.manifest.parse::<Manifest>().ok();
                match manifest.filter(|manifest| Some(manifest.key) == key) {
                    None => {
                        Some("it is not signed with the key that this agent believes".to_owned())
                    }
                    Some(manifest) => match is_what_was_signed(&program, &manifest) {
                        Ok(true) => None,
                        Ok(false) => Some("its file was changed".to_owned()),
                        Err(error) => Some(format!("its file cannot be read: {error}")),
                    },
                }
            };
            let Some(reason) = wrong else {
                return match self.change(|kept| kept.starts += 1) {
                    Ok(()) => Some(program),
                    Err(error) => {
                        tracing::error!(%error, "a start cannot be counted: this version goes on");
                        None
                    }
                };
            };
            self.drop_first(&first, reason);
        }
    }

    /// Notes that the version that was kept could not be started.
    pub fn not_launched(&self, error: &io::Error) {
        let first = self.kept.lock().versions.first().cloned();
        if let Some(first) = first {
            self.drop_first(&first, format!("it does not start: {error}"));
        }
    }

    fn drop_first(&self, first: &Installed, reason: String) {
        let version = first.version;
        tracing::error!(%version, reason, "this version is not used any more: the one before it is");
        let failed = Failed {
            attempt: String::new(),
            version,
            reason,
        };
        let changed = self.change(|kept| {
            kept.versions.retain(|one| one.version != version);
            (kept.failed, kept.starts) = (Some(failed.clone()), 0);
        });
        if let Err(error) = changed {
            tracing::warn!(%error, "that cannot be noted");
            self.kept
                .lock()
                .versions
                .retain(|one| one.version != version);
        }
        self.tell();
    }
}

fn is_what_was_signed(program: &Path, manifest: &Manifest) -> io::Result<bool> {
    let mut file = File::open(program)?;
    if file.metadata()?.len() != manifest.size {
        return Ok(false);
    }
    let (mut hashing, mut buffer) = (Hashing::default(), vec![0; READ]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hashing.finish() == manifest.sha256),
            read => hashing.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

/// Returns the arguments with which another version goes on: those that make a machine join have done that.
pub fn arguments_again(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    const ONCE: [&str; 2] = ["--join", "--token"];
    let mut again = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let text = argument.as_os_str();
        if ONCE.iter().any(|once| text == OsStr::new(once)) {
            arguments.next();
            continue;
        }
        let is_once = ONCE.iter().any(|once| {
            let rest = argument.to_str().and_then(|text| text.strip_prefix(once));
            rest.is_some_and(|rest| rest.starts_with('='))
        });
        if !is_once {
            again.push(argument);
        }
    }
    again
}
