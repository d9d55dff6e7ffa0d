//! Agents that belong nowhere and say so on the local network: what is heard of them, for people to look at. It lets nobody in, and no
//! part of Remuda acts on it.
//!
//! Anybody there can say anything, as often as they like. So the list is bounded, texts are plain ([`Announcement`]), and whoever listens
//! begins anew every [`ROUND`]: what the library keeps is forgotten with it, whatever time it was to be kept for.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use agent_proto::{ANNOUNCED, Announcement};
use mdns_sd::{IfKind, Receiver, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent};
use parking_lot::Mutex;
use primitives::Timestamp;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::registry::Registry;

/// The most agents that are listed.
const MOST: usize = 100;
/// The most addresses of one.
const MOST_ADDRESSES: usize = 8;
/// How long one listener works.
const ROUND: Duration = Duration::from_mins(2);
/// The time after which a listener has heard of all who are there.
const SETTLED: Duration = Duration::from_secs(15);
/// The time between two looks at how much a listener keeps.
const LOOK: Duration = Duration::from_secs(5);
/// The most records that a listener may keep: four and the addresses for each agent that is listed, ten times over.
const MOST_RECORDS: i64 = 12_000;

/// An agent that belongs nowhere, as it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveredAgent {
    /// What it says.
    pub said: Announcement,
    /// Where it says that it is.
    pub addresses: Vec<IpAddr>,
    /// When it was heard first.
    pub first_heard: Timestamp,
    /// When it was heard last; a listener hears each once in two minutes.
    pub last_heard: Timestamp,
}

/// What was heard, by the name of the service.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    agents: Mutex<HashMap<String, DiscoveredAgent>>,
}

impl Heard {
    /// Notes an agent. Beyond the bound new ones are left out.
    fn note(&self, service: &str, said: Announcement, addresses: Vec<IpAddr>, now: Timestamp) {
        let mut agents = self.agents.lock();
        let first_heard = match agents.get(service) {
            Some(known) => known.first_heard,
            None if agents.len() >= MOST => return,
            None => now,
        };
        let agent = DiscoveredAgent {
            said,
            addresses,
            first_heard,
            last_heard: now,
        };
        agents.insert(service.to_owned(), agent);
    }

    fn forget(&self, service: &str) {
        self.agents.lock().remove(service);
    }

    /// Forgets all that was not heard since `at`.
    fn forget_before(&self, at: Timestamp) {
        self.agents.lock().retain(|_, agent| agent.last_heard >= at);
    }

    /// Returns all by host and code.
    fn list(&self) -> Vec<DiscoveredAgent> {
        let mut agents: Vec<DiscoveredAgent> = self.agents.lock().values().cloned().collect();
        agents.sort_by(|one, other| {
            let key = |agent: &DiscoveredAgent| (agent.said.host.clone(), agent.said.code.clone());
            key(one).cmp(&key(other))
        });
        agents
    }
}

impl Registry {
    /// Returns the agents that say on the local network that they belong nowhere, 100 at most, by host; `None` where nobody listens for
    /// them. What is told is theirs, and no reason to believe anything.
    pub fn discovered_agents(&self) -> Option<Vec<DiscoveredAgent>> {
        self.inner.agents_config().discovery.as_ref()?;
        Some(self.inner.heard.list())
    }

    /// Listens for agents that belong nowhere until `stop` is cancelled, where that is configured.
    pub fn discover_agents(&self, stop: CancellationToken) {
        let Some(interfaces) = self.inner.agents_config().discovery.clone() else {
            return;
        };
        let registry = self.clone();
        self.inner.tasks.spawn(async move {
            let listening = async {
                loop {
                    if let Err(error) = registry.listen_once(&interfaces).await {
                        tracing::warn!(%error, "agents on the local network are not heard: it is tried again in two minutes");
                        sleep(ROUND).await;
                    }
                }
            };
            stop.run_until_cancelled(listening).await;
        });
    }

    /// Listens for one round.
    async fn listen_once(&self, interfaces: &[String]) -> Result<(), mdns_sd::Error> {
        let (heard, clock) = (&self.inner.heard, &self.inner.clock);
        let began = clock.now();
        let (mut listener, events) = Listener::start(interfaces)?;
        let mut ends = std::pin::pin!(sleep(ROUND));
        let mut settled = std::pin::pin!(sleep(SETTLED));
        let mut is_settled = false;
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut ends => return Ok(()),
                () = &mut settled, if !is_settled => {
                    is_settled = true;
                    heard.forget_before(began);
                }
                event = events.recv_async() => match event {
                    Ok(ServiceEvent::ServiceResolved(service)) => {
                        if let Some((said, addresses)) = read(&service) {
                            heard.note(&service.fullname, said, addresses, clock.now());
                        }
                    }
                    Ok(ServiceEvent::ServiceRemoved(_, name)) => heard.forget(&name),
                    Ok(_) => {}
                    // It came later than the network speaks.
                    Err(_) => break,
                },
                _ = looks.tick() => if listener.kept().await > MOST_RECORDS {
                    break;
                },
            }
        }
        tracing::warn!(
            "more is said about agents on the local network than is listened to: for up to two minutes nothing is"
        );
        listener.end();
        ends.await;
        Ok(())
    }
}

