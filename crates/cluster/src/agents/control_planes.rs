//! Which control planes of the installation listen for agents, and where: each shows signs of life in the database, and tells its agents
//! of all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use agent_proto::Channel;
use agent_proto::v1::ControlPlanes;
use agent_proto::v1::agent_client::AgentClient;
use primitives::MonotonicTime;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::error::NodeError;
use crate::registry::Registry;
use crate::store as rows;

/// A control plane without a sign of life for so many looks counts as gone.
const LOOKS: u32 = 6;
/// The most control planes that are told of: as many as agents are linked to.
const MOST: usize = 8;

/// Where control planes listen, for everybody who tells agents.
pub(super) type Told = watch::Receiver<Arc<[String]>>;

/// Who has shown signs of life. What counts is that the number of signs grows, by this process's own time: clocks of machines that differ
/// make nobody look gone.
#[derive(Debug, Default)]
struct Signs {
    seen: HashMap<String, (i64, MonotonicTime)>,
}

impl Signs {
    /// Takes over what stands in the database, and returns who is there.
    fn look(
        &mut self,
        rows: Vec<(String, i64)>,
        now: MonotonicTime,
        patience: Duration,
    ) -> Vec<String> {
        let mut seen = HashMap::new();
        let mut present = Vec::new();
        for (url, signs) in rows {
            let at = match self.seen.get(&url) {
                Some((before, at)) if *before == signs => *at,
                _ => now,
            };
            if now.since(at) < patience && present.len() < MOST {
                present.push(url.clone());
            }
            seen.insert(url, (signs, at));
        }
        self.seen = seen;
        present
    }
}

impl Registry {
    /// Shows that this process listens at `url`, and follows who else does, until `stop` is cancelled.
    pub(super) fn show_control_plane(&self, url: String, stop: CancellationToken) -> Told {
        let (publish, told) = watch::channel(Arc::from([url.clone()]));
        let registry = self.clone();
        self.inner.tasks.spawn(async move {
            let every = registry.inner.reconcile_interval();
            let following = async {
                let mut ticks = interval(every);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                let mut signs = Signs::default();
                loop {
                    ticks.tick().await;
                    match registry.show_and_look(&url).await {
                        Ok(rows) => {
                            let now = registry.inner.clock.monotonic();
                            let present: Arc<[String]> =
                                signs.look(rows, now, every * LOOKS).into();
                            publish.send_if_modified(|before| {
                                let differs = *before != present;
                                *before = present;
                                differs
                            });
                        }
                        // Agents keep the links that they have.
                        Err(error) => {
                            tracing::debug!(%error, "other control planes cannot be looked up");
                        }
                    }
                }
            };
            stop.run_until_cancelled(following).await;
            if let Err(error) = registry.hide(&url).await {
                tracing::debug!(%error, "agents are not told that this control plane has stopped");
            }
        });
        told
    }

    async fn show_and_look(&self, url: &str) -> Result<Vec<(String, i64)>, NodeError> {
        let mut tx = self.inner.db.write().await?;
        rows::show_control_plane(&mut tx, url).await?;
        let present = rows::list_control_planes(&mut tx).await?;
        tx.commit().await?;
        Ok(present)
    }

