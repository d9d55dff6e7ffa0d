//! Adopts model servers that run on this machine, without anybody having to name them.

use std::sync::Arc;

use identity::journal::Actor;

use super::Registry;
use crate::error::NodeError;
use crate::model::{NodeKind, NodeSource, NodeView};
use crate::node_url::NodeUrl;
use crate::spec::NodeSpec;
use crate::store;

impl Registry {
    /// Asks the addresses, all at once, for an Ollama server and adds those that answer. An address that is a node already, or
    /// whose node a person removed, is left alone. Returns the adopted nodes.
    pub async fn adopt_local(
        &self,
        candidates: &[NodeUrl],
    ) -> Result<Vec<Arc<NodeView>>, NodeError> {
        let mut asked: Vec<NodeUrl> = Vec::new();
        for url in candidates {
            let known =
                self.is_registered(url) || asked.iter().any(|other| is_same_place(other, url));
            if !known && !self.is_declined(url).await? {
                asked.push(url.clone());
            }
        }
        let answers = futures_util::future::join_all(asked.into_iter().map(async |url| {
            let settings = NodeSpec::new(self.free_name(), url.as_str()).check().ok()?;
            let learned = Box::pin(self.prober(&settings).probe()).await.ok()?;
            (learned.found.kind == NodeKind::Ollama).then_some((settings, learned))
        }))
        .await;
        let mut adopted = Vec::new();
        for (mut settings, learned) in answers.into_iter().flatten() {
            // Only now is it known which of the candidates take a name.
            settings.name = self.free_name().into();
            adopted.push(
                self.insert(
                    settings,
                    NodeSource::Discovered,
                    Some(learned),
                    &Actor::system(),
                )
                .await?,
            );
        }
        Ok(adopted)
    }

    fn is_registered(&self, url: &NodeUrl) -> bool {
        let fleet = self.inner.fleet.lock();
        fleet
            .records()
            .any(|record| is_same_place(&record.settings.url, url))
    }

    async fn is_declined(&self, url: &NodeUrl) -> Result<bool, NodeError> {
        let mut tx = self.inner.db.read().await?;
        let declined = store::is_adoption_declined(&mut tx, url.as_str()).await?;
        tx.commit().await?;
        Ok(declined)
    }

    /// Returns `ollama`, or `ollama-2` and so on when that is taken.
    fn free_name(&self) -> String {
        let fleet = self.inner.fleet.lock();
        let taken = |name: &str| fleet.records().any(|record| &*record.settings.name == name);
        let mut name = "ollama".to_owned();
        let mut number = 2;
        while taken(&name) {
            name = format!("ollama-{number}");
            number += 1;
        }
        name
    }
}

/// Tells whether two addresses are the same server: every loopback name of this machine counts as one.
fn is_same_place(a: &NodeUrl, b: &NodeUrl) -> bool {
    let is_loopback = |url: &NodeUrl| {
        url.host() == "localhost"
            || url
                .host()
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback())
    };
    a == b
        || (a.port() == b.port()
            && a.path_prefix() == b.path_prefix()
            && is_loopback(a)
            && is_loopback(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loopback_name_is_the_same_place() {
        let same = |a: &str, b: &str| is_same_place(&a.parse().unwrap(), &b.parse().unwrap());
        assert!(same("http://localhost:11434", "http://127.0.0.1:11434/v1"));
        assert!(same("http://[::1]:11434", "http://127.0.0.1:11434"));
        assert!(!same("http://127.0.0.1:11434", "http://127.0.0.1:8080"));
        assert!(!same("http://10.0.0.1:11434", "http://127.0.0.1:11434"));
    }
}