/// Reads what a service says; `None` where no agent of ours says so.
fn read(service: &ResolvedService) -> Option<(Announcement, Vec<IpAddr>)> {
    let said = Announcement::read(|key| service.get_property_val_str(key))?;
    let mut addresses: Vec<IpAddr> = service
        .get_addresses()
        .iter()
        .map(ScopedIp::to_ip_addr)
        .collect();
    addresses.sort_unstable();
    addresses.truncate(MOST_ADDRESSES);
    Some((said, addresses))
}

/// The thread of the library that listens, until it is dropped.
struct Listener {
    daemon: Option<ServiceDaemon>,
}

impl Listener {
    fn start(interfaces: &[String]) -> Result<(Self, Receiver<ServiceEvent>), mdns_sd::Error> {
        let daemon = ServiceDaemon::new()?;
        let listener = Self {
            daemon: Some(daemon.clone()),
        };
        if !interfaces.is_empty() {
            let named: Vec<IfKind> = interfaces.iter().map(IfKind::from).collect();
            daemon.disable_interface(IfKind::All)?;
            daemon.enable_interface(named)?;
        }
        let events = daemon.browse(ANNOUNCED)?;
        Ok((listener, events))
    }

    /// Returns how many records it keeps.
    async fn kept(&self) -> i64 {
        let Some(Ok(told)) = self.daemon.as_ref().map(ServiceDaemon::get_metrics) else {
            return 0;
        };
        let Ok(Ok(metrics)) = timeout(LOOK, told.recv_async()).await else {
            return 0;
        };
        let cached = metrics
            .iter()
            .filter(|(name, _)| name.starts_with("cached-"));
        cached.map(|(_, count)| *count).sum()
    }

    fn end(&mut self) {
        if let Some(daemon) = self.daemon.take()
            && let Err(error) = daemon.shutdown()
        {
            tracing::debug!(%error, "a listener on the local network does not end in order");
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use mdns_sd::ServiceInfo;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn said(number: u32) -> Announcement {
        Announcement::new(number, &format!("host{}", number % 2))
    }

    #[test]
    fn agents_are_listed_by_host_and_forgotten_when_they_are_no_longer_heard() {
        let heard = Heard::default();
        for number in 0..4 {
            heard.note(&number.to_string(), said(number), Vec::new(), at(10));
        }
        heard.note("2", said(2), Vec::new(), at(20));
        let hosts: Vec<String> = heard
            .list()
            .into_iter()
            .map(|agent| agent.said.host)
            .collect();
        assert_eq!(hosts, ["host0", "host0", "host1", "host1"]);
        heard.forget("0");
        heard.forget_before(at(15));
        let left = heard.list();
        assert_eq!(left.len(), 1);
        assert_eq!((left[0].first_heard, left[0].last_heard), (at(10), at(20)));
    }

    #[test]
    fn services_that_are_no_agents_of_ours_are_not_read() {
        let service = |texts: &[(&str, &str)]| {
            let addresses = (1..=20).map(|last| IpAddr::from([10, 0, 0, last]));
            let addresses: Vec<IpAddr> = addresses.collect();
            ServiceInfo::new(ANNOUNCED, "some", "some.local.", &addresses[..], 0, texts)
                .unwrap()
                .as_resolved_service()
        };
        let texts = said(1);
        let (said, addresses) = read(&service(&texts.texts())).unwrap();
        assert_eq!((said, addresses.len()), (texts.clone(), MOST_ADDRESSES));
        let mut hostile = texts.texts();
        for text in &mut hostile {
            if text.0 == "host" {
                text.1 = "\u{1b}]0;root\u{7}";
            }
        }
        for wrong in [&hostile[..], &[], &texts.texts()[..4]] {
            assert!(read(&service(wrong)).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn a_flood_of_names_pushes_nobody_out_and_grows_no_list() {
        let heard = Heard::default();
        heard.note("ours", said(1), Vec::new(), at(1));
        for number in 0..10_000 {
            heard.note(&format!("flood {number}"), said(number), Vec::new(), at(2));
        }
        heard.note("ours", said(1), vec![[10, 0, 0, 7].into()], at(3));
        let list = heard.list();
        assert_eq!(list.len(), MOST);
        let ours = list.iter().find(|agent| agent.last_heard == at(3)).unwrap();
        assert_eq!(ours.addresses.len(), 1);
        // What is over makes room.
        heard.forget_before(at(3));
        heard.note("late", said(2), Vec::new(), at(4));
        assert_eq!(heard.list().len(), 2);
    }
}