    async fn hide(&self, url: &str) -> Result<(), NodeError> {
        let mut tx = self.inner.db.write().await?;
        rows::delete_control_plane(&mut tx, url).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Tells an agent where control planes listen, now and whenever that changes. Agents of an older version do not want to hear it.
pub(super) async fn tell(channel: Channel, mut told: Told) -> Status {
    let mut client = AgentClient::new(channel);
    loop {
        let urls = told.borrow_and_update().to_vec();
        match client.tell_control_planes(ControlPlanes { urls }).await {
            Ok(_) => {}
            Err(status) if status.code() == Code::Unimplemented => std::future::pending().await,
            Err(status) => return status,
        }
        if told.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use agent_proto::v1::agent_server::{Agent, AgentServer};
    use agent_proto::v1::{
        ControlPlanesHeard, CopyProgress, CopyRequest, HelloRequest, HelloResponse, NodeStatus,
        OfferRequest, OfferResponse, Piece, ReleasePart, ReleaseTaken, WatchStatusRequest,
    };
    use tokio::time::timeout;
    use tonic::{Request, Response, Streaming};

    use super::*;

    #[test]
    fn who_shows_no_more_signs_is_gone_and_comes_back_with_the_next() {
        let mut signs = Signs::default();
        let patience = Duration::from_secs(30);
        let start = MonotonicTime::default();
        let rows = |one: i64, two: i64| vec![("one".to_owned(), one), ("two".to_owned(), two)];
        let at = |seconds: u64| start.after(Duration::from_secs(seconds));
        assert_eq!(signs.look(rows(1, 7), at(0), patience), ["one", "two"]);
        assert_eq!(signs.look(rows(2, 7), at(29), patience), ["one", "two"]);
        assert_eq!(signs.look(rows(3, 7), at(30), patience), ["one"]);
        assert_eq!(signs.look(rows(4, 8), at(40), patience), ["one", "two"]);
        assert!(signs.look(Vec::new(), at(41), patience).is_empty());
    }

    #[test]
    fn no_more_are_told_of_than_agents_are_linked_to() {
        let rows = (0..50).map(|number| (format!("{number:02}"), 1)).collect();
        let now = MonotonicTime::default();
        let present = Signs::default().look(rows, now, Duration::from_secs(1));
        assert_eq!((present.len(), present[7].as_str()), (MOST, "07"));
    }

    /// An agent from before there was the call, and one from after.
    #[derive(Clone)]
    struct Aged {
        knows: bool,
        heard: Arc<parking_lot::Mutex<Vec<Vec<String>>>>,
    }

    type Nothing<T> = futures_util::stream::Empty<Result<T, Status>>;

    #[tonic::async_trait]
    impl Agent for Aged {
        type WatchStatusStream = Nothing<NodeStatus>;
        type TunnelStream = Nothing<Piece>;
        type CopyModelStream = Nothing<CopyProgress>;

        async fn hello(&self, _: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn watch_status(
            &self,
            _: Request<WatchStatusRequest>,
        ) -> Result<Response<Self::WatchStatusStream>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn tunnel(
            &self,
            _: Request<Streaming<Piece>>,
        ) -> Result<Response<Self::TunnelStream>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn offer_model(
            &self,
            _: Request<OfferRequest>,
        ) -> Result<Response<OfferResponse>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn install_release(
            &self,
            _: Request<Streaming<ReleasePart>>,
        ) -> Result<Response<ReleaseTaken>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn copy_model(
            &self,
            _: Request<CopyRequest>,
        ) -> Result<Response<Self::CopyModelStream>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn tell_control_planes(
            &self,
            request: Request<ControlPlanes>,
        ) -> Result<Response<ControlPlanesHeard>, Status> {
            if !self.knows {
                return Err(Status::unimplemented(""));
            }
            self.heard.lock().push(request.into_inner().urls);
            Ok(Response::new(ControlPlanesHeard {}))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn changes_are_told_and_an_agent_that_does_not_know_the_call_keeps_its_link() {
        for knows in [true, false] {
            let heard = Arc::default();
            let agent = Aged {
                knows,
                heard: Arc::clone(&heard),
            };
            let (ours, theirs) = tokio::io::duplex(64 << 10);
            tokio::spawn(agent_proto::serve(theirs, AgentServer::new(agent)));
            let (channel, connection) = agent_proto::connect(ours).await.unwrap();
            tokio::spawn(connection);
            let urls = |urls: &[&str]| urls.iter().map(|url| (*url).to_owned()).collect();
            let (publish, told) = watch::channel(urls(&["one"]));
            let mut telling = std::pin::pin!(tell(channel, told));
            let minute = Duration::from_mins(1);
            assert!(timeout(minute, &mut telling).await.is_err());
            publish.send_replace(urls(&["one", "two"]));
            assert!(timeout(minute, &mut telling).await.is_err());
            let expected: &[&[&str]] = if knows {
                &[&["one"], &["one", "two"]]
            } else {
                &[]
            };
            assert_eq!(*heard.lock(), expected);
        }
    }
}
