//! Keeping releases: what they are first, then their programs, in pieces as they come.

use agent_proto::{Hashing, Manifest};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use identity::journal::{self, Action, Change};
use serde_json::Value;

use super::AgentUpdates;
use super::error::AgentUpdateError;
use super::operations::By;
use super::record::Release;
use super::store::{self, MAX_RELEASES};

/// The bytes of a piece.
const PIECE: usize = 256 << 10;

fn change(action: Action, release: &Release, old: Option<Value>, new: Option<Value>) -> Change {
    Change {
        action,
        org: None,
        subject: ("agent_release", Some(release.id.clone())),
        old,
        new,
    }
}

impl AgentUpdates {
    /// Lists releases, the newest first.
    pub(super) async fn list_releases(&self) -> Result<Vec<Release>, AgentUpdateError> {
        let mut tx = self.db().read().await?;
        let releases = store::list_releases(&mut tx).await?;
        tx.commit().await?;
        Ok(releases)
    }

    /// Notes what a release is, by the text that was signed. The same text again changes nothing.
    pub(super) async fn announce_release(
        &self,
        manifest: &str,
        by: &By,
    ) -> Result<Release, AgentUpdateError> {
        let manifest: Manifest = manifest.parse()?;
        let release = Release {
            id: Release::id_of(&manifest),
            manifest,
            created_by: by.name.clone(),
            created_at: self.clock().now(),
            completed_at: None,
        };
        let mut tx = self.db().write().await?;
        let releases = store::list_releases(&mut tx).await?;
        if let Some(present) = releases.iter().find(|one| one.id == release.id) {
            if present.manifest != release.manifest {
                return Err(AgentUpdateError::Taken(release.id));
            }
            // Its program is to come now, whenever it was announced first.
            store::wait_anew(&mut tx, &release.id, release.created_at).await?;
            tx.commit().await?;
            let created_at = match present.completed_at {
                Some(_) => present.created_at,
                None => release.created_at,
            };
            return Ok(Release {
                created_at,
                ..present.clone()
            });
        }
        if releases.len() >= MAX_RELEASES as usize {
            return Err(AgentUpdateError::TooMany);
        }
        store::insert_release(&mut tx, &release).await?;
        tx.commit().await?;
        Ok(release)
    }

    /// Keeps the program of a release, and compares it with what was signed. What is no whole is thrown away. `may_still` says at the end
    /// whether the caller may still do so.
    pub(super) async fn upload_release<S, E>(
        &self,
        id: &str,
        body: S,
        by: &By,
        may_still: impl Fn() -> bool + Send,
    ) -> Result<Release, AgentUpdateError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: std::fmt::Display,
    {
        let upload = format!("{:032x}", rand::random::<u128>());
        let mut tx = self.db().write().await?;
        let release = store::find_release(&mut tx, id).await?;
        let release = release.ok_or_else(|| AgentUpdateError::UnknownRelease(shown(id)))?;
        let release = Release {
            created_at: self.clock().now(),
            ..release
        };
        if !store::begin_upload(&mut tx, id, &upload, release.created_at).await? {
            return Err(AgentUpdateError::NotExpected(release.id));
        }
        tx.commit().await?;
        let received = self.receive(&release, &upload, body).await;
        // Who was let in by the head of the request may have been shut out while its body came.
        let received = received.and_then(|()| {
            if may_still() {
                Ok(())
            } else {
                Err(AgentUpdateError::ShutOut)
            }
        });
        if let Err(error) = received {
            let mut tx = self.db().write().await?;
            store::give_up_upload(&mut tx, id, &upload).await?;
            tx.commit().await?;
            return Err(error);
        }
        let now = self.clock().now();
        let mut tx = self.db().write_ordered().await?;
        journal::begin(&mut tx).await?;
        if !store::complete_release(&mut tx, id, &upload, now).await? {
            return Err(AgentUpdateError::NotExpected(release.id));
        }
        let uploaded = change(
            Action::AgentReleaseUpload,
            &release,
            None,
            Some(release.seen()),
        );
        journal::record(&mut tx, now, &by.actor, uploaded).await?;
        tx.commit().await?;
        Ok(Release {
            completed_at: Some(now),
            ..release
        })
    }

    async fn receive<S, E>(
        &self,
        release: &Release,
        upload: &str,
        body: S,
    ) -> Result<(), AgentUpdateError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: std::fmt::Display,
    {
        let wrong = |what: String| Err(AgentUpdateError::Program(what));
        let signed = release.manifest.size;
        let mut body = std::pin::pin!(body);
        let (mut hashing, mut size, mut number) = (Hashing::default(), 0_u64, 0);
        let mut held: Vec<u8> = Vec::with_capacity(PIECE);
        loop {
            let data = match body.next().await {
                None => None,
                Some(Ok(data)) => Some(data),
                Some(Err(error)) => {
                    return wrong(format!("it broke off after {size} bytes ({error})"));
                }
            };
            let is_last = data.is_none();
            let mut rest = data.unwrap_or_default();
            size = size.saturating_add(rest.len() as u64);
            if size > signed {
                return wrong(format!("it has more than {signed} bytes"));
            }
            hashing.update(&rest);
            while !rest.is_empty() || is_last && !held.is_empty() {
                let now = rest.split_to(rest.len().min(PIECE - held.len()));
                held.extend_from_slice(&now);
                if held.len() == PIECE || is_last {
                    let content = std::mem::replace(&mut held, Vec::with_capacity(PIECE));
                    self.store_piece(&release.id, upload, number, content)
                        .await?;
                    number += 1;
                }
            }
            if is_last {
                break;
            }
        }
        if size < signed {
            return wrong(format!("it ended after {size} of {signed} bytes"));
        }
        if hashing.finish() != release.manifest.sha256 {
            return wrong("its bytes differ".to_owned());
        }
        Ok(())
    }

    async fn store_piece(
        &self,
        id: &str,
        upload: &str,
        number: u32,
        content: Vec<u8>,
    ) -> Result<(), AgentUpdateError> {
        let mut tx = self.db().write_with(::store::Durability::Relaxed).await?;
        if !store::insert_piece(&mut tx, id, upload, number, content).await? {
            return Err(AgentUpdateError::NotExpected(id.to_owned()));
        }
        Ok(tx.commit().await?)
    }

    /// Removes a release that no roll-out gives out.
    pub(super) async fn remove_release(&self, id: &str, by: &By) -> Result<(), AgentUpdateError> {
        let mut tx = self.db().write_ordered().await?;
        journal::begin(&mut tx).await?;
        let release = store::find_release(&mut tx, id).await?;
        let release = release.ok_or_else(|| AgentUpdateError::UnknownRelease(shown(id)))?;
        let open = store::find_open(&mut tx).await?;
        if open.is_some_and(|open| open.agent_version == release.manifest.version) {
            return Err(AgentUpdateError::InUse(release.id));
        }
        store::delete_release(&mut tx, id).await?;
        let removed = change(
            Action::AgentReleaseRemove,
            &release,
            Some(release.seen()),
            None,
        );
        journal::record(&mut tx, self.clock().now(), &by.actor, removed).await?;
        Ok(tx.commit().await?)
    }
}

/// Bounds what is repeated of a client's text.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}
